//! Sparse files: where an archived file's data lies in the file, in the old GNU format and in PAX
//! formats 0.0, 0.1 and 1.0.
//!
//! See <https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html>.

use super::error::Problem;
use super::header::{Block, number};
use super::pax::{PaxRecords, decimal};

/// A run of archived data: `length` bytes at `offset` of the file. What no run covers is zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataRun {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A checked sparse map: the runs are in order, do not overlap and lie within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SparseMap {
    runs: Vec<DataRun>,
    /// Length of the file with its holes, in bytes.
    file_bytes: u64,
}

/// How a PAX header says that its file is sparse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaxSparse {
    /// Formats 0.0 and 0.1: the map is among the records.
    MapInRecords,
    /// Format 1.0: the map precedes the data.
    MapInContent,
}

impl SparseMap {
    /// Checks `runs` against the length of the file and that of the data in the archive.
    ///
    /// # Errors
    /// [`Problem::SparseMap`] when they do not fit.
    pub(super) fn new(
        runs: Vec<(i64, i64)>,
        file_bytes: i64,
        archived_bytes: u64,
    ) -> Result<Self, Problem> {
        let checked = || -> Option<Self> {
            let file_bytes = u64::try_from(file_bytes).ok()?;
            let mut end = 0;
            let mut data = 0_u64;
            let mut checked = Vec::with_capacity(runs.len());
            for (offset, length) in runs {
                let run = DataRun {
                    offset: u64::try_from(offset).ok()?,
                    length: u64::try_from(length).ok()?,
                };
                if run.offset < end {
                    return None;
                }
                end = run.offset.checked_add(run.length).filter(|end| *end <= file_bytes)?;
                data = data.checked_add(run.length)?;
                checked.push(run);
            }
            (data == archived_bytes).then_some(Self { runs: checked, file_bytes })
        };
        checked().ok_or(Problem::SparseMap)
    }

    /// The runs, in order.
    pub(super) fn runs(&self) -> &[DataRun] {
        &self.runs
    }

    /// Length of the file with its holes, in bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// Which PAX sparse format the records announce, if any; an unknown version is an ordinary file.
pub(super) fn pax_format(records: &PaxRecords) -> Option<PaxSparse> {
    match (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor")) {
        (Some(b"0"), Some(b"0" | b"1")) => Some(PaxSparse::MapInRecords),
        (Some(b"1"), Some(b"0")) => Some(PaxSparse::MapInContent),
        (None, None) => records.get("GNU.sparse.map").map(|_| PaxSparse::MapInRecords),
        _ => None,
    }
}

/// The map of formats 0.0 and 0.1: `offset,length,offset,length,…` and its number of pairs.
///
/// # Errors
/// [`Problem::SparseMap`] when a number is malformed or the count differs.
pub(super) fn map_in_records(records: &PaxRecords) -> Result<Vec<(i64, i64)>, Problem> {
    let parse = || -> Option<Vec<(i64, i64)>> {
        let count = usize::try_from(decimal(records.get("GNU.sparse.numblocks")?)?).ok()?;
        let map = records.get("GNU.sparse.map").unwrap_or_default();
        let numbers = match map {
            b"" => Vec::new(),
            map => map.split(|&byte| byte == b',').map(decimal).collect::<Option<Vec<_>>>()?,
        };
        (Some(numbers.len()) == count.checked_mul(2)).then(|| pairs(&numbers))
    };
    parse().ok_or(Problem::SparseMap)
}

fn pairs(numbers: &[i64]) -> Vec<(i64, i64)> {
    numbers.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect()
}

/// Reads the map of format 1.0, which comes as lines in whole blocks: a count, then twice as many
/// numbers.
#[derive(Debug, Default)]
pub(super) struct ContentMap {
    numbers: Vec<i64>,
    line: Vec<u8>,
}

impl ContentMap {
    /// Longest line, in bytes: a number of 64 bits with its sign.
    const MAX_LINE: usize = 20;

