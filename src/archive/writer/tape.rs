//! A tar, entry by entry, the same bytes each time: every field of a header is set, and none of them
//! depends on the machine or the time.

use std::io::{self, Write};

use tar::{EntryType, Header};

/// Length of a block, in bytes: headers are one, contents are padded to it.
const BLOCK_BYTES: u64 = 512;

/// Largest size that a header's own field holds, in bytes: eleven octal digits (8 GiB).
const MAX_PLAIN_SIZE: u64 = 0o77_777_777_777;

/// What the entry before an entry with extensions is called, as Go's writer calls it.
const EXTENSION_NAME: &str = "PaxHeaders.0";

/// A tar being written. Whoever writes an entry's content writes as much as its header says.
#[derive(Debug)]
pub(super) struct Tape<W> {
    output: W,
    /// Bytes written so far.
    position: u64,
}

impl Tape<io::Sink> {
    /// One that is written nowhere, and tells how long what comes after `position` gets.
    pub(super) fn imagined(position: u64) -> Self {
        Self { output: io::sink(), position }
    }
}

impl<W: Write> Tape<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, position: 0 }
    }

    /// Bytes written so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// A directory, whose name ends with a slash.
    pub(super) fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(EntryType::Directory, name, 0o755, 0)
    }

    /// The header of a file that anybody may read.
    pub(super) fn file(&mut self, name: &str, size: u64) -> io::Result<()> {
        if size > MAX_PLAIN_SIZE {
            self.extended_size(size)?;
        }
        self.header(EntryType::Regular, name, 0o444, size)
    }

    /// The next bytes of the entry's content.
    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// What is between an entry's content and the next header.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        let over = self.position % BLOCK_BYTES;
        if over == 0 {
            return Ok(());
        }
        let zeros = [0; BLOCK_BYTES as usize];
        let missing = usize::try_from(BLOCK_BYTES - over).unwrap_or(zeros.len());
        self.content(&zeros[..missing])
    }

    /// Leaves out the entry's content, and what is behind it up to the next header: somebody else writes
    /// it to its place. The output is told apart.
    pub(super) fn leave_out(&mut self, size: u64) -> io::Result<&mut W> {
        let end = self.position.checked_add(size);
        let end = end.and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES));
        self.position = end.ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(&mut self.output)
    }

    /// What ends the archive.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.content(&[0; 2 * BLOCK_BYTES as usize])
    }

    /// Goes back to `position`; the output is told apart.
    pub(super) fn back_to(&mut self, position: u64) -> &mut W {
        self.position = position;
        &mut self.output
    }

    pub(super) fn output(&mut self) -> &mut W {
        &mut self.output
    }

    pub(super) fn into_output(self) -> W {
        self.output
    }

    /// A size beyond the header's own field, the way that Go's writer tells it and every reader of the
    /// last twenty years knows: a PAX record, rather than GNU's binary number.
    fn extended_size(&mut self, size: u64) -> io::Result<()> {
        let record = pax_record("size", &size.to_string());
        self.header(EntryType::XHeader, EXTENSION_NAME, 0, record.len() as u64)?;
        self.content(record.as_bytes())?;
        self.pad()
    }

    fn header(&mut self, kind: EntryType, name: &str, mode: u32, size: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name)?;
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_username("")?;
        header.set_groupname("")?;
        header.set_device_major(0)?;
        header.set_device_minor(0)?;
        // With a record of the size, the field holds nothing that counts.
        header.set_size(if size > MAX_PLAIN_SIZE { 0 } else { size });
        header.set_cksum();
        self.content(header.as_bytes())
    }
}

/// `LENGTH KEY=VALUE` and a line break, where the length counts its own digits.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufReader, Read as _};

    use super::*;

    fn small() -> Vec<u8> {
        let mut tape = Tape::new(Vec::new());
        tape.directory("blobs/").unwrap();
        tape.file("blobs/a", 5).unwrap();
        tape.content(b"hello").unwrap();
        tape.pad().unwrap();
        tape.file("empty", 0).unwrap();
        tape.pad().unwrap();
        tape.end().unwrap();
        assert_eq!(tape.position(), 512 * 6);
        tape.into_output()
    }

    #[test]
    fn every_field_of_a_header_is_set() {
        let bytes = small();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries: Vec<_> = archive.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 3);
        for entry in &entries {
            let header = entry.header();
            assert!(header.as_ustar().is_some());
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 0);
            assert_eq!(header.device_major().unwrap(), Some(0));
            assert_eq!(header.device_minor().unwrap(), Some(0));
            // Numbers are octal digits with an end, as strict readers want them.
            for field in [100..108, 108..116, 116..124, 124..136, 136..148, 329..337, 337..345] {
                let field = &header.as_bytes()[field];
                let (digits, end) = field.split_at(field.len() - 1);
                assert!(digits.iter().all(u8::is_ascii_digit) && end == [0], "{field:?}");
            }
        }
        assert_eq!(entries[0].header().mode().unwrap(), 0o755);
        assert_eq!(entries[1].header().mode().unwrap(), 0o444);
    }

    #[test]
    fn the_bytes_are_the_same_each_time() {
        assert_eq!(small(), small());
    }

    /// An archive of one file of `size` zeros, which are a hole in the file that it is written to.
    fn large(size: u64) -> File {
        let mut tape = Tape::new(Vec::new());
        tape.file("blobs/large", size).unwrap();
        let beginning = tape.into_output();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&beginning).unwrap();
        file.set_len(beginning.len() as u64 + size.next_multiple_of(512)).unwrap();
        let mut end = Tape::new(Vec::new());
        end.file("after", 1).unwrap();
        end.content(b"!").unwrap();
        end.pad().unwrap();
        end.end().unwrap();
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).unwrap();
        file.write_all(&end.into_output()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file
    }

    #[test]
    fn sizes_of_8_gib_and_more_are_read_back() {
        for size in [MAX_PLAIN_SIZE, MAX_PLAIN_SIZE + 1, 11 << 30] {
            let file = large(size);
            let mut archive = tar::Archive::new(BufReader::new(file));
            let mut entries = archive.entries_with_seek().unwrap();
            assert_eq!(entries.next().unwrap().unwrap().size(), size);
            let mut content = String::new();
            entries.next().unwrap().unwrap().read_to_string(&mut content).unwrap();
            assert_eq!(content, "!");
            assert!(entries.next().is_none());
        }
    }

    #[test]
    fn a_record_counts_the_digits_of_its_length() {
        assert_eq!(pax_record("size", "8589934592"), "19 size=8589934592\n");
        assert_eq!(pax_record("k", "12345"), "11 k=12345\n");
        assert_eq!(pax_record("k", "1234"), "9 k=1234\n");
    }
}
