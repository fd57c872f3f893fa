//! A rehearsal: a layer is put beneath a root as ever, with all that it says of its files, but they
//! stay empty there, and what they would hold is compared on the way with the files of another root,
//! where the layer was put before.
//!
//! So whoever compares the two roots afterwards compares with what extraction really makes of the
//! layer, and no file's content is written or kept.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::error::ExtractError;
use super::open::open_beneath;
use super::stream::Stream;
use crate::oci::{Digest, Hasher};
use crate::tar::{Archive, Entry};

/// Most bytes that the notes on files may take (256 MiB): two million files, beyond any real layer.
const MAX_NOTES_BYTES: usize = 256 << 20;

/// Bytes hashed at a time (128 KiB).
const STEP_BYTES: usize = 128 << 10;

/// What a file of the layer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Byte by byte what the file of this path and inode of the other root held.
    AsIn {
        /// Relative to the root.
        path: Box<[u8]>,
        /// Its number there.
        inode: u64,
        /// In bytes.
        size: u64,
    },
    /// Something else than what lies there by that path.
    Other {
        /// In bytes.
        size: u64,
        /// Of the content.
        digest: Digest,
    },
}

/// What the files of a layer hold, by their inodes beneath the root where they are empty.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    real: OwnedFd,
    contents: HashMap<u64, Content>,
    noted_bytes: usize,
    buffer: Vec<u8>,
}

impl Rehearsal {
    /// Compares with what lies beneath `real`.
    pub(crate) fn with(real: OwnedFd) -> Self {
        Self { real, contents: HashMap::new(), noted_bytes: 0, buffer: Vec::new() }
    }

    /// What the file holds that has this inode where it is empty; `None` for one that was not listed.
    pub(crate) fn content(&self, inode: u64) -> Option<&Content> {
        self.contents.get(&inode)
    }

    /// Takes the content of `entry`, which was `made` empty and would be at `path`.
    ///
    /// # Errors
    /// The archive's.
    pub(super) fn take(
        &mut self,
        made: &OwnedFd,
        path: Vec<u8>,
        entry: &Entry,
        archive: &mut Archive<Stream>,
    ) -> Result<(), ExtractError> {
        let mut run = Run { file: open_file(&self.real, &path).ok(), matched: 0, other: None };
        let buffer = &mut self.buffer;
        archive.read_content(|piece| {
            run.take(piece, buffer);
            Ok::<_, ExtractError>(())
        })?;
        self.noted_bytes += size_of::<(u64, Content)>() + path.len();
        if self.noted_bytes > MAX_NOTES_BYTES {
            return Err(ExtractError::unusable(&entry.name, "the layer has too many files"));
        }
        let inode =
            rustix::fs::fstat(made).map_err(ExtractError::file("look at", &entry.name))?.st_ino;
        self.contents.insert(inode, run.finish(path));
        Ok(())
    }
}

/// Opens the regular file at `path` beneath `root`, led there by no link.
pub(crate) fn open_file(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open_beneath(root, path, flags)?;
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        _ => Err(Errno::INVAL),
    }
}

/// One file on its way.
struct Run {
    /// What it is compared with.
    file: Option<(OwnedFd, Stat)>,
    /// How many bytes were the same, while none was not.
    matched: u64,
    /// Once a byte was not the same: the content so far, and its length.
    other: Option<(Hasher, u64)>,
}

impl Run {
    fn take(&mut self, piece: &[u8], buffer: &mut Vec<u8>) {
        if self.other.is_none() && self.is_next(piece, buffer) {
            self.matched += piece.len() as u64;
            return;
        }
        let mut other = self.other.take().unwrap_or_else(|| self.hash_matched());
        other.0.update(piece);
        other.1 += piece.len() as u64;
        self.other = Some(other);
    }

    /// Whether the file goes on with `piece`.
    fn is_next(&self, piece: &[u8], buffer: &mut Vec<u8>) -> bool {
        let Some((file, _)) = &self.file else { return false };
        if buffer.len() < piece.len() {
            buffer.resize(piece.len(), 0);
        }
        let Some(read) = buffer.get_mut(..piece.len()) else { return false };
        read_at(file, read, self.matched).is_ok_and(|length| length == read.len()) && read == piece
    }

    /// What was the same, taken from the file: the piece that held it is gone.
    fn hash_matched(&self) -> (Hasher, u64) {
        let mut hasher = Hasher::new();
        if let Some((file, _)) = &self.file {
            // What can't be read any more gives another digest, and is looked at again.
            let _ = hash_file(file, self.matched, &mut hasher);
        }
        (hasher, self.matched)
    }

    fn finish(mut self, path: Vec<u8>) -> Content {
        let same = self.file.as_ref().filter(|(_, stat)| {
            self.other.is_none() && u64::try_from(stat.st_size) == Ok(self.matched)
        });
        if let Some((_, stat)) = same {
            return Content::AsIn { path: path.into(), inode: stat.st_ino, size: self.matched };
        }
        let (hasher, size) = self.other.take().unwrap_or_else(|| self.hash_matched());
        Content::Other { size, digest: hasher.finish() }
    }
}

/// Fills `buffer` from `offset` on, as far as the file goes.
fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Hashes the first `length` bytes of the file, or all that there are; tells whether they are nothing
/// but zeros.
pub(crate) fn hash_file(
    file: &OwnedFd,
    length: u64,
    hasher: &mut Hasher,
) -> rustix::io::Result<bool> {
    let mut step = vec![0; STEP_BYTES];
    let (mut offset, mut is_zero) = (0, true);
    while offset < length {
        let wanted = usize::try_from(length - offset).map_or(STEP_BYTES, |it| it.min(STEP_BYTES));
        let read = read_at(file, step.get_mut(..wanted).unwrap_or_default(), offset)?;
        let Some(bytes) = step.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        is_zero &= bytes.iter().all(|&byte| byte == 0);
        hasher.update(bytes);
        offset += read as u64;
    }
    Ok(is_zero)
}
