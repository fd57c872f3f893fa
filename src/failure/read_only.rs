//! File systems that are mounted read-only: by whose words they are known, which mount it is, and what
//! to do about it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// `EROFS` as Go and the C library call it, in lower case.
const WORDS: &str = "read-only file system";

/// Where this process sees what is mounted; see proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Whether a program's `message` tells of a file system that is mounted read-only.
pub fn tells_of_read_only(message: &str) -> bool {
    message.to_ascii_lowercase().contains(WORDS)
}

/// The path that such a message names last before it says so: what could not be written.
pub fn unwritable_path(message: &str) -> Option<PathBuf> {
    let end = message.to_ascii_lowercase().find(WORDS)?;
    let words = message.get(..end)?.split_whitespace();
    let mut paths =
        words.filter(|word| word.starts_with('/')).map(|word| word.trim_end_matches(':'));
    paths.next_back().map(PathBuf::from)
}

/// What makes it writable again: of the mount that `path` is on, where that is known.
pub fn make_writable(path: Option<&Path>) -> String {
    let mount = path.and_then(read_only_mount);
    let (what, place) = match &mount {
        Some(mount) => (mount.display().to_string(), mount.display().to_string()),
        None => ("its file system".to_owned(), "MOUNTPOINT".to_owned()),
    };
    format!(
        "{what} is mounted read-only: see in dmesg whether the kernel did that after errors of the \
         disk (fsck mends them), then mount -o remount,rw {place}, and run the same command again"
    )
}

/// Where the file system is mounted that `path` is on, if that is read-only.
pub fn read_only_mount(path: &Path) -> Option<PathBuf> {
    mount_of(&fs::read(MOUNTS).ok()?, path)
        .filter(|mount| mount.is_read_only)
        .map(|mount| mount.point)
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    is_read_only: bool,
}

/// The mount that `path` is on: the last of those that are mounted nearest above it.
fn mount_of(table: &[u8], path: &Path) -> Option<Mount> {
    let mut found: Option<Mount> = None;
    for line in table.split(|byte| *byte == b'\n') {
        let Some(mount) = mount(line).filter(|mount| path.starts_with(&mount.point)) else {
            continue;
        };
        let depth = |mount: &Mount| mount.point.components().count();
        if found.as_ref().is_none_or(|known| depth(known) <= depth(&mount)) {
            found = Some(mount);
        }
    }
    found
}

/// One line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let is_read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|it| it == b"ro");
    // The mount's own options, and at the end those of the file system.
    let (point, own) = (fields.get(4)?, fields.get(5)?);
    let end = fields.iter().position(|field| *field == b"-")?;
    let general = fields.get(end + 3)?;
    let point = PathBuf::from(OsString::from_vec(unescaped(point)));
    Some(Mount { point, is_read_only: is_read_only(own) || is_read_only(general) })
}

/// Blanks and backslashes are written `\040`: a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_daemons_and_of_the_system_are_known_and_what_they_name() {
        for (message, path) in [
            (
                "mkdir /var/lib/containerd/ingest/12ab: read-only file system",
                Some("/var/lib/containerd/ingest/12ab"),
            ),
            (
                "failed to prepare: rename /a/new-1 /a/7: read-only file system: unknown",
                Some("/a/7"),
            ),
            ("Read-only file system (os error 30)", None),
        ] {
            assert!(tells_of_read_only(message), "{message}");
            assert_eq!(unwritable_path(message).as_deref(), path.map(Path::new), "{message}");
        }
        assert!(!tells_of_read_only("mkdir /a: permission denied"));
        assert_eq!(unwritable_path("mkdir /a: permission denied"), None);
    }

    const TABLE: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 22 8:2 / /var/lib rw shared:2 - ext4 /dev/sda2 ro,errors=remount-ro\n\
        31 30 8:3 / /var/lib/data rw shared:3 - xfs /dev/sda3 rw\n\
        32 31 8:3 /x /var/lib/data ro - xfs /dev/sda3 rw\n\
        33 22 0:40 / /mnt/a\\040b ro - tmpfs none ro\n\
        34 22 0:41 / /mnt/short\n\n";

    #[test]
    fn the_nearest_mount_decides_and_of_several_the_last() {
        for (path, point, is_read_only) in [
            ("/etc/x", "/", false),
            // The file system itself, as the kernel leaves it after errors.
            ("/var/lib/containerd", "/var/lib", true),
            ("/var/library", "/", false),
            // One mount over the other.
            ("/var/lib/data/file", "/var/lib/data", true),
            ("/mnt/a b/c", "/mnt/a b", true),
            ("/mnt/short/c", "/", false),
        ] {
            let found = mount_of(TABLE, Path::new(path)).unwrap();
            assert_eq!(found, Mount { point: point.into(), is_read_only }, "{path}");
        }
        assert_eq!(mount_of(b"", Path::new("/")), None);
    }

    #[test]
    fn what_to_do_names_the_mount_where_it_is_known() {
        let hint = make_writable(None);
        assert!(
            hint.contains("dmesg") && hint.contains("mount -o remount,rw MOUNTPOINT"),
            "{hint}"
        );
    }
}
