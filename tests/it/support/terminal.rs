//! A terminal for the built binary: a pseudo-terminal with a shell on it, and an emulator that knows
//! what somebody in front of it would see.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;
use vt100::{Parser, Screen};

use super::cli::{DEADLINE, Pullctl};

/// What the shell shows when the command has ended.
const PROMPT: &str = "next command>";

/// The shell goes on when the command is ended by a signal, as one in front of which somebody sits, and
/// stays until its terminal goes: when the first process of a session ends, the system puts the
/// terminal's settings back, and the test could not tell how the command left them.
const SHELL: &str = r#"
trap : INT TERM
prompt=$1
shift
"$@" >&0
status=$?
printf %s "$prompt" >&0
echo "$status"
while read -r _; do :; done
"#;

/// The byte of Ctrl-C.
const CTRL_C: &str = "\u{3}";

/// The first byte of what moves the cursor or colours a text.
const ESCAPE: u8 = 0x1b;

/// What kind of terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    /// What `$TERM` says, if it is set.
    pub(crate) name: Option<&'static str>,
}

impl Default for Model {
    /// One that is wide enough for the last line of a pull.
    fn default() -> Self {
        Self { rows: 24, columns: 240, name: Some("xterm-256color") }
    }
}

/// A command that runs on a terminal, or has run there.
pub(crate) struct Terminal {
    shell: Child,
    /// The end of the pseudo-terminal on which somebody types.
    controller: File,
    display: Arc<Display>,
    status: Receiver<i32>,
    /// Lives as long as the command.
    _home: TempDir,
}

/// The emulator, and the news that it has drawn something.
struct Display {
    parser: Mutex<Parser>,
    drawn: Condvar,
    /// Whether there was an escape code.
    escaped: AtomicBool,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) code: i32,
    /// The lines up to the shell's prompt, which is not among them.
    pub(crate) lines: Vec<String>,
    /// Whether the shell's prompt begins a line.
    pub(crate) is_on_a_new_line: bool,
    pub(crate) is_cursor_visible: bool,
    /// How the terminal treats what is typed.
    pub(crate) modes: LocalModes,
}

impl Terminal {
    /// Starts `command` on a terminal.
    pub(crate) fn start(command: Pullctl) -> Self {
        Self::of(Model::default(), command)
    }

    /// Starts `command` on a terminal of this kind.
    pub(crate) fn of(model: Model, command: Pullctl) -> Self {
        let Model { rows, columns, name } = model;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("a pseudo-terminal is free");
        unlockpt(&controller).expect("it can be unlocked");
        let user = ioctl_tiocgptpeer(&controller, flags).expect("it has another end");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controller, size).expect("it takes a size");

        let (command, home) = command.into_parts();
        let mut shell = in_shell(&command, user);
        shell.envs(name.map(|name| ("TERM", name)));
        let mut shell = shell.spawn().expect("setsid and sh are there");
        let status = exit_code(shell.stdout.take().expect("stdout is piped"));
        let size = |count| NonZero::new(count).expect("a terminal has rows and columns");
        let parser = Mutex::new(Parser::new(size(rows), size(columns), 0));
        let display =
            Arc::new(Display { parser, drawn: Condvar::new(), escaped: AtomicBool::new(false) });
        let controller = File::from(controller);
        let output = controller.try_clone().expect("a descriptor is free");
        let drawing = Arc::clone(&display);
        thread::spawn(move || drawing.draw(output));
        Self { shell, controller, display, status, _home: home }
    }

    /// Waits until the screen's lines are as `wanted`, and answers them. The command goes on
    /// drawing meanwhile, so whatever is to be seen at one time belongs into one `wanted`.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let parser = self.display.lock();
        let (parser, _) = self
            .display
            .drawn
            .wait_timeout_while(parser, DEADLINE, |parser| !wanted(&lines(parser.screen())))
            .expect("nothing panicked while drawing");
        let lines = lines(parser.screen());
        drop(parser);
        assert!(wanted(&lines), "never on the screen: {what}; it shows {lines:#?}");
        lines
    }

    /// Waits until a line of the screen holds `text`.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> Vec<String> {
        self.wait_until(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// Types `text` on the keyboard.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Types Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.type_in(CTRL_C);
    }

    /// Sends SIGTERM to whatever runs on the terminal.
    pub(crate) fn terminate(&self) {
        let group = Pid::from_child(&self.shell);
        kill_process_group(group, Signal::TERM).expect("the shell leads a group");
    }

    /// Whether anything but lines of text has come so far.
    pub(crate) fn has_drawn(&self) -> bool {
        self.display.escaped.load(Ordering::Relaxed)
    }

    /// Whether what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        self.modes().contains(LocalModes::ECHO)
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.controller).expect("it is a terminal").local_modes
    }

    /// Waits for the end of the command.
    #[track_caller]
    pub(crate) fn wait(&self) -> Left {
        let status = self.status.recv_timeout(DEADLINE);
        let code = status.unwrap_or_else(|_| {
            panic!("pullctl hangs; the screen: {:#?}", lines(self.display.lock().screen()))
        });
        let shown = self.wait_for(PROMPT);
        let parser = self.display.lock();
        let end = shown.iter().position(|line| line.contains(PROMPT)).expect("it is shown");
        Left {
            code,
            is_on_a_new_line: shown[end].starts_with(PROMPT),
            lines: shown.into_iter().take(end).collect(),
            is_cursor_visible: !parser.screen().hide_cursor(),
            modes: self.modes(),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without its shell the terminal hangs up, which ends a command that still runs.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Display {
    /// Shows what comes from the terminal until it hangs up.
    fn draw(&self, mut output: File) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if buffer[..count].contains(&ESCAPE) {
                self.escaped.store(true, Ordering::Relaxed);
            }
            self.lock().process(&buffer[..count]);
            self.drawn.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parser> {
        self.parser.lock().expect("nothing panicked while drawing")
    }
}

impl Left {
    /// Itself, if the command ended with this exit code.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Itself, if whoever goes on at this terminal finds it as it should be: the cursor is there,
    /// at the start of a line, what is typed is shown and can be corrected, and Ctrl-C works.
    #[track_caller]
    pub(crate) fn tidy(self) -> Self {
        let usual = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        let is_usual = self.modes.contains(usual);
        assert!(self.is_on_a_new_line && self.is_cursor_visible && is_usual, "{self:#?}");
        self
    }
}

/// The same command, started by a shell on the terminal of which `user` is the one end.
fn in_shell(command: &Command, user: OwnedFd) -> Command {
    let errors = user.try_clone().expect("a descriptor is free");
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut shell = Command::new("setsid");
    shell
        .args(["--ctty", "sh", "-c", SHELL, "sh", PROMPT])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(set)
        .stdin(user)
        .stdout(Stdio::piped())
        .stderr(errors);
    shell
}

/// What the shell tells of the command's end.
fn exit_code(stdout: ChildStdout) -> Receiver<i32> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).ok()?;
        sender.send(line.trim().parse().ok()?).ok()
    });
    receiver
}

/// The lines of the screen, without the empty ones below the last.
fn lines(screen: &Screen) -> Vec<String> {
    let (_, columns) = screen.size();
    let mut lines: Vec<String> =
        screen.rows(0, columns.get()).map(|line| line.trim_end().to_owned()).collect();
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines.truncate(used);
    lines
}
