//! The choice of how progress is shown.

use std::io::IsTerminal;

use crate::progress::Verb;

/// How progress is shown on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// One line a blob, redrawn in place.
    Bars,
    /// A line of text a step, fit for a log.
    Plain,
    /// One JSON object a line, for scripts.
    Json,
    /// Nothing but warnings and errors.
    None,
}

impl ProgressMode {
    /// Decides what [`ProgressMode::Auto`] is on this process's standard error.
    pub(super) fn resolved(self) -> Self {
        match self {
            Self::Auto if can_redraw() => Self::Bars,
            Self::Auto => Self::Plain,
            chosen => chosen,
        }
    }
}

/// Whether standard error is a terminal on which lines can be drawn anew.
pub(super) fn can_redraw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// What is shown of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Digests on standard output and nothing else: no progress unless it was asked for by name.
    pub quiet: bool,
    /// Standard output is where an archive goes: results are written to standard error.
    pub is_stdout_taken: bool,
    /// What is done with the images.
    pub verb: Verb,
    /// How often `-v` was given. From once on, every request to a registry is shown.
    pub verbosity: u8,
}

impl Options {
    /// The mode with `auto` and `quiet` taken into account.
    pub(super) fn mode(&self) -> ProgressMode {
        match self.progress {
            ProgressMode::Auto if self.quiet => ProgressMode::None,
            progress => progress.resolved(),
        }
    }
}
