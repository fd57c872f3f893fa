//! Running a program that somebody else has put on this machine: its time and its output bounded, and
//! gone with all that it has started when it is done with.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Longest part of standard error that is kept, in bytes (8 KiB); the rest is taken and dropped.
const MAX_STDERR: u64 = 8 << 10;

/// Longest part of a line that is passed on, in characters.
const MAX_LINE: usize = 200;

/// How a program is run.
#[derive(Debug)]
pub struct Program<'a> {
    /// The file.
    pub path: &'a Path,
    /// What stands behind its name.
    pub arguments: Vec<String>,
    /// Added to this process's own environment.
    pub variables: &'a [(String, String)],
    /// Its standard input.
    pub input: Vec<u8>,
    /// Longest wait for its end.
    pub patience: Duration,
    /// Most of its standard output, in bytes.
    pub max_output: u64,
    /// What becomes of more.
    pub excess: Excess,
}

/// What becomes of more output than is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It is dropped.
    Dropped,
    /// It ends the program.
    Fatal,
}

/// Why a program came to no end of its own.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// It could not be started, or not be talked to.
    #[error("it cannot be run")]
    NotRun(#[from] io::Error),
    /// It went on for too long.
    #[error("it did not end in time")]
    TimedOut,
    /// It printed too much.
    #[error("it printed too much")]
    TooMuch,
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, as far as it was wanted.
    pub stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Program<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// [`Stopped`]; then neither it nor what it has started runs any more.
    pub async fn run(self) -> Result<Output, Stopped> {
        let mut child = Command::new(self.path)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        // Killed when this is dropped, which is also when nobody waits for the outcome any more.
        let mut group = Group::of(&child);
        let talk = self.talk(&mut child);
        let output =
            tokio::time::timeout(self.patience, talk).await.map_err(|_| Stopped::TimedOut)??;
        group.let_go();
        Ok(output)
    }

    async fn talk(&self, child: &mut Child) -> Result<Output, Stopped> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let told = async {
            if let Some(mut stdin) = stdin {
                // One that does not read its input may end all the same.
                let _ = stdin.write_all(&self.input).await;
            }
        };
        let printed = async {
            let Some(mut stdout) = stdout else { return Ok(Vec::new()) };
            let mut kept = beginning(&mut stdout, self.max_output.saturating_add(1)).await?;
            if kept.len() as u64 > self.max_output {
                if self.excess == Excess::Fatal {
                    return Err(Stopped::TooMuch);
                }
                kept.pop();
                tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await?;
            }
            Ok(kept)
        };
        let complained = async {
            let Some(mut stderr) = stderr else { return Ok(Vec::new()) };
            let kept = beginning(&mut stderr, MAX_STDERR).await?;
            // Taken all the same, so that the program does not wait for somebody who reads.
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
            Ok(kept)
        };
        let spoken = async {
            let (printed, ()) = tokio::join!(printed, told);
            printed
        };
        let (stdout, stderr) = tokio::try_join!(spoken, complained)?;
        Ok(Output { status: child.wait().await?, stdout, stderr })
    }
}

impl Output {
    /// The first line of standard error that says something and that `is_fit` lets pass, shortened; how
    /// the program ended where there is none.
    pub fn complaint(&self, is_fit: impl Fn(&str) -> bool) -> String {
        let said = String::from_utf8_lossy(&self.stderr);
        let line = said.lines().find(|line| !line.trim().is_empty() && is_fit(line));
        line.map_or_else(|| self.status.to_string(), shortened)
    }

    /// The first line of standard output that says something, shortened.
    pub fn first_line(&self) -> Option<String> {
        let said = String::from_utf8_lossy(&self.stdout);
        said.lines().find(|line| !line.trim().is_empty()).map(shortened)
    }
}

fn shortened(line: &str) -> String {
    line.trim().chars().filter(|c| !c.is_control()).take(MAX_LINE).collect()
}

async fn beginning(reader: &mut (impl AsyncRead + Unpin), bytes: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    reader.take(bytes).read_to_end(&mut kept).await?;
    Ok(kept)
}

/// A program and what it has started; ended when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    /// Leaves alone what goes on in the background.
    fn let_go(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // One that has ended meanwhile is fine.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, max_output: u64, excess: Excess) -> Program<'static> {
        Program {
            path: Path::new("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            variables: &[],
            input: b"input".to_vec(),
            patience: Duration::from_secs(60),
            max_output,
            excess,
        }
    }

    #[tokio::test]
    async fn output_is_bounded_and_more_of_it_is_dropped_or_fatal() {
        let output = shell("cat", 5, Excess::Fatal).run().await.unwrap();
        assert_eq!(output.stdout, b"input");
        let output = shell("cat; yes | head -c 1000000", 4, Excess::Dropped).run().await.unwrap();
        assert_eq!(output.stdout, b"inpu");
        assert!(output.status.success());
        let stopped = shell("yes >&2 & yes", 1 << 20, Excess::Fatal).run().await.unwrap_err();
        assert!(matches!(stopped, Stopped::TooMuch), "{stopped}");
    }

    #[tokio::test]
    async fn a_complaint_is_the_first_line_that_may_be_repeated() {
        let script = "echo >&2; echo secret >&2; echo 'no \u{1b}role' >&2; exit 3";
        let output = shell(script, 10, Excess::Fatal).run().await.unwrap();
        assert_eq!(output.complaint(|line| line != "secret"), "no role");
        assert_eq!(output.complaint(|_| false), "exit status: 3");
        assert_eq!(output.first_line(), None);
    }

    #[tokio::test]
    async fn what_is_stopped_is_gone_with_all_that_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("sleep 4711 & echo $! >'{}'; yes", pids.display());
        let stopped = shell(&script, 10, Excess::Fatal).run().await.unwrap_err();
        assert!(matches!(stopped, Stopped::TooMuch), "{stopped}");
        let pid: i32 = std::fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie that nobody has waited for yet is as good as gone.
        while !state().is_empty() && !state().contains(") Z ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
