//! An archive that comes by once, from front to back: `Passing` is what comes, in order.
//!
//! Layers come before the documents that name them, most often. Documents are handed over whole, since
//! they are small; other files in pieces, unless they can't be part of an image.

use std::io::BufRead;
use std::ops::Range;

use bytes::Bytes;

use super::error::{Error, Problem};
use super::images::MAX_INDEX_BYTES;
use super::packing::MAGIC_BYTES;
use super::{Packing, docker};
use crate::oci::{Digest, Hasher, MAX_MANIFEST_BYTES, layout};
use crate::tar::{self, Archive, Entry, EntryKind, EntryName};

/// Most bytes of documents that are handed over whole (32 MiB), for they are kept in memory: those of some
/// thousand images. What comes after is handed over like layers.
pub const MAX_DOCUMENT_BYTES: u64 = 32 << 20;

/// Bytes of a file that are handed over at a time (256 KiB).
const PIECE_BYTES: usize = 256 << 10;

/// Where a tar header says that it is one.
const TAR_MAGIC: Range<usize> = 257..262;

/// The tables of contents, which are documents whatever they hold.
const TABLES: [&str; 3] = [layout::INDEX_FILE, docker::MANIFEST_FILE, docker::REPOSITORIES_FILE];

/// One thing that comes by.
#[derive(Debug)]
pub enum Passing {
    /// An entry that has no content, or none of interest.
    Entry(Box<Entry>),
    /// A small file, whole; a digest in its name is right.
    Document(Box<Entry>, Bytes),
    /// A file begins, which may be a layer: its bytes follow, and its end.
    Blob(Box<Entry>, BlobBegin),
    /// More of the file.
    Bytes(Bytes),
    /// The end of the file; what it hashes to, where its name does not say that.
    End(Option<Digest>),
}

/// What is known of a file when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobBegin {
    /// What it must hash to, by its name.
    pub expected: Option<Digest>,
    /// How it is packed.
    pub packing: Packing,
}

impl Passing {
    /// Reads the archive `tar` to its end, called `place` in messages, and hands what comes by to
    /// `take` until that is false; of documents no more than `document_bytes` as such. Blocks.
    ///
    /// # Errors
    /// [`Error`]: the archive is damaged, no tar, or can't be read.
    pub fn read(
        tar: impl BufRead,
        place: &str,
        document_bytes: u64,
        take: impl FnMut(Self) -> bool,
    ) -> Result<(), Error> {
        match read_all(tar, document_bytes, take) {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::Problem(problem)) => Err(problem.at(place)),
        }
    }
}

/// Why reading ended early.
enum Stop {
    Problem(Problem),
    Enough,
}

impl From<tar::Error> for Stop {
    fn from(error: tar::Error) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

fn read_all(
    tar: impl BufRead,
    document_bytes: u64,
    mut take: impl FnMut(Passing) -> bool,
) -> Result<(), Stop> {
    let mut hand_over = |passing| if take(passing) { Ok(()) } else { Err(Stop::Enough) };
    let mut archive = Archive::new(tar);
    let mut is_empty = true;
    let mut room = document_bytes;
    while let Some(entry) = archive.next_entry()? {
        is_empty = false;
        if entry.kind != EntryKind::File {
            hand_over(Passing::Entry(Box::new(entry)))?;
            continue;
        }
        let mut file = File::new(entry, room, &mut hand_over);
        archive.read_content(|bytes| file.push(bytes))?;
        room = file.finish()?;
    }
    if is_empty {
        return Err(Problem::Empty.into());
    }
    // What packs the archive has a checksum at its end.
    archive.finish()?;
    Ok(())
}

/// A file that comes by.
struct File<'a, T> {
    state: State,
    piece: Vec<u8>,
    /// Bytes of documents that may still be handed over whole.
    room: u64,
    hand_over: &'a mut T,
}

