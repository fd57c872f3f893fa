//! What an archive says about one file: the entry's own words, not yet put on a disk.

use std::fmt;

/// One entry of an archive, with the long names, attributes and sizes of its extension records
/// merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as written: it may be absolute, hold `..` or be empty.
    pub name: Vec<u8>,
    /// What kind of file it is.
    pub kind: EntryKind,
    /// Length of its content with the holes of a sparse file, in bytes; 0 of what is no regular file.
    pub size: u64,
    /// Whether it is a sparse file in old GNU tar's way (type `S`), which Go's reader, and so containerd,
    /// leaves to others.
    pub is_old_sparse: bool,
    /// Permission bits with setuid, setgid and sticky (`0o7777` at most).
    pub mode: u32,
    /// Owner; `None` leaves the one that creation gives (an ID of −1).
    pub owner: Option<u32>,
    /// Group; `None` as for the owner.
    pub group: Option<u32>,
    /// Modification time.
    pub modified: Timestamp,
    /// Access time, where the archive has one.
    pub accessed: Option<Timestamp>,
    /// Extended attributes, by full name (`security.capability`).
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The kinds of file that an archive may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
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
pub struct DeviceNumber {
    /// Driver.
    pub major: u32,
    /// Instance.
    pub minor: u32,
}

/// A point in time; `nanoseconds` is below 10⁹ and counts forward, also before 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// The rest, in nanoseconds.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// A full second.
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// An entry's name for people: escaped, and cut short where a hostile archive has a long one.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    /// Longest name shown, in bytes; the rest is left out.
    const SHOWN_BYTES: usize = 200;

    /// Takes any bytes.
    pub fn new(name: &[u8]) -> Self {
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
    fn shows_names_escaped_and_short() {
        assert_eq!(EntryName::new(b"usr/bin\n\x1b[31m").to_string(), r#""usr/bin\n\u{1b}[31m""#);
        assert_eq!(EntryName::new(&[b'a'; 200]).to_string(), format!("\"{}\"", "a".repeat(200)));
        assert_eq!(EntryName::new(&[b'a'; 4000]).to_string(), format!("\"{}\"…", "a".repeat(200)));
    }
}
