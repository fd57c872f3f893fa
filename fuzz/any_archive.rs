//! What holds for any bytes as a tar archive: it is read to its end or refused at a place within it,
//! within the bounds on names, in steps forward alone. The fuzz target and a plain test share it.

use pullctl::archive::{MAX_DOCUMENT_BYTES, PassedArchive, Passing};
use pullctl::tar::{Archive, Error};

/// Longest content read of one entry, in bytes: a sparse file of a few bytes may have holes of exabytes.
const MAX_CONTENT: u64 = 1 << 20;

/// Longest path that an archive may have.
const MAX_PATH: usize = 4096;

/// Longest piece of a file that comes by, in bytes: holes may make it longer than the archive.
const PIECE: usize = 256 << 10;

/// Why reading a content ended.
enum Stop {
    Archive(Error),
    Enough,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Archive(error)
    }
}

/// Reads `input`; answers how many entries it has, if it is an archive.
pub(crate) fn reads_within_bounds(input: &[u8]) -> Option<usize> {
    let length = input.len() as u64;
    let mut archive = Archive::new(input);
    let mut entries = 0;
    loop {
        let before = archive.position();
        let entry = match archive.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => return is_within(&error, length),
        };
        assert!(archive.position() > before && archive.position() <= length);
        assert!(entry.name.len() <= MAX_PATH);
        let mut read = 0;
        let outcome = archive.read_content(|piece| {
            read += piece.len() as u64;
            if read > MAX_CONTENT { Err(Stop::Enough) } else { Ok(()) }
        });
        match outcome {
            Ok(()) => assert!(read == entry.size || entry.size == 0, "{entry:?}: {read}"),
            Err(Stop::Enough) => {}
            Err(Stop::Archive(error)) => return is_within(&error, length),
        }
        entries += 1;
    }
    let (_, bytes) = archive.finish().expect("a slice can be read");
    assert_eq!(bytes, length);
    Some(entries)
}

fn is_within(error: &Error, length: u64) -> Option<usize> {
    match error {
        Error::Read(error) => panic!("a slice can be read: {error}"),
        Error::Malformed { offset, .. } => assert!(*offset <= length, "{error}"),
    }
    None
}

/// Reads `input` as an archive of images that comes by; answers how many it lists, if it is one.
pub(crate) fn lists_images(input: &[u8]) -> Option<usize> {
    let mut passed = PassedArchive::new("input");
    let mut is_broken = false;
    let read = Passing::read(input, "input", MAX_DOCUMENT_BYTES, |passing| {
        let learnt = match passing {
            Passing::Entry(entry) | Passing::Blob(entry, _) => passed.entry(&entry),
            Passing::Document(entry, bytes) => passed.document(&entry, bytes).map(drop),
            Passing::Bytes(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= input.len().max(PIECE));
                Ok(())
            }
            Passing::End(_) => Ok(()),
        };
        is_broken = learnt.is_err();
        !is_broken
    });
    if read.is_err() || is_broken {
        return None;
    }
    passed.images().ok().map(|images| images.len())
}
