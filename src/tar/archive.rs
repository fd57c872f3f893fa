//! The archive as a sequence of entries and their contents, read once from front to back.
//!
//! Merges the extension headers (PAX, GNU long names) into the entry that follows them and expands
//! sparse files. What is accepted is what Go's `archive/tar`, the daemon's reader, accepts, within
//! the same bounds. Creates no files.

use std::io::{BufRead, Seek};

use super::entry::Entry;
use super::error::{Error, Problem};
use super::header::{BLOCK_BYTES, Block, Header, text};
use super::input::Input;
use super::pax::PaxRecords;
use super::sparse::{self, ContentMap, PaxSparse, SparseMap};

/// Longest extension header or sparse map, in bytes (1 MiB, the daemon's bound too).
const MAX_EXTENSION_BYTES: usize = 1 << 20;

/// What holes are filled with, a piece at a time.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Reads entries from uncompressed bytes.
pub struct Archive<R> {
    input: Input<R>,
    /// Bytes of the current entry's content still to come.
    content: u64,
    /// Bytes between the content's end and the next header.
    padding: u64,
    /// The current entry's map, where it is sparse.
    sparse: Option<SparseMap>,
}

/// Extension headers collected for the next entry.
#[derive(Default)]
struct Extensions {
    pax: PaxRecords,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Archive<R> {
    /// Reads from the beginning of `reader`.
    pub fn new(reader: R) -> Self {
        Self { input: Input::new(reader), content: 0, padding: 0, sparse: None }
    }

    /// How many bytes of the archive were read: right behind [`Archive::next_entry`], where the
    /// entry's content begins.
    pub fn position(&self) -> u64 {
        self.input.offset()
    }

    /// How many bytes of the current entry's content are still to come, as they lie in the archive: a
    /// sparse file's holes do not.
    pub fn stored_bytes(&self) -> u64 {
        self.content
    }

    /// Whether the current entry is a sparse file: its content does not lie in the archive in one piece.
    pub fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }

