//! The only writer of standard output and standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use super::screen::Screen;
use crate::failure::{Diagnose, Diagnostic, Failure, Notice, harmless, is_disk_full, printable};
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

    /// Writes `text` and a line break to standard output. What steers a terminal is taken out, here
    /// as everywhere below.
    ///
    /// A reader that has gone away (`pullctl images | head -1`) is no error: it has what it wants.
    ///
    /// # Errors
    /// [`Error`] for everything else that keeps the text from being written, a full disk for instance.
    pub fn out(&self, text: &str) -> Result<(), Error> {
        let text = harmless(text);
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
        self.err_raw(&format!("{}\n", harmless(text)));
    }

    /// Writes an error with its causes and its hint to standard error.
    pub fn error(&self, error: &dyn Diagnose) {
        self.diagnostic(&Diagnostic::of(error));
    }

    /// Writes what is known of an error to standard error.
    pub fn diagnostic(&self, diagnostic: &Diagnostic) {
        let label = console::style("error:").red().bold().force_styling(self.0.styled);
        let mut text = format!("{label} {}\n", harmless(diagnostic.headline()));
        for line in diagnostic.causes() {
            text.push_str(&format!("  {}\n", harmless(line)));
        }
        if let Some(hint) = diagnostic.hint() {
            let label = console::style("hint:").cyan().bold().force_styling(self.0.styled);
            text.push_str(&format!("{label} {}\n", harmless(hint)));
        }
        self.err_raw(&text);
    }

    /// Writes a warning to standard error.
    pub fn warning(&self, notice: &Notice) {
        let label = console::style("warning:").yellow().bold().force_styling(self.0.styled);
        let mut text = format!("{label} {}\n", printable(&notice.to_string()));
        if let Some(hint) = &notice.hint {
            text.push_str(&format!("  {}\n", printable(hint)));
        }
        self.err_raw(&text);
    }

    /// Where the progress bars are drawn.
    pub(super) fn screen(&self) -> &Screen {
        &self.0.screen
    }

    /// Writes `text`, the colours of our own labels included, as it is.
    fn err_raw(&self, text: &str) {
        let mut stderr = lock(&self.0.stderr);
        let write = || stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        // Nobody is left to be told that standard error is gone.
        let _ = self.0.screen.suspend(write);
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
        printer
            .warning(&Notice::new("slow", "the mirror is \u{1b}[31mslow").with_hint("use another"));
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
