//! An error as text: what failed, why, and what to do.

use std::fmt::Write as _;

use crate::failure::Diagnose;
use crate::progress::Event;

/// Longest line shown, in characters; a registry may have written it.
const MAX_LINE: usize = 1000;
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
        Self { headline, causes, hint: error.hint().map(|hint| printable(&hint)) }
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

    /// The text for people, without a line break at the end.
    pub(super) fn styled(&self, colours: bool) -> String {
        let label = console::style("error:").red().bold().force_styling(colours);
        let mut text = format!("{label} {}", self.headline);
        for line in self.causes.iter().flatten() {
            let _ = write!(text, "\n  {line}");
        }
        if let Some(hint) = &self.hint {
            let label = console::style("hint:").cyan().bold().force_styling(colours);
            let _ = write!(text, "\n{label} {hint}");
        }
        text
    }
}

/// The event that says that pulling `image` failed with `error`.
pub fn failed(image: String, error: &dyn Diagnose) -> Event {
    let diagnostic = Diagnostic::of(error);
    let failure = error.failure();
    Event::Failed {
        image,
        error: diagnostic.one_line(),
        failure,
        exit_code: failure.exit_code(),
        hint: diagnostic.hint,
    }
}

fn printable_lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).take(MAX_LINES).map(printable).collect()
}

/// `text` as one line of bounded length without control characters: what a registry says must not
/// steer the terminal.
pub fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut line: String = text.trim_end().chars().take(MAX_LINE).map(safe).collect();
    if line.len() < text.trim_end().len() && line.chars().count() == MAX_LINE {
        line.push('…');
    }
    line
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
            diagnostic.styled(false),
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
            Diagnostic::of(&error).styled(false),
            "error: cannot resolve a\n  \u{fffd}]0;owned\u{fffd} denied\nhint: try --skip-verify"
        );
        assert_eq!(printable(&"x".repeat(1 << 20)).chars().count(), MAX_LINE + 1);
        assert_eq!(printable_lines(&"line\n".repeat(1 << 16)).len(), MAX_LINES);
    }

    #[test]
    fn the_event_of_a_failure_carries_its_kind() {
        let error = Resolve { image: "a", cause: Hosts("refused") };
        let event = serde_json::to_value(failed("a".to_owned(), &error)).unwrap();
        assert_eq!(
            event,
            serde_json::json!({
                "event": "failed",
                "image": "a",
                "error": "cannot resolve a: refused",
                "failure": "unreachable",
                "exit_code": 5,
                "hint": "try --skip-verify",
            })
        );
    }
}
