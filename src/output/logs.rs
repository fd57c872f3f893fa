//! Logs: this crate's `tracing` events as lines on standard error.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Printer;

/// Starts logging for the rest of the process: warnings, with `-v` what is decided, with `-vv`
/// everything. Of the target `traced`, everything in any case.
///
/// Other crates' logs are never shown: those of HTTP libraries hold headers, and so passwords.
/// A second call in one process changes nothing.
pub fn start_logs(printer: &Printer, verbosity: u8, traced: Option<&str>) {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_targets(traced.map(|target| (target, LevelFilter::TRACE)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(LogWriter(printer.clone()))
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_ansi(false)
        .with_filter(targets);
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// Hands each log line, which arrives in one piece, to the printer.
#[derive(Clone)]
struct LogWriter(Printer);

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.err(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
