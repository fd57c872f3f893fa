//! What was found on the node: each with what to do about it, as commands and lines to write.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How bad it is. The worst is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Pulls, or the kubelet, fail because of it.
    Error,
    /// They will, or do not as somebody means them to.
    Warning,
    /// To be known.
    Note,
}

impl Severity {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable name.
    pub code: &'static str,
    /// What is the matter, subject first.
    pub what: String,
    /// What comes of it.
    pub why: String,
    /// What to do.
    pub fix: Fix,
    /// The file it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line in it, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Finding {
    /// An error.
    pub(super) fn error(
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, code, what, why)
    }

    /// A warning.
    pub(super) fn warning(
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, code, what, why)
    }

    /// A note.
    pub(super) fn note(
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Note, code, what, why)
    }

    fn new(
        severity: Severity,
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        let (what, why, fix) = (what.into(), why.into(), Fix::default());
        Self { severity, code, what, why, fix, file: None, line: None }
    }

    /// The same at a place in a file.
    #[must_use]
    pub(super) fn at(self, file: &Path, line: usize) -> Self {
        Self { file: Some(file.to_owned()), line: Some(line), ..self }
    }

    /// The same with what to do.
    #[must_use]
    pub(super) fn fixed_by(self, fix: Fix) -> Self {
        Self { fix, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity.label())?;
        // What quotes an error names its place already.
        let file =
            self.file.as_ref().filter(|file| !self.what.starts_with(&*file.to_string_lossy()));
        match (file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, _) => {}
        }
        write!(f, "{} [{}]\n  why: {}", self.what, self.code, self.why)?;
        write!(f, "{}", self.fix)
    }
}

/// What to do: in words, then the edits, then the commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// In words; empty where the rest says it.
    pub text: String,
    /// What to change in files, in this order.
    pub edits: Vec<Edit>,
    /// What to run afterwards, in this order.
    pub commands: Vec<String>,
}

impl Fix {
    /// In words.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// By a command.
    pub(super) fn command(command: impl Into<String>) -> Self {
        Self::default().then(command)
    }

    /// By a change of a file.
    pub(super) fn edit(edit: Edit) -> Self {
        Self { edits: vec![edit], ..Self::default() }
    }

    /// The same and `command` after it.
    #[must_use]
    pub(super) fn then(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }

    /// The same, said in words as well.
    #[must_use]
    pub(super) fn saying(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        match self.text.is_empty() {
            true => write!(f, "\n  fix:")?,
            false => write!(f, "\n  fix: {}", self.text)?,
        }
        for edit in &self.edits {
            write!(f, "\n    {edit}")?;
        }
        self.commands.iter().try_for_each(|command| write!(f, "\n    $ {command}"))
    }
}

/// A change of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Edit {
    /// A new file, or in place of what there is.
    Write {
        /// The file.
        file: PathBuf,
        /// All that is in it.
        content: String,
    },
    /// Another line in place of one.
    Replace {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What to write there.
        content: String,
    },
    /// A new line before one.
    Insert {
        /// The file.
        file: PathBuf,
        /// The line that moves down, counted from 1.
        line: usize,
        /// What to write there.
        content: String,
    },
    /// Lines that go.
    Remove {
        /// The file.
        file: PathBuf,
        /// The first line, counted from 1.
        line: usize,
        /// The last one.
        last: usize,
    },
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, content) = match self {
            Self::Write { file, content } => {
                (format!("write {}:", file.display()), content.as_str())
            }
            Self::Replace { file, line, content } => {
                (format!("write line {line} of {} as", file.display()), content.as_str())
            }
            Self::Insert { file, line, content } => {
                (format!("before line {line} of {} write", file.display()), content.as_str())
            }
            Self::Remove { file, line, last } if line == last => {
                (format!("take out line {line} of {}", file.display()), "")
            }
            Self::Remove { file, line, last } => {
                (format!("take out lines {line} to {last} of {}", file.display()), "")
            }
        };
        f.write_str(&head)?;
        content.lines().try_for_each(|line| write!(f, "\n      {line}"))
    }
}
