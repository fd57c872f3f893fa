//! What an archive says about one file: the entry's own words, not yet put on a disk.

use std::fmt;

/// One entry of an archive, with the long names, attributes and sizes of its extension records
/// merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path as written: it may be absolute, hold `..` or be empty.
    pub(crate) name: Vec<u8>,
    /// What kind of file it is.
    pub(crate) kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky (`0o7777` at most).
    pub(crate) mode: u32,
    /// Owner; `None` leaves the one that creation gives (an ID of −1).
    pub(crate) owner: Option<u32>,
    /// Group; `None` as for the owner.
    pub(crate) group: Option<u32>,
    /// Modification time.
    pub(crate) modified: Timestamp,
    /// Access time, where the archive has one.
    pub(crate) accessed: Option<Timestamp>,
    /// Extended attributes, by full name (`security.capability`).
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The kinds of file that a layer may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file; its content follows in the archive.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target, which is stored as it is.
    Symlink(Vec<u8>),
    /// Another name for the file at this path of the archive.
    HardLink(Vec<u8>),
    /// A character device.
    CharacterDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A PAX global header. It makes no file, yet containerd clears the place of its name.
    GlobalHeader,
}

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceNumber {
    /// Driver.
    pub(crate) major: u32,
    /// Instance.
    pub(crate) minor: u32,
}

/// A point in time; `nanoseconds` is below 10⁹ and counts forward, also before 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) seconds: i64,
    /// The rest, in nanoseconds.
    pub(crate) nanoseconds: u32,
}

impl Timestamp {
    /// Latest time that containerd sets, 2262-04-11: what an `i64` of nanoseconds holds.
    const LATEST: Self = Self { seconds: i64::MAX / 1_000_000_000, nanoseconds: 854_775_807 };

    /// A full second.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// The time as containerd puts it on a file: 1970 for what lies before it or after 2262.
    pub(crate) fn bounded(self) -> Self {
        if self < Self::default() || self > Self::LATEST { Self::default() } else { self }
    }
}

impl Entry {
    /// The access time to set: containerd never lets it be before the modification time.
    pub(crate) fn access_time(&self) -> Timestamp {
        self.accessed.map_or(self.modified, |accessed| accessed.max(self.modified))
    }
}

/// An entry's name for people: escaped, and cut short where a hostile archive has a long one.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    /// Longest name shown, in bytes; the rest is left out.
    const SHOWN_BYTES: usize = 200;

    /// Takes any bytes.
    pub(crate) fn new(name: &[u8]) -> Self {
        // One more than is shown tells that something was left out.
        Self(name.iter().copied().take(Self::SHOWN_BYTES + 1).collect())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..Self::SHOWN_BYTES).unwrap_or(&self.0);
        write!(f, "\"{}\"", String::from_utf8_lossy(shown).escape_debug())?;
        if shown.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_times_as_containerd_does() {
        let nanoseconds = 999_999_999;
        for (time, bounded) in [
            (Timestamp { seconds: -1, nanoseconds }, Timestamp::default()),
            (Timestamp { seconds: 1, nanoseconds }, Timestamp { seconds: 1, nanoseconds }),
            (Timestamp::LATEST, Timestamp::LATEST),
            (Timestamp { nanoseconds, ..Timestamp::LATEST }, Timestamp::default()),
            (Timestamp::from_seconds(i64::MAX), Timestamp::default()),
        ] {
            assert_eq!(time.bounded(), bounded, "{time:?}");
        }
    }

    #[test]
    fn shows_names_escaped_and_short() {
        assert_eq!(EntryName::new(b"usr/bin\n\x1b[31m").to_string(), r#""usr/bin\n\u{1b}[31m""#);
        assert_eq!(EntryName::new(&[b'a'; 200]).to_string(), format!("\"{}\"", "a".repeat(200)));
        assert_eq!(EntryName::new(&[b'a'; 4000]).to_string(), format!("\"{}\"…", "a".repeat(200)));
    }
}
