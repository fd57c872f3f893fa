//! What to do about a file of ours that could not be written.

use std::io;

use super::is_disk_full;

/// The next step, by the reason; `None` where there is nothing better to say than the error itself.
pub fn place_for_file(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        _ if is_disk_full(error) => Some("free space there, or name another place"),
        io::ErrorKind::IsADirectory => Some("name a file in it"),
        io::ErrorKind::NotFound => Some("make the directory first"),
        io::ErrorKind::NotADirectory => Some("name a file in a directory"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("choose a place that you may write to")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_usual_reason_has_a_next_step() {
        for (kind, expected) in [
            (io::ErrorKind::IsADirectory, Some("in it")),
            (io::ErrorKind::NotFound, Some("make the directory")),
            (io::ErrorKind::NotADirectory, Some("in a directory")),
            (io::ErrorKind::ReadOnlyFilesystem, Some("may write to")),
            (io::ErrorKind::QuotaExceeded, Some("free space")),
            (io::ErrorKind::Interrupted, None),
        ] {
            let hint = place_for_file(&kind.into());
            assert_eq!(hint.is_some(), expected.is_some(), "{kind}");
            assert!(hint.unwrap_or_default().contains(expected.unwrap_or_default()), "{kind}");
        }
    }
}
