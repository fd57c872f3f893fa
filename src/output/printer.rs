//! The only writer of standard output and standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use super::bars::Screen;
use super::diagnostic::{Diagnostic, printable};
use crate::failure::{Diagnose, Failure, is_disk_full};
use crate::sync::lock;

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct Error(#[source] io::Error);

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        if is_disk_full(&self.0) { Failure::DiskFull } else { Failure::Other }
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

/// Writes whole lines to the two standard streams, and moves progress bars out of their way.
///
/// Results go to standard output, everything else to standard error.
#[derive(Clone)]
pub struct Printer(Arc<Streams>);

struct Streams {
    stdout: Mutex<Box<dyn Write + Send>>,
    stderr: Mutex<Box<dyn Write + Send>>,
    screen: Screen,
    /// Whether standard error shows colours.
    styled: bool,
}

impl Printer {
    /// The process's own streams.
    pub fn standard() -> Self {
        let styled = io::stderr().is_terminal() && console::colors_enabled_stderr();
        Self::with(Box::new(io::stdout()), Box::new(io::stderr()), styled)
    }

    /// Other streams, for tests; without colours.
    pub fn new(stdout: impl Write + Send + 'static, stderr: impl Write + Send + 'static) -> Self {
        Self::with(Box::new(stdout), Box::new(stderr), false)
    }

    fn with(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>, styled: bool) -> Self {
        let (stdout, stderr) = (Mutex::new(stdout), Mutex::new(stderr));
        Self(Arc::new(Streams { stdout, stderr, screen: Screen::hidden(), styled }))
    }

    /// Writes `text` and a line break to standard output.
    ///
    /// A reader that has gone away (`pullctl images | head -1`) is no error: it has what it wants.
    ///
    /// # Errors
    /// [`Error`] for everything else that keeps the text from being written, a full disk for instance.
    pub fn out(&self, text: &str) -> Result<(), Error> {
        let mut stdout = lock(&self.0.stdout);
        let written =
            self.0.screen.suspend(|| writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error(error)),
            _ => Ok(()),
        }
    }

    /// Writes `text` and a line break to standard error, above the progress bars if there are any.
    pub fn err(&self, text: &str) {
        self.err_bytes(format!("{text}\n").as_bytes());
    }

    /// Writes an error with its causes and its hint to standard error.
    pub fn error(&self, error: &dyn Diagnose) {
        self.err(&Diagnostic::of(error).styled(self.0.styled));
    }

    /// Writes a warning to standard error.
    pub fn warning(&self, message: &str, hint: Option<&str>) {
        let label = console::style("warning:").yellow().bold().force_styling(self.0.styled);
        let mut text = format!("{label} {}", printable(message));
        if let Some(hint) = hint {
            text.push_str("\n  ");
            text.push_str(&printable(hint));
        }
        self.err(&text);
    }

    /// Where the progress bars are drawn.
    pub(super) fn screen(&self) -> &Screen {
        &self.0.screen
    }

    pub(super) fn err_bytes(&self, bytes: &[u8]) {
        let mut stderr = lock(&self.0.stderr);
        // Nobody is left to be told that standard error is gone.
        let _ = self.0.screen.suspend(|| stderr.write_all(bytes).and_then(|()| stderr.flush()));
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Printer")
    }
}

/// Streams that keep what was written, for the tests of this module's neighbours.
#[cfg(test)]
pub(super) mod captured {
    use super::*;

    /// A stream whose content can be read back.
    #[derive(Clone, Default)]
    pub(in crate::output) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::output) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A printer and its standard output and standard error.
    pub(in crate::output) fn printer() -> (Printer, Captured, Captured) {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        (Printer::new(stdout.clone(), stderr.clone()), stdout, stderr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn results_and_remarks_take_different_streams() {
        let (printer, stdout, stderr) = captured::printer();
        printer.out("sha256:00").unwrap();
        printer.warning("the mirror is \u{1b}[31mslow", Some("use another"));
        assert_eq!(stdout.text(), "sha256:00\n");
        assert_eq!(stderr.text(), "warning: the mirror is \u{fffd}[31mslow\n  use another\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_but_a_full_disk_is() {
        let gone = Printer::new(Failing(io::ErrorKind::BrokenPipe), io::sink());
        assert!(gone.out("text").is_ok());
        let full = Printer::new(Failing(io::ErrorKind::StorageFull), io::sink());
        assert_eq!(full.out("text").unwrap_err().failure(), Failure::DiskFull);
    }

    #[test]
    fn a_closed_standard_error_is_survived() {
        Printer::new(io::sink(), Failing(io::ErrorKind::BrokenPipe)).err("text");
    }
}
