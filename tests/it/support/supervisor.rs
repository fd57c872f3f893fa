//! Daemons that can't outlive the tests. Each runs below a small shell which does what its standard
//! input says, and which kills the daemon, unmounts and removes its folder when that input ends:
//! when the handle is dropped, and also when the test process is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something to happen; generous, since machines are shared.
const DEADLINE: Duration = Duration::from_secs(60);

/// `$1` is the folder, the rest the daemon's command line.
const SCRIPT: &str = r#"
directory=$1
shift
pid=
# Trailing slash: one folder's name may begin with another's.
unmount() {
    awk -v below="$directory/" 'index($5 "/", below) == 1 { print $5 }' /proc/self/mountinfo |
        sort -r | while read -r point; do umount -l "$point"; done
}
end() {
    [ -n "$pid" ] || return 0
    kill -"$1" "$pid" 2>/dev/null
    # The shell would tell of the daemon's death.
    { wait "$pid"; } 2>/dev/null
    pid=
}
# Ctrl-C reaches the whole terminal group; the end of input is what counts.
trap '' INT HUP TERM
while read -r order; do
    case $order in
    start) (trap - INT HUP TERM; exec "$@") >>"$directory/log" 2>&1 </dev/null & pid=$!; echo "$pid" ;;
    kill) end KILL; echo killed ;;
    stop) end TERM; echo stopped ;;
    esac
done
end KILL
unmount
rm -rf --one-file-system "$directory"
"#;

/// A daemon with a folder of its own.
pub(crate) struct Supervised {
    directory: PathBuf,
    pipes: Mutex<Option<Pipes>>,
    shell: Mutex<Child>,
    pid: AtomicU32,
}

struct Pipes {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A fresh folder for a daemon; short, since a socket's path has 107 bytes at most.
pub(crate) fn fresh_directory(name: &str) -> PathBuf {
    tempfile::Builder::new()
        .prefix(&format!("pullctl-{name}-"))
        .tempdir()
        .expect("a temporary folder can be made")
        .keep()
}

impl Supervised {
    /// Takes over `directory`, which will be removed, and starts `command`.
    pub(crate) fn start(directory: PathBuf, command: &[&str]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "supervisor"])
            .arg(&directory)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let pipes = Pipes {
            orders: shell.stdin.take().expect("stdin is piped"),
            answers: BufReader::new(shell.stdout.take().expect("stdout is piped")),
        };
        let supervised = Self {
            directory,
            pipes: Mutex::new(Some(pipes)),
            shell: Mutex::new(shell),
            pid: AtomicU32::new(0),
        };
        supervised.order("start");
        supervised
    }

    /// The daemon's folder; its output is in `log` there.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives an order (`start`, `stop`, `kill`) and waits until it is done. The answer to `start`
    /// is the daemon's process id.
    pub(crate) fn order(&self, order: &str) -> String {
        let mut pipes = self.pipes.lock().expect("no order panicked");
        let pipes = pipes.as_mut().expect("the supervisor lives as long as its handle");
        writeln!(pipes.orders, "{order}").expect("the supervisor reads its orders");
        let mut answer = String::new();
        pipes.answers.read_line(&mut answer).expect("the supervisor answers");
        let answer = answer.trim().to_owned();
        if order == "start" {
            let pid = answer.parse().expect("the shell tells the process id");
            self.pid.store(pid, Ordering::Relaxed);
        }
        answer
    }

    /// The process id of the daemon that was started last.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// What the daemon has printed so far.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Looks until `ready` finds what it waits for.
    pub(crate) fn wait_until<T>(&self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        poll(&mut ready).unwrap_or_else(|| panic!("{what} did not happen; log:\n{}", self.log()))
    }
}

/// Looks until `ready` finds what it waits for.
pub(crate) fn wait_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    poll(&mut ready).unwrap_or_else(|| panic!("{what} did not happen"))
}

/// Looks every few milliseconds, up to the deadline.
fn poll<T>(ready: &mut impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = ready();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Ok(mut pipes) = self.pipes.lock() {
            pipes.take();
        }
        if let Ok(mut shell) = self.shell.lock() {
            // Nothing to do about a failure while dropping.
            let _ = shell.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervised_daemon_and_its_mounts_are_gone_when_the_handle_is() {
        let directory = fresh_directory("supervised");
        let mounted = directory.join("mounted");
        let pid = {
            let supervised = Supervised::start(directory.clone(), &["sleep", "1000"]);
            std::fs::create_dir(&mounted).unwrap();
            let mount =
                Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mounted).status().unwrap();
            assert!(mount.success());
            supervised.order("kill");
            supervised.order("start");
            supervised.pid().to_string()
        };
        assert!(!Path::new("/proc").join(pid).exists(), "the daemon still runs");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(directory.to_str().unwrap()), "something is still mounted");
        assert!(!directory.exists(), "the folder is still there");
    }
}
