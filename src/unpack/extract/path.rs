//! Paths as archives write them, made harmless by spelling alone: relative, without `.` and `..`.

/// `name` as a path relative to the root: `..` takes back the component before it, and none leads
/// above the root. Empty for the root itself.
pub(crate) fn clean(name: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in components(name) {
        if component == b".." {
            kept.pop();
        } else {
            kept.push(component);
        }
    }
    kept.join(&b'/')
}

/// The components of `path`, without empty ones and `.`; `..` are kept.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

/// The parent of a clean path, and its last component; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((path.get(..slash)?, path.get(slash + 1..)?)),
        None => (!path.is_empty()).then_some((b"", path)),
    }
}

/// `path` beneath `directory`; either may be empty.
pub(crate) fn join(directory: &[u8], path: &[u8]) -> Vec<u8> {
    match (directory, path) {
        (b"", path) => path.to_vec(),
        (directory, b"") => directory.to_vec(),
        (directory, path) => [directory, b"/", path].concat(),
    }
}

/// Whether `path` is `directory` or lies beneath it, both clean.
pub(crate) fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_by_spelling() {
        for (name, clean_path) in [
            ("a/b", "a/b"),
            ("./a/./b/", "a/b"),
            ("/a//b", "a/b"),
            ("../../a", "a"),
            ("a/../b", "b"),
            ("a/../../../b", "b"),
            ("..", ""),
            ("/", ""),
            (".", ""),
            ("", ""),
            ("...", "..."),
        ] {
            assert_eq!(clean(name.as_bytes()), clean_path.as_bytes(), "{name}");
        }
    }

    #[test]
    fn splits_and_joins() {
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b""), None);
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b""), b"a");
        assert_eq!(join(b"a/b", b"c"), b"a/b/c");
    }

    #[test]
    fn knows_what_lies_beneath() {
        assert!(is_within(b"a/b", b"a"));
        assert!(is_within(b"a", b"a"));
        assert!(is_within(b"a", b""));
        assert!(!is_within(b"ab", b"a"));
        assert!(!is_within(b"a", b"a/b"));
    }
}
