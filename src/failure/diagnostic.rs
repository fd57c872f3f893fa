//! An error as text: what failed, why, and what to do.

use std::fmt::{self, Write as _};

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::printable::printable;
use super::{Diagnose, Failure};

/// Most lines shown of one error in a chain.
const MAX_LINES: usize = 40;

/// An error's message, causes and hint, made safe for a terminal.
///
/// ```text
/// error: cannot resolve harbor.example.net/kubernetes/cronjob:v1
///   mirror.local: 503 after 4 attempts (12.3 s)
///   harbor.example.net: certificate signed by an unknown authority
/// hint: put Harbor's CA into …
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    failure: Failure,
    headline: String,
    /// The lines of each cause in the chain; those of the error itself after the headline come first.
    causes: Vec<Vec<String>>,
    hint: Option<String>,
}

impl Diagnostic {
    /// Collects the chain of `error`. A cause that the line before already tells is left out.
    pub fn of(error: &dyn Diagnose) -> Self {
        let mut lines = printable_lines(&error.to_string());
        let headline = if lines.is_empty() { String::new() } else { lines.remove(0) };
        let mut previous = lines.last().unwrap_or(&headline).clone();
        let mut causes = vec![lines];
        let mut cause = error.source();
        while let Some(error) = cause {
            let mut lines = Vec::new();
            for line in printable_lines(&error.to_string()) {
                if !previous.contains(&line) {
                    previous.clone_from(&line);
                    lines.push(line);
                }
            }
            causes.push(lines);
            cause = error.source();
        }
        causes.retain(|lines| !lines.is_empty());
        let hint = error.hint().map(|hint| printable(&hint));
        Self { failure: error.failure(), headline, causes, hint }
    }

    /// The message and its causes on one line, without the hint.
    pub fn one_line(&self) -> String {
        let mut text = self.headline.clone();
        for lines in &self.causes {
            let lines: Vec<&str> = lines.iter().map(|line| line.trim_start()).collect();
            let _ = write!(text, ": {}", lines.join("; "));
        }
        text
    }

    /// The next step.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// What failed, on one line.
    pub fn headline(&self) -> &str {
        &self.headline
    }

    /// Why, a line each, the outermost cause first.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.causes.iter().flatten().map(String::as_str)
    }
}

/// As `error`, `failure`, `exit_code` and `hint`: the members by which events tell a failure.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Diagnostic", 4)?;
        members.serialize_field("error", &self.one_line())?;
        members.serialize_field("failure", &self.failure)?;
        members.serialize_field("exit_code", &self.failure.exit_code())?;
        members.serialize_field("hint", &self.hint)?;
        members.end()
    }
}

/// As it is shown, without colours.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.headline)?;
        for line in self.causes() {
            write!(f, "\n  {line}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

fn printable_lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).take(MAX_LINES).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot resolve {image}")]
    struct Resolve {
        image: &'static str,
        #[source]
        cause: Hosts,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Hosts(&'static str);

    impl Diagnose for Resolve {
        fn failure(&self) -> Failure {
            Failure::Unreachable
        }

        fn hint(&self) -> Option<String> {
            Some("try --skip-verify".to_owned())
        }
    }

    #[test]
    fn shows_each_host_on_its_own_line_and_the_hint_last() {
        let error = Resolve {
            image: "harbor.example.net/a:v1",
            cause: Hosts(
                "mirror.local: 503 after 4 attempts\nharbor.example.net: unknown issuer\n",
            ),
        };
        let diagnostic = Diagnostic::of(&error);
        assert_eq!(
            diagnostic.to_string(),
            "error: cannot resolve harbor.example.net/a:v1\n  \
             mirror.local: 503 after 4 attempts\n  \
             harbor.example.net: unknown issuer\n\
             hint: try --skip-verify"
        );
        assert_eq!(
            diagnostic.one_line(),
            "cannot resolve harbor.example.net/a:v1: mirror.local: 503 after 4 attempts; \
             harbor.example.net: unknown issuer"
        );
    }

    #[test]
    fn says_nothing_twice() {
        let error = Resolve { image: "a: connection refused", cause: Hosts("connection refused") };
        assert_eq!(Diagnostic::of(&error).one_line(), "cannot resolve a: connection refused");
    }

    #[test]
    fn a_registrys_words_neither_steer_the_terminal_nor_flood_it() {
        let error = Resolve { image: "a", cause: Hosts("\u{1b}]0;owned\u{7}\rdenied") };
        assert_eq!(
            Diagnostic::of(&error).to_string(),
            "error: cannot resolve a\n  \u{fffd}]0;owned\u{fffd} denied\nhint: try --skip-verify"
        );
        assert_eq!(printable_lines(&"line\n".repeat(1 << 16)).len(), MAX_LINES);
    }

    #[test]
    fn as_json_it_carries_its_kind() {
        let error = Resolve { image: "a", cause: Hosts("refused") };
        assert_eq!(
            serde_json::to_value(Diagnostic::of(&error)).unwrap(),
            serde_json::json!({
                "error": "cannot resolve a: refused",
                "failure": "unreachable",
                "exit_code": 5,
                "hint": "try --skip-verify",
            })
        );
    }
}
