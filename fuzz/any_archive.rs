//! What holds for any bytes as a tar archive: it is read to its end or refused at a place within it,
//! within the bounds on names, in steps forward alone. The fuzz target and a plain test share it.

use pullctl::tar::{Archive, Error};

/// Longest content read of one entry, in bytes: a sparse file of a few bytes may have holes of exabytes.
const MAX_CONTENT: u64 = 1 << 20;

/// Longest path that an archive may have.
const MAX_PATH: usize = 4096;

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
