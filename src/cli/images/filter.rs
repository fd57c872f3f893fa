//! Which images are listed: `--filter KEY=VALUE`.

use std::str::FromStr;

use super::list::Listed;
use crate::cli::values::platform;
use crate::platform::{Matcher, Platform};

/// What an image has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// One of its names is so, where `*` stands for anything.
    Name(String),
    /// Whether it is pinned.
    Pinned(bool),
    /// Whether a container of it can be started.
    Complete(bool),
    /// It is for this platform.
    Platform(Platform),
    /// One of its names has this label, with this value where one is written.
    Label(String, Option<String>),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const KEYS: &str = "a filter is name=PATTERN, pinned=true, complete=false, \
                            platform=linux/amd64 or label=KEY[=VALUE]";
        let (key, value) = text.split_once('=').ok_or(KEYS)?;
        let truth = || match value {
            "true" | "yes" => Ok(true),
            "false" | "no" => Ok(false),
            _ => Err(format!("{key} is true or false")),
        };
        match key {
            _ if value.is_empty() => Err(KEYS.to_owned()),
            "name" | "reference" => Ok(Self::Name(value.to_owned())),
            "pinned" => truth().map(Self::Pinned),
            "complete" => truth().map(Self::Complete),
            "platform" => platform(value).map(Self::Platform),
            "label" => Ok(match value.split_once('=') {
                Some((label, value)) => Self::Label(label.to_owned(), Some(value.to_owned())),
                None => Self::Label(value.to_owned(), None),
            }),
            _ => Err(KEYS.to_owned()),
        }
    }
}

impl Filter {
    /// Whether it takes a look at more than names.
    pub(super) fn needs_condition(&self) -> bool {
        matches!(self, Self::Complete(_) | Self::Platform(_))
    }

    /// Whether the image is so.
    pub(super) fn takes(&self, Listed { image, condition, .. }: &Listed) -> bool {
        match self {
            Self::Name(pattern) => image.names.iter().any(|name| is_like(&name.name, pattern)),
            Self::Pinned(wanted) => image.is_pinned() == *wanted,
            Self::Complete(wanted) => condition.is_complete == *wanted,
            Self::Platform(wanted) => {
                let matcher = Matcher::strict(wanted);
                condition.platform.as_ref().is_some_and(|own| matcher.best([own]).is_some())
            }
            Self::Label(key, value) => image.names.iter().any(|name| {
                let label = name.labels.get(key);
                label.is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            }),
        }
    }
}

/// Whether `name` is like `pattern`, where `*` stands for anything; without one, whether it is in it.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return name.contains(pattern) };
    let Some(rest) = name.strip_prefix(first) else { return false };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_stars_and_words_are_looked_for() {
        for (name, pattern, expected) in [
            ("docker.io/library/busybox:1", "busybox", true),
            ("docker.io/library/busybox:1", "busybox:2", false),
            ("docker.io/library/busybox:1", "docker.io/*", true),
            ("docker.io/library/busybox:1", "*:1", true),
            ("docker.io/library/busybox:1", "*:2", false),
            ("docker.io/library/busybox:1", "docker.io/*/busybox:*", true),
            ("docker.io/library/busybox:1", "quay.io/*", false),
            ("aa", "a*a", true),
            ("a", "a*a", false),
            ("abc", "*", true),
            ("abcabc", "a*c*b*c", true),
            ("ü", "*ü*", true),
        ] {
            assert_eq!(is_like(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn filters_are_read_and_others_refused_with_those_there_are() {
        let label = |value: Option<&str>| Filter::Label("a".to_owned(), value.map(str::to_owned));
        for (text, expected) in [
            ("name=busybox", Filter::Name("busybox".to_owned())),
            ("pinned=true", Filter::Pinned(true)),
            ("complete=no", Filter::Complete(false)),
            ("label=a", label(None)),
            ("label=a=b=c", label(Some("b=c"))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "name", "name=", "pinned=perhaps", "dangling=true", "platform=a/b/c/d/e"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