    /// Takes in the next block. Returns the map once it is complete.
    ///
    /// # Errors
    /// [`Problem::SparseMap`] on what is no number.
    pub(super) fn push(&mut self, block: &Block) -> Result<Option<Vec<(i64, i64)>>, Problem> {
        for &byte in block {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > Self::MAX_LINE {
                    return Err(Problem::SparseMap);
                }
                continue;
            }
            self.numbers.push(decimal(&self.line).ok_or(Problem::SparseMap)?);
            self.line.clear();
            if self.is_complete()? {
                return Ok(Some(pairs(self.numbers.get(1..).unwrap_or_default())));
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> Result<bool, Problem> {
        let count = self.numbers.first().copied().unwrap_or_default();
        let expected = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(2)?.checked_add(1))
            .ok_or(Problem::SparseMap)?;
        Ok(self.numbers.len() == expected)
    }
}

/// The runs in an old GNU header block: four places of 24 bytes from byte 386 on.
pub(super) fn gnu_header_runs(block: &Block) -> Result<GnuRuns, Problem> {
    gnu_runs(&block[386..482], block[482])
}

/// The runs in an extension block after such a header: 21 places.
pub(super) fn gnu_extension_runs(block: &Block) -> Result<GnuRuns, Problem> {
    gnu_runs(&block[..504], block[504])
}

/// The file's length with its holes, in an old GNU header block.
pub(super) fn gnu_file_bytes(block: &Block) -> Result<i64, Problem> {
    number(&block[483..495])
}

/// A part of an old GNU sparse map.
#[derive(Debug)]
pub(super) struct GnuRuns {
    pub(super) runs: Vec<(i64, i64)>,
    /// Whether an extension block follows.
    pub(super) is_continued: bool,
}

fn gnu_runs(places: &[u8], continued: u8) -> Result<GnuRuns, Problem> {
    let runs = places
        .chunks_exact(24)
        .take_while(|place| place.first() != Some(&0))
        .map(|place| {
            let (offset, length) = place.split_at(12);
            Ok((number(offset)?, number(length)?))
        })
        .collect::<Result<_, Problem>>()?;
    Ok(GnuRuns { runs, is_continued: continued != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_maps_that_fit_the_file() {
        for (runs, file_bytes, archived_bytes, fits) in [
            (vec![], 0, 0, true),
            (vec![], 1 << 40, 0, true),
            (vec![(0, 5), (10, 5)], 15, 10, true),
            (vec![(0, 5), (5, 0)], 5, 5, true),
            (vec![(0, 5), (4, 5)], 15, 10, false),
            (vec![(10, 5), (0, 5)], 15, 10, false),
            (vec![(0, 5)], 4, 5, false),
            (vec![(0, 5)], 5, 6, false),
            (vec![(-1, 5)], 5, 5, false),
            (vec![(0, -5)], 5, 0, false),
            (vec![(i64::MAX, i64::MAX)], i64::MAX, 1, false),
            (vec![], -1, 0, false),
        ] {
            let result = SparseMap::new(runs.clone(), file_bytes, archived_bytes);
            assert_eq!(result.is_ok(), fits, "{runs:?} {file_bytes} {archived_bytes}");
        }
    }

    #[test]
    fn reads_a_map_that_precedes_the_data() {
        let mut block = [0; 512];
        block[..11].copy_from_slice(b"2\n0\n5\n10\n7\n");
        assert_eq!(ContentMap::default().push(&block), Ok(Some(vec![(0, 5), (10, 7)])));
        for bad in [&b"-1\n"[..], b"x\n", b"99999999999999999999999\n", b"9223372036854775807\n"] {
            let mut block = [0; 512];
            block[..bad.len()].copy_from_slice(bad);
            assert_eq!(ContentMap::default().push(&block), Err(Problem::SparseMap));
        }
    }

    #[test]
    fn reads_a_map_in_the_records() {
        let map = |text: &str| {
            let record = |key: &str, value: &str| {
                let body = key.len() + value.len() + 3;
                format!("{} {key}={value}\n", body + 2)
            };
            let records = record("GNU.sparse.numblocks", "2") + &record("GNU.sparse.map", text);
            map_in_records(&PaxRecords::parse(records.as_bytes()).unwrap())
        };
        assert_eq!(map("0,5,10,7"), Ok(vec![(0, 5), (10, 7)]));
        assert_eq!(map("0,5,10"), Err(Problem::SparseMap));
        assert_eq!(map("0,5,10,x"), Err(Problem::SparseMap));
    }
}
