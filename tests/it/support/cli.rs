//! The built binary as users run it, in an environment that holds nothing of this machine's.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::containerd::Containerd;
use super::secrets;

/// Longest run of a command; a hang fails its test then, instead of the whole suite.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// What a debug build needs more than what is handed out, in bytes: it is four times as large (34 and 11 MiB
/// for what does next to nothing), and holds more of what it works on. Eight layers, sixteen at once, within
/// 64 MiB took 79 to 86 MiB in six pulls of it, and 54 to 61 of what is handed out; eight large ones, 77 to 85
/// on a busy machine, and 54 to 59.
pub(crate) const OF_DEBUG: u64 = if cfg!(debug_assertions) { 26 << 20 } else { 0 };

/// A command line under construction.
pub(crate) struct Pullctl {
    command: Command,
    input: Vec<u8>,
    home: TempDir,
}

/// What a finished run left.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) duration: Duration,
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// Lives as long as the command.
    home: TempDir,
}

impl Pullctl {
    /// `pullctl` without arguments.
    pub(crate) fn new() -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_pullctl")))
    }

    /// `pullctl` below GNU time, which writes the peak resident set size in KiB as the last line of
    /// standard error.
    pub(crate) fn measured() -> Self {
        let mut command = Command::new("/usr/bin/time");
        command.args(["-q", "-f", "%M", env!("CARGO_BIN_EXE_pullctl")]);
        Self::of(command)
    }

    /// `pullctl` to which `directory` looks empty, as to one in a container.
    pub(crate) fn blind_to(directory: &Path) -> Self {
        Self::after("mount -t tmpfs none \"$1\" && shift", &[directory])
    }

    /// `pullctl` that finds what is in `source` where it looks for `directory`.
    pub(crate) fn finding(source: &Path, directory: &Path) -> Self {
        Self::after("mount --bind \"$1\" \"$2\" && shift 2", &[source, directory])
    }

    /// `pullctl` on a machine where this socket is k0s's as well.
    pub(crate) fn beside_k0s(socket: &Path) -> Self {
        let script = "mount -t tmpfs none /run && mkdir /run/k0s && \
            ln -s \"$1\" /run/k0s/containerd.sock && shift";
        Self::after(script, &[socket])
    }

    /// `pullctl` on a machine whose network is itself alone, and where nothing answers at `silent`.
    pub(crate) fn alone_with(silent: &str) -> Self {
        let mut command = Command::new("unshare");
        let script =
            "ip link set lo up && ip route add \"$1\" dev lo && shift && exec \"$0\" \"$@\"";
        command.args(["-n", "sh", "-c", script, env!("CARGO_BIN_EXE_pullctl"), silent]);
        Self::of(command)
    }

    /// `pullctl` on a machine whose `/etc/resolv.conf` and `/etc/hosts` are these files.
    pub(crate) fn with_name_service(resolv: &Path, hosts: &Path) -> Self {
        let script =
            "mount --bind \"$1\" /etc/resolv.conf && mount --bind \"$2\" /etc/hosts && shift 2";
        Self::after(script, &[resolv, hosts])
    }

    /// `pullctl` on a machine that has each file of `folder` in `/etc`, in place of its own by that name.
    pub(crate) fn with_etc(folder: &Path) -> Self {
        let script = r#"for file in "$1"/*; do
                mount --bind "$file" "/etc/${file##*/}" || exit
            done && shift"#;
        Self::after(script, &[folder])
    }

    /// `pullctl` after a piece of shell script, which takes `paths` and whose mounts nobody else
    /// sees.
    fn after(script: &str, paths: &[&Path]) -> Self {
        let mut command = Command::new("unshare");
        let script = format!("{script} && exec \"$0\" \"$@\"");
        command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_pullctl")]).args(paths);
        Self::of(command)
    }

    /// A shell script that runs `pullctl` by its name, on a node whose mounts are its own.
    pub(crate) fn script(path: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-eu"]).arg(path);
        Self::of(command)
    }

    /// `pullctl` to which `directory` looks as it is, but for which all that it writes there goes to
    /// `scratch`, where nobody else sees it.
    pub(crate) fn deceived_about(directory: &Path, scratch: &Path) -> Self {
        let mut command = Command::new("unshare");
        let script = "mkdir \"$1/upper\" \"$1/work\" && mount -t overlay none \
            -o \"lowerdir=$0,upperdir=$1/upper,workdir=$1/work\" \"$0\" && shift && exec \"$@\"";
        command.args(["-m", "sh", "-c", script]).arg(directory).arg(scratch);
        command.arg(env!("CARGO_BIN_EXE_pullctl"));
        Self::of(command)
    }

    /// `pullctl` as `program` runs it, after its own arguments.
    pub(crate) fn run_by(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(env!("CARGO_BIN_EXE_pullctl"));
        Self::of(command)
    }

    /// `pullctl` as root of a user namespace.
    pub(crate) fn in_user_namespace() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-U", "-r", env!("CARGO_BIN_EXE_pullctl")]);
        Self::of(command)
    }

    /// A folder with a copy called `pullctl`, which everybody may run, and `daemon`'s socket within
    /// everybody's reach. The build folder may be out of it.
    pub(crate) fn copy_for_everybody(daemon: &Containerd) -> TempDir {
        let folder = tempfile::tempdir_in("/tmp").expect("a temporary folder can be made");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::copy(env!("CARGO_BIN_EXE_pullctl"), folder.path().join("pullctl"))
            .expect("the binary can be copied");
        for directory in [folder.path(), daemon.socket().parent().expect("it is in a folder")] {
            std::fs::set_permissions(directory, open.clone()).expect("the folder is ours");
        }
        folder
    }

    /// `program`, a copy of `pullctl` that everybody may run, as nobody but in root's group.
    pub(crate) fn in_roots_group(program: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=0", "--clear-groups"]).arg(program);
        Self::of(command)
    }

    /// `pullctl` on a machine where `/run` and `/var` hold these sockets and nothing else: paths, and
    /// what is really there.
    pub(crate) fn with_sockets_at(places: &[(&str, &Path)]) -> Self {
        // The program is opened before `/var` is hidden, where this project may lie itself.
        let script = r#"
            exec 9<"$0" || exit
            mount -t tmpfs none /run && mount -t tmpfs none /var || exit
            while [ "$1" != -- ]; do
                mkdir -p "${1%/*}" && : >"$1" && mount --bind "$2" "$1" || exit
                shift 2
            done
            shift
            exec /proc/self/fd/9 "$@""#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_pullctl")]);
        for (place, real) in places {
            command.arg(place).arg(real);
        }
        command.arg("--");
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home.path())
            .env("DOCKER_CONFIG", home.path().join("docker"));
        Self { command, input: Vec::new(), home }
    }

    /// `pullctl -a … pull --plain-http reference`, which leaves out the https try that loopback
    /// registries get otherwise.
    pub(crate) fn pull(daemon: &Containerd, reference: &str) -> Self {
        Self::new().on(daemon).args(["pull", "--plain-http", reference])
    }

    /// Towards this daemon.
    pub(crate) fn on(mut self, daemon: &Containerd) -> Self {
        self.command.arg("-a").arg(daemon.socket());
        self
    }

    /// More arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// A variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Started in this directory, from which relative paths are looked for.
    pub(crate) fn below(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Standard input, which is empty otherwise.
    pub(crate) fn input(mut self, content: impl AsRef<[u8]>) -> Self {
        self.input = content.as_ref().to_vec();
        self
    }

    /// The command, for those who start it elsewhere, and the home that has to last as long.
    pub(super) fn into_parts(self) -> (Command, TempDir) {
        (self.command, self.home)
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(self) -> Outcome {
        self.spawn().wait()
    }

    /// Starts it.
    pub(crate) fn spawn(mut self) -> Running {
        let started = Instant::now();
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary has been built");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = self.input;
        // A command that does not read its input may leave it.
        std::thread::spawn(move || stdin.write_all(&input));
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        Running { child, started, stdout, stderr, home: self.home }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}

impl Running {
    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end. No run may show a secret.
    pub(crate) fn wait(mut self) -> Outcome {
        // Both pipes end with the process, so waiting for them is waiting for it, with a deadline.
        let stdout = self.stdout.recv_timeout(DEADLINE);
        let stderr = self.stderr.recv_timeout(DEADLINE.saturating_sub(self.started.elapsed()));
        let late = |result: &Result<_, _>| matches!(result, Err(RecvTimeoutError::Timeout));
        let hangs = late(&stdout) || late(&stderr);
        if hangs {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("the process ends");
        let duration = self.started.elapsed();
        drop(self.home);
        let text = |result: Result<String, _>, pipe: &Receiver<String>| {
            result.or_else(|_| pipe.recv_timeout(DEADLINE)).unwrap_or_default()
        };
        let outcome = Outcome {
            code: status.code(),
            stdout: text(stdout, &self.stdout),
            stderr: text(stderr, &self.stderr),
            duration,
        };
        assert!(!hangs, "pullctl hangs: {outcome:?}");
        let shown = [&outcome.stdout, &outcome.stderr].map(|text| secrets::shown_in(text));
        assert!(shown.iter().all(Option::is_none), "{shown:?} is shown: {outcome:?}");
        outcome
    }
}

impl Outcome {
    /// Itself, if it succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// Itself, if it ended with this exit code.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Itself, if standard error says `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no \"{text}\" in: {}", self.stderr);
        self
    }

    /// The events of `--progress json`: every line of standard error that is an object.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Peak resident set size of a measured run, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let kibibytes = self.stderr.lines().last().and_then(|line| line.trim().parse::<u64>().ok());
        kibibytes.expect("GNU time ends standard error with a number") * 1024
    }
}