    /// The next entry; content of the last one that was not read is skipped. `None` at the end.
    ///
    /// # Errors
    /// [`Error`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut extensions = Extensions::default();
        loop {
            let Some((block, mut header)) = self.next_header()? else { return Ok(None) };
            match header.type_flag {
                b'x' => extensions.pax = self.pax_records()?,
                b'L' => extensions.long_name = Some(text(&self.extension()?).to_vec()),
                b'K' => extensions.long_link = Some(text(&self.extension()?).to_vec()),
                b'g' => {
                    // Only the name is of use: other records of a global header are ignored.
                    let records = self.pax_records()?;
                    self.merge(&records, &mut header)?;
                    return self.entry(&PaxRecords::default(), header).map(Some);
                }
                _ => return self.finish_entry(extensions, header, &block).map(Some),
            }
        }
    }

    /// Passes the current entry's content to `sink`, piece by piece, holes as zeros.
    ///
    /// # Errors
    /// [`Error`] when the archive ends early or can't be read, or what `sink` returns.
    pub fn read_content<E: From<Error>>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(map) = self.sparse.take() else { return self.copy(self.content, &mut sink) };
        let mut position = 0;
        for run in map.runs() {
            fill_hole(run.offset - position, &mut sink)?;
            self.copy(run.length, &mut sink)?;
            position = run.offset + run.length;
        }
        fill_hole(map.file_bytes() - position, &mut sink)
    }

    /// Reads whatever follows the archive's end, and gives the reader back with the number of bytes
    /// that it had in all.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn finish(mut self) -> Result<(R, u64), Error> {
        self.input.skip(u64::MAX)?;
        let bytes = self.input.offset();
        Ok((self.input.into_reader(), bytes))
    }

    fn copy<E: From<Error>>(
        &mut self,
        length: u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = length;
        while left > 0 {
            let available = self.input.fill()?;
            let amount = usize::try_from(left).map_or(available.len(), |l| l.min(available.len()));
            let Some(piece) = available.get(..amount).filter(|piece| !piece.is_empty()) else {
                return Err(self.input.problem(Problem::Truncated).into());
            };
            sink(piece)?;
            self.input.consume(amount);
            self.content -= amount as u64;
            left -= amount as u64;
        }
        Ok(())
    }

    /// The next header that is not all zeros, with its block; `None` at the archive's end.
    fn next_header(&mut self) -> Result<Option<(Block, Header)>, Error> {
        if !self.skip_to_header()? {
            return Ok(None);
        }
        let Some(block) = self.next_block()? else { return Ok(None) };
        if is_zero(&block) {
            // One block of zeros ends an archive if nothing follows it, two end it in any case.
            return match self.next_block()? {
                None => Ok(None),
                Some(block) if is_zero(&block) => Ok(None),
                Some(_) => Err(self.input.problem(Problem::Header)),
            };
        }
        let header = Header::parse(&block).map_err(|problem| {
            let is_first = self.input.offset() == BLOCK_BYTES as u64;
            self.input.problem(if is_first { Problem::NotAnArchive } else { problem })
        })?;
        self.expect_content(&header)?;
        Ok(Some((block, header)))
    }

    /// Drops what is left of the last entry. Returns whether the archive goes on after it.
    fn skip_to_header(&mut self) -> Result<bool, Error> {
        let content = std::mem::take(&mut self.content);
        let padding = std::mem::take(&mut self.padding);
        self.sparse = None;
        if self.input.skip(content)? < content {
            return Err(self.input.problem(Problem::Truncated));
        }
        Ok(self.input.skip(padding)? == padding)
    }

    fn next_block(&mut self) -> Result<Option<Block>, Error> {
        let mut block = [0; BLOCK_BYTES];
        match self.input.read_up_to(&mut block)? {
            0 => Ok(None),
            BLOCK_BYTES => Ok(Some(block)),
            // Every archive has a block.
            length if self.input.offset() == length as u64 => {
                Err(self.input.problem(Problem::NotAnArchive))
            }
            _ => Err(self.input.problem(Problem::Truncated)),
        }
    }

    /// Notes how much content follows `header`.
    fn expect_content(&mut self, header: &Header) -> Result<(), Error> {
        let size = if header.has_no_content() { 0 } else { header.size };
        self.content = u64::try_from(size).map_err(|_| self.input.problem(Problem::Header))?;
        self.padding = self.content.wrapping_neg() % BLOCK_BYTES as u64;
        Ok(())
    }

    /// The whole content of an extension header.
    fn extension(&mut self) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(self.content)
            .ok()
            .filter(|length| *length <= MAX_EXTENSION_BYTES)
            .ok_or_else(|| {
                self.input.problem(Problem::TooLong {
                    what: "extension header",
                    limit_bytes: MAX_EXTENSION_BYTES,
                })
            })?;
        let mut content = Vec::with_capacity(length);
        self.copy(self.content, &mut |piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(content)
    }

    fn pax_records(&mut self) -> Result<PaxRecords, Error> {
        let content = self.extension()?;
        PaxRecords::parse(&content).map_err(|problem| self.input.problem(problem))
    }

    fn merge(&self, records: &PaxRecords, header: &mut Header) -> Result<(), Error> {
        records.merge_into(header).map_err(|problem| self.input.problem(problem))
    }

    fn finish_entry(
        &mut self,
        extensions: Extensions,
        mut header: Header,
        block: &Block,
    ) -> Result<Entry, Error> {
        self.merge(&extensions.pax, &mut header)?;
        if let Some(name) = extensions.long_name {
            header.name = name;
        }
        if let Some(link) = extensions.long_link {
            header.link = link;
        }
        self.expect_content(&header)?;
        self.sparse = self.sparse_map(&extensions.pax, &mut header, block)?;
        self.entry(&extensions.pax, header)
    }

    fn entry(&self, records: &PaxRecords, header: Header) -> Result<Entry, Error> {
        header.into_entry(records.attributes()).map_err(|problem| self.input.problem(problem))
    }

    /// The current entry's sparse map, if it has one; reads it from the archive where it lies there.
    fn sparse_map(
        &mut self,
        records: &PaxRecords,
        header: &mut Header,
        block: &Block,
    ) -> Result<Option<SparseMap>, Error> {
        let runs = if header.type_flag == b'S' {
            self.gnu_sparse_runs(header, block)?
        } else {
            let Some(format) = sparse::pax_format(records) else { return Ok(None) };
            self.pax_sparse_runs(records, header, format)?
        };
        if header.has_no_content() {
            return Err(self.input.problem(Problem::SparseMap));
        }
        SparseMap::new(runs, header.size, self.content)
            .map(Some)
            .map_err(|problem| self.input.problem(problem))
    }

    fn gnu_sparse_runs(
        &mut self,
        header: &mut Header,
        block: &Block,
    ) -> Result<Vec<(i64, i64)>, Error> {
        let problem = |archive: &Self, problem| archive.input.problem(problem);
        if !header.is_gnu {
            return Err(problem(self, Problem::SparseMap));
        }
        header.size = sparse::gnu_file_bytes(block).map_err(|source| problem(self, source))?;
        let mut part = sparse::gnu_header_runs(block).map_err(|source| problem(self, source))?;
        let mut runs = part.runs;
        let mut blocks = 0;
        // Extension blocks lie between the header and the content, and no size counts them.
        while part.is_continued {
            self.bound_sparse_map(&mut blocks)?;
            let block = self.next_block()?.ok_or_else(|| problem(self, Problem::Truncated))?;
            part = sparse::gnu_extension_runs(&block).map_err(|source| problem(self, source))?;
            runs.append(&mut part.runs);
        }
        Ok(runs)
    }

    fn pax_sparse_runs(
        &mut self,
        records: &PaxRecords,
        header: &mut Header,
        format: PaxSparse,
    ) -> Result<Vec<(i64, i64)>, Error> {
        if let Some(name) = records.get("GNU.sparse.name") {
            header.name = name.to_vec();
        }
        let number = |key| records.number(key).map_err(|problem| self.input.problem(problem));
        let file_bytes = match number("GNU.sparse.size")? {
            Some(size) => Some(size),
            None => number("GNU.sparse.realsize")?,
        };
        header.size = file_bytes.unwrap_or(header.size);
        match format {
            PaxSparse::MapInRecords => {
                sparse::map_in_records(records).map_err(|problem| self.input.problem(problem))
            }
            PaxSparse::MapInContent => self.sparse_runs_in_content(),
        }
    }

    fn sparse_runs_in_content(&mut self) -> Result<Vec<(i64, i64)>, Error> {
        let mut map = ContentMap::default();
        let mut blocks = 0;
        loop {
            self.bound_sparse_map(&mut blocks)?;
            let length = BLOCK_BYTES as u64;
            if self.content < length {
                return Err(self.input.problem(Problem::SparseMap));
            }
            let block = self.next_block()?.ok_or_else(|| self.input.problem(Problem::Truncated))?;
            self.content -= length;
            let runs = map.push(&block).map_err(|problem| self.input.problem(problem))?;
            if let Some(runs) = runs {
                return Ok(runs);
            }
        }
    }

    /// Counts one more block of a sparse map.
    fn bound_sparse_map(&self, blocks: &mut usize) -> Result<(), Error> {
        *blocks += 1;
        if *blocks > MAX_EXTENSION_BYTES / BLOCK_BYTES {
            let problem = Problem::TooLong { what: "sparse map", limit_bytes: MAX_EXTENSION_BYTES };
            return Err(self.input.problem(problem));
        }
        Ok(())
    }
}

impl<R: BufRead + Seek> Archive<R> {
    /// Passes over the current entry's content without reading it, be it there or not: the caller
    /// knows how long the archive is.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn seek_over_content(&mut self) -> Result<(), Error> {
        self.sparse = None;
        self.input.seek_over(std::mem::take(&mut self.content))
    }
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|&byte| byte == 0)
}

fn fill_hole<E>(length: u64, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut left = length;
    while left > 0 {
        let zeros = usize::try_from(left).ok().and_then(|left| ZEROS.get(..left)).unwrap_or(&ZEROS);
        sink(zeros)?;
        left -= zeros.len() as u64;
    }
    Ok(())
}
