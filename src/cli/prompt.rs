//! Questions to whoever sits at the terminal. Answers are awaited, so that a signal can end the
//! wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::Error;

/// The terminal itself: standard input may be a list of images, and standard error a file.
const TERMINAL: &str = "/dev/tty";

/// Longest line that Linux takes from a terminal, in bytes; what is typed beyond that is lost.
const MAX_LINE_BYTES: usize = 4095;

/// Longest password that is read from standard input, in bytes (64 KiB): something longer is none.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

/// Asks `question` and takes what is typed up to the end of the line.
///
/// # Errors
/// There is no terminal, or it is gone.
pub(super) async fn line(question: &str) -> io::Result<String> {
    let mut asked = Asked::on_terminal(LocalModes::ECHO)?;
    let line = asked.answer(question).await?;
    // The Enter that was typed has been shown.
    asked.is_line_open = false;
    Ok(line)
}

/// Asks for the password of `username` at `server`, which is not shown while it is typed.
///
/// # Errors
/// There is no terminal, or it is gone.
pub(super) async fn password(username: &str, server: &str) -> io::Result<SecretString> {
    let mut asked = Asked::on_terminal(LocalModes::empty())?;
    let question = format!("Password for {username} at {server}: ");
    asked.answer(&question).await.map(SecretString::from)
}

/// All of standard input but the line break at its end. This can't be given up while it waits.
///
/// # Errors
/// [`Error::NotRead`], and [`Error::Empty`] when there is nothing.
pub(super) fn piped_password() -> Result<SecretString, Error> {
    let what = "password";
    let mut text = String::new();
    io::stdin()
        .take(MAX_PASSWORD_BYTES)
        .read_to_string(&mut text)
        .map_err(|source| Error::NotRead { what, source })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::Empty(what)),
        password => Ok(password.into()),
    }
}

/// A terminal on which a question stands. However that ends, also when the wait for the answer is
/// given up, the terminal is then as it was found, with its cursor on a new line.
struct Asked {
    terminal: File,
    before: Termios,
    /// Whether the cursor is still behind the question.
    is_line_open: bool,
}

impl Asked {
    /// With `echo`, what is typed is shown.
    fn on_terminal(echo: LocalModes) -> io::Result<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
        let before = tcgetattr(&terminal)?;
        let mut settings = before.clone();
        settings.local_modes.remove(LocalModes::ECHO);
        // The line can be corrected, and Ctrl-C is a signal, whatever an earlier program left.
        settings.local_modes.insert(echo | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Now, &settings)?;
        Ok(Self { terminal, before, is_line_open: true })
    }

    async fn answer(&mut self, question: &str) -> io::Result<String> {
        self.terminal.write_all(question.as_bytes())?;
        let mut typed = BufReader::new(tokio::fs::File::from_std(self.terminal.try_clone()?));
        let mut line = String::new();
        // A terminal hands out one line at a time, so nothing of the next one is lost here.
        if typed.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() >= MAX_LINE_BYTES {
            return Err(io::Error::other("it is longer than a line of the terminal"));
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(line)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // A terminal that is gone needs neither.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        if self.is_line_open {
            let _ = self.terminal.write_all(b"\n");
        }
    }
}
