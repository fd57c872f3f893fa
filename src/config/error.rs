//! Why a configuration file cannot be obeyed, and what in it was not understood.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Diagnose, Failure};

/// Longest part of a line quoted in a message, in characters; a minified file is one long line.
const MAX_QUOTED_LINE: usize = 120;

/// Names of settings whose values are secrets, in lower case. Any header's may be one.
const SECRET_SETTINGS: [&str; 9] = [
    "auth",
    "authorization",
    "cookie",
    "header",
    "identitytoken",
    "password",
    "proxy-authorization",
    "registrytoken",
    "token",
];

/// A configuration file that cannot be obeyed. A pull stops here rather than ask a host that the
/// file was meant to keep it from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file was read but says something that cannot be meant.
    #[error("{location}: {problem}")]
    Invalid {
        /// Where, and the line itself.
        location: Box<Location>,
        /// What is wrong there, subject first.
        problem: String,
        /// What would be right there.
        expected: String,
    },
    /// A file that exists, or that was named on the command line, cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that another one names is not there or not readable.
    #[error("{location}: cannot read {setting} file {}", path.display())]
    MissingFile {
        /// Where it is named.
        location: Box<Location>,
        /// The setting that names it: `ca`, `client`, …
        setting: &'static str,
        /// The file as it was looked for.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// `path` was named, and is not there.
    pub(super) fn not_found(path: &Path) -> Self {
        Self::Unreadable { path: path.to_owned(), source: rustix::io::Errno::NOENT.into() }
    }

    /// The file that can't be read or obeyed; where another one names it, that one.
    pub fn file(&self) -> &Path {
        match self {
            Self::Invalid { location, .. } | Self::MissingFile { location, .. } => &location.path,
            Self::Unreadable { path, .. } => path,
        }
    }

    /// The place in a file that the error is about, where there is one.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Invalid { location, .. } | Self::MissingFile { location, .. } => Some(location),
            Self::Unreadable { .. } => None,
        }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        Failure::Configuration
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { location, expected, .. } if location.text.is_empty() => {
                Some(format!("expected {expected}"))
            }
            Self::Invalid { location, expected, .. } => {
                Some(format!("the line reads `{}`; expected {expected}", location.text))
            }
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or let this user read the file".to_owned())
            }
            Self::Unreadable { path, source }
                if source.kind() == io::ErrorKind::NotFound && path.is_symlink() =>
            {
                Some("it is a link that leads nowhere: mend it, or remove it".to_owned())
            }
            Self::Unreadable { .. } => {
                Some("check the path, or leave out the flag or variable that names it".to_owned())
            }
            Self::MissingFile { location, setting, path, .. } => Some(format!(
                "put the file at {}, or correct `{setting}` in {}; a relative path starts at that \
                 file's directory",
                path.display(),
                location.path.display()
            )),
        }
    }
}

/// A place in a text file. Displays as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The line itself, shortened; values of secret settings are blotted out. Empty for a file of
    /// logins, which is quoted nowhere.
    pub text: String,
}

impl Location {
    /// The place of byte `offset` in `content`, which was read from `path`.
    pub(crate) fn of(path: &Path, content: &str, offset: usize) -> Self {
        let is_boundary = |offset: &usize| content.is_char_boundary(*offset);
        let offset = (0..=offset.min(content.len())).rev().find(is_boundary).unwrap_or_default();
        let (before, after) = content.split_at(offset);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(content.len(), |newline| offset + newline);
        let line_before = before.get(start..).unwrap_or_default();
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line_before.chars().count() + 1,
            text: quotable(before, content.get(start..end).unwrap_or_default().trim()),
        }
    }
}

impl Location {
    /// A place in a file of logins.
    pub(crate) fn unquoted(path: &Path, line: usize, column: usize) -> Self {
        let (line, column) = (line.max(1), column.max(1));
        Self { path: path.to_owned(), line, column, text: String::new() }
    }

    /// The place in a file of logins where `text` first stands, or else its beginning.
    pub(crate) fn unquoted_of(path: &Path, content: &str, text: &str) -> Self {
        let found = Self::of(path, content, content.find(text).unwrap_or_default());
        Self { text: String::new(), ..found }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// `line` as a message may show it; `before` is the text in front of it, for the table it is in.
///
/// A file that does not parse cannot be asked which of its values are secret, so the decision is
/// made by the names on the line and of its table, and errs on the side of hiding.
fn quotable(before: &str, line: &str) -> String {
    let table = before.lines().rev().map(str::trim).find(|line| line.starts_with('['));
    let in_secret_table = table.is_some_and(|table| {
        let table = table.to_ascii_lowercase();
        table.contains("header") || table.contains("auth")
    });
    let lower = line.to_ascii_lowercase();
    let opens_table = line.ends_with(']')
        && line.trim_start_matches('[').starts_with(|first: char| first.is_ascii_alphabetic())
        && line.starts_with('[');
    // A value on a line of its own may be anybody's.
    let is_bare_value = line.starts_with(['"', '\'']) && !line.contains('=');
    let secret = !opens_table
        && (in_secret_table
            || is_bare_value
            || SECRET_SETTINGS.iter().any(|setting| lower.contains(setting)));
    if secret {
        let name = line.split(['=', ':']).next().unwrap_or_default().trim();
        return if name.len() == line.len() { "…".to_owned() } else { format!("{name} = …") };
    }
    shortened(&without_login(line))
}

/// `line` with the login of a URL in it, `https://user:password@host`, blotted out.
fn without_login(line: &str) -> String {
    let Some((before, rest)) = line.split_once("://") else { return line.to_owned() };
    let authority_end = rest.find(['/', '"', '\'']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{before}://…@{host}{after}"),
        None => line.to_owned(),
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(MAX_QUOTED_LINE) {
        Some((cut, _)) => format!("{}…", line.get(..cut).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_counts_lines_and_characters_from_one() {
        let content = "first\n  sécond = 1\nthird";
        for (offset, line, column, text) in [
            (0, 1, 1, "first"),
            (5, 1, 6, "first"),
            (6, 2, 1, "sécond = 1"),
            (11, 2, 5, "sécond = 1"),
            (content.len(), 3, 6, "third"),
            (999, 3, 6, "third"),
        ] {
            let location = Location::of(Path::new("hosts.toml"), content, offset);
            assert_eq!(
                (location.line, location.column, location.text.as_str()),
                (line, column, text),
                "{offset}"
            );
        }
    }

    #[test]
    fn a_quoted_line_never_shows_a_secret() {
        for (content, shown) in [
            ("password = \"hunter2\"", "password = …"),
            ("auth = { password = \"hunter2\" }", "auth = …"),
            ("[host.\"https://a\".header]\nx-key = [\"hunter2\"]", "x-key = …"),
            ("[a.header]\n\"hunter2\"", "…"),
            ("header = { x-key = \"hunter2\" ]", "header = …"),
            ("header = { x-key = [\n\"hunter2\\n\"", "…"),
            ("host.\"https://a\".header.x-key = \"hunter2", "host.\"https = …"),
            ("\"auth\": \"hunter2\"", "\"auth\" = …"),
            ("server = \"https://me:hunter2@host/v2\"", "server = \"https://…@host/v2\""),
        ] {
            let location = Location::of(Path::new("file"), content, content.len());
            assert_eq!(location.text, shown, "{content}");
        }
    }

    #[test]
    fn a_minified_file_is_quoted_only_in_part() {
        let location = Location::of(Path::new("file"), &"x".repeat(5000), 10);
        assert_eq!(location.text.chars().count(), MAX_QUOTED_LINE + 1);
    }
}
