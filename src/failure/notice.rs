//! Something to know that fails nothing: about a file of settings, a host, the node.

use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// Something the user should know that fails nothing. Displays with its place, `file:line: message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Stable name, `platform-mismatch`.
    pub code: &'static str,
    /// What is the matter, subject first.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// The file it is about.
    pub file: Option<PathBuf>,
    /// The line in it, counted from 1.
    pub line: Option<usize>,
}

impl Notice {
    /// A notice about no file and without advice.
    pub fn new(code: impl Into<&'static str>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: None, file: None, line: None }
    }

    /// The same at a place in a file.
    #[must_use]
    pub fn at(self, file: PathBuf, line: usize) -> Self {
        Self { file: Some(file), line: Some(line), ..self }
    }

    /// The same with the next step.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// As an event tells it: there the message names the place, as on a terminal.
    ///
    /// # Errors
    /// The serializer's.
    pub fn as_event<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Notice", 5)?;
        members.serialize_field("code", self.code)?;
        members.serialize_field("message", &self.to_string())?;
        members.serialize_field("hint", &self.hint)?;
        members.serialize_field("file", &self.file)?;
        members.serialize_field("line", &self.line)?;
        members.end()
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            match self.line {
                Some(line) => write!(f, "{line}: ")?,
                None => f.write_str(" ")?,
            }
        }
        f.write_str(&self.message)
    }
}