enum State {
    /// Nothing of it was looked at yet.
    New(Box<Entry>),
    /// It is collected.
    Document(Box<Entry>),
    /// It is handed over in pieces, and hashed where its name says no digest.
    Blob(Option<Hasher>),
    /// Nobody wants it.
    Other,
}

impl<'a, T: FnMut(Passing) -> Result<(), Stop>> File<'a, T> {
    fn new(entry: Entry, room: u64, hand_over: &'a mut T) -> Self {
        Self { state: State::New(Box::new(entry)), piece: Vec::new(), room, hand_over }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() && !matches!(self.state, State::Other) {
            let space = match self.state {
                State::Document(_) => bytes.len(),
                _ => PIECE_BYTES - self.piece.len(),
            };
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(PIECE_BYTES);
            }
            let (now, later) = bytes.split_at(bytes.len().min(space));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() >= PIECE_BYTES {
                self.look()?;
                self.pass_on()?;
            }
        }
        Ok(())
    }

    /// Decides what becomes of the file, when its first piece is there.
    fn look(&mut self) -> Result<(), Stop> {
        let State::New(entry) = &self.state else { return Ok(()) };
        let entry = entry.clone();
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let expected = docker::digest_in(&name);
        self.state = if self.is_document(&entry, &name)? {
            self.room = self.room.saturating_sub(entry.size);
            State::Document(entry)
        } else if expected.is_some() || self.may_be_layer(&name) {
            let magic = self.piece.get(..MAGIC_BYTES).unwrap_or(&self.piece);
            let packing = Packing::of(magic).unwrap_or(Packing::Plain);
            (self.hand_over)(Passing::Blob(entry, BlobBegin { expected, packing }))?;
            State::Blob(expected.is_none().then(Hasher::new))
        } else {
            (self.hand_over)(Passing::Entry(entry))?;
            State::Other
        };
        Ok(())
    }

    fn is_document(&self, entry: &Entry, name: &str) -> Result<bool, Problem> {
        if TABLES.contains(&name.trim_start_matches("./")) {
            return match entry.size > MAX_INDEX_BYTES {
                true => Err(Problem::TooLarge {
                    name: EntryName::new(&entry.name),
                    size_bytes: entry.size,
                    limit_bytes: MAX_INDEX_BYTES,
                }),
                false => Ok(true),
            };
        }
        let begin = self.piece.trim_ascii_start().first();
        let is_json = matches!(begin, Some(b'{' | b'['));
        Ok(is_json && entry.size <= MAX_MANIFEST_BYTES && entry.size <= self.room)
    }

    fn may_be_layer(&self, name: &str) -> bool {
        let is_packed = matches!(Packing::of(&self.piece), Ok(Packing::Gzip | Packing::Zstd));
        let is_tar = self.piece.get(TAR_MAGIC) == Some(b"ustar");
        let is_called_so = [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
        is_packed || is_tar || is_called_so
    }

    /// Hands over the piece, unless the file is collected.
    fn pass_on(&mut self) -> Result<(), Stop> {
        if matches!(self.state, State::Document(_)) {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        if let State::Blob(hasher) = &mut self.state
            && !piece.is_empty()
        {
            if let Some(hasher) = hasher {
                hasher.update(&piece);
            }
            (self.hand_over)(Passing::Bytes(piece))?;
        }
        Ok(())
    }

    /// Ends the file. Returns for how many bytes of documents there still is room.
    fn finish(mut self) -> Result<u64, Stop> {
        self.look()?;
        self.pass_on()?;
        match self.state {
            State::Document(entry) => {
                let name = String::from_utf8_lossy(&entry.name);
                if let Some(expected) = docker::digest_in(&name)
                    && let actual = Digest::of(&self.piece)
                    && expected != actual
                {
                    let name = EntryName::new(&entry.name);
                    return Err(Problem::OtherContent { name, expected, actual }.into());
                }
                (self.hand_over)(Passing::Document(entry, Bytes::from(self.piece)))?;
            }
            State::Blob(hasher) => (self.hand_over)(Passing::End(hasher.map(Hasher::finish)))?,
            State::New(_) | State::Other => {}
        }
        Ok(self.room)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::failure::{Diagnose as _, Failure};

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// What comes by, a word for each thing.
    fn passing(tar: Vec<u8>) -> Result<Vec<String>, Failure> {
        let mut seen = Vec::new();
        let read = Passing::read(Cursor::new(tar), "a.tar", MAX_DOCUMENT_BYTES, |passing| {
            seen.push(match passing {
                Passing::Entry(entry) => format!("entry {}", String::from_utf8_lossy(&entry.name)),
                Passing::Document(_, bytes) => format!("document {}", bytes.len()),
                Passing::Blob(_, begin) => {
                    format!("blob {:?} {}", begin.packing, begin.expected.is_some())
                }
                Passing::Bytes(bytes) => format!("bytes {}", bytes.len()),
                Passing::End(digest) => format!("end {}", digest.is_some()),
            });
            true
        });
        read.map(|()| seen).map_err(|error| error.failure())
    }

    fn blob(content: &[u8]) -> String {
        layout::blob_file(&Digest::of(content))
    }

    #[test]
    fn documents_come_whole_and_what_may_be_a_layer_in_pieces() {
        let json = br#" {"a": 1}"#;
        let large = vec![b'x'; PIECE_BYTES + 10];
        let layer = archive(&[("f", b"content")]);
        let index = [b"[".to_vec(), vec![b' '; 2 * PIECE_BYTES], b"]".to_vec()].concat();
        let tar = archive(&[
            (&blob(json), json),
            (&blob(&large), &large),
            ("abc/VERSION", b"1.0"),
            ("abc/layer.tar", &layer),
            ("./index.json", &index),
        ]);
        let expected = [
            "document 9".to_owned(),
            "blob Plain true".to_owned(),
            format!("bytes {PIECE_BYTES}"),
            "bytes 10".to_owned(),
            "end false".to_owned(),
            "entry abc/VERSION".to_owned(),
            "blob Plain false".to_owned(),
            format!("bytes {}", layer.len()),
            "end true".to_owned(),
            format!("document {}", index.len()),
        ];
        assert_eq!(passing(tar).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_shows_where_it_comes_by() {
        let lies = archive(&[(&blob(b"other"), b"{}")]);
        assert_eq!(passing(lies), Err(Failure::Verification));
        let mut cut = archive(&[("index.json", b"{\"manifests\":[]}")]);
        cut.truncate(520);
        assert_eq!(passing(cut), Err(Failure::Verification));
        assert_eq!(
            passing(b"no tar at all, though longer than that".repeat(20)),
            Err(Failure::Usage)
        );
        assert_eq!(passing(Vec::new()), Err(Failure::Usage));
        let mut header = ::tar::Header::new_gnu();
        header.set_path("index.json").unwrap();
        header.set_size(10 << 30);
        header.set_cksum();
        let huge = [header.as_bytes().to_vec(), vec![b'{'; PIECE_BYTES]].concat();
        assert_eq!(passing(huge), Err(Failure::Verification));
    }

    #[test]
    fn documents_beyond_what_memory_is_for_come_in_pieces() {
        let json = |seed: usize| {
            let mut json = format!("{{\"{seed}\":\"").into_bytes();
            json.resize(MAX_MANIFEST_BYTES as usize, b' ');
            json
        };
        let files: Vec<_> = (0..10).map(|seed| (blob(&json(seed)), json(seed))).collect();
        let files: Vec<_> = files.iter().map(|(name, json)| (&**name, &**json)).collect();
        let seen = passing(archive(&files)).unwrap();
        let documents = seen.iter().filter(|seen| seen.starts_with("document")).count();
        assert_eq!(documents as u64, MAX_DOCUMENT_BYTES / MAX_MANIFEST_BYTES);
        assert_eq!(seen.iter().filter(|seen| seen.starts_with("blob")).count(), 2);
    }
}
