//! PAX extended header records: `<length> <key>=<value>\n`, merged into the header they precede.
//!
//! See <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_03>.

use std::collections::BTreeMap;

use super::entry::Timestamp;
use super::error::Problem;
use super::header::Header;

/// What keys of extended attributes begin with, as star, GNU tar and every image builder write them.
const ATTRIBUTE_PREFIX: &[u8] = b"SCHILY.xattr.";

/// The records of one extended header, a repeated key's last value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PaxRecords {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl PaxRecords {
    /// Parses an extended header's content.
    ///
    /// # Errors
    /// [`Problem::PaxRecord`] when a record's form is wrong.
    pub(super) fn parse(mut content: &[u8]) -> Result<Self, Problem> {
        let mut records = BTreeMap::new();
        // Sparse format 0.0 repeats these two keys, which later formats joined in one map.
        let mut sparse_map: Vec<&[u8]> = Vec::new();
        while !content.is_empty() {
            let (key, value, rest) = split_record(content).ok_or(Problem::PaxRecord)?;
            content = rest;
            match key {
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let expects_offset = sparse_map.len().is_multiple_of(2);
                    if expects_offset != key.ends_with(b"offset") || value.contains(&b',') {
                        return Err(Problem::PaxRecord);
                    }
                    sparse_map.push(value);
                }
                _ => {
                    records.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        if !sparse_map.is_empty() {
            records.insert(b"GNU.sparse.map".to_vec(), sparse_map.join(&b','));
        }
        Ok(Self { records })
    }

    /// The value of `key`; an empty one means that there is none.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    /// The value of `key` as a number.
    ///
    /// # Errors
    /// [`Problem::PaxRecord`] when it is none.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>, Problem> {
        self.get(key).map(|value| decimal(value).ok_or(Problem::PaxRecord)).transpose()
    }

    fn time(&self, key: &str) -> Result<Option<Timestamp>, Problem> {
        self.get(key).map(|value| time(value).ok_or(Problem::PaxRecord)).transpose()
    }

    /// Puts the records in the place of the header's shorter or coarser fields.
    ///
    /// # Errors
    /// [`Problem::PaxRecord`] on a malformed number or time.
    pub(super) fn merge_into(&self, header: &mut Header) -> Result<(), Problem> {
        if let Some(path) = self.get("path") {
            header.name = path.to_vec();
        }
        if let Some(link) = self.get("linkpath") {
            header.link = link.to_vec();
        }
        header.uid = self.number("uid")?.unwrap_or(header.uid);
        header.gid = self.number("gid")?.unwrap_or(header.gid);
        header.size = self.number("size")?.unwrap_or(header.size);
        header.modified = self.time("mtime")?.unwrap_or(header.modified);
        header.accessed = self.time("atime")?.or(header.accessed);
        self.time("ctime")?;
        Ok(())
    }

    /// The extended attributes among the records, by their names on disk; values may be empty.
    pub(super) fn attributes(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let attribute = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            Some((key.strip_prefix(ATTRIBUTE_PREFIX)?.to_vec(), value.clone()))
        };
        self.records.iter().filter_map(attribute).collect()
    }
}

/// The first record's key and value, and what follows it.
fn split_record(content: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = content.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(content.get(..space)?)?).ok()?;
    // `5 a=\n` is the shortest record there can be.
    if length < 5 {
        return None;
    }
    let (record, rest) = content.split_at_checked(length)?;
    let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
    let nul_free = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        _ => key,
    };
    (!key.is_empty() && !nul_free.contains(&0)).then_some((key, value, rest))
}

/// A decimal number with an optional sign.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `seconds[.fraction]`; digits after the ninth of the fraction are dropped.
fn time(text: &[u8]) -> Option<Timestamp> {
    let (seconds, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (text.get(..dot)?, text.get(dot + 1..)?),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let whole = decimal(seconds)?;
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if seconds.starts_with(b"-") && nanoseconds > 0 {
        // −1.25 s is 0.75 s after −2 s.
        let seconds = whole.checked_sub(1)?;
        return Some(Timestamp { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Timestamp { seconds: whole, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_records() {
        let records = PaxRecords::parse(b"10 path=a\n16 SCHILY.x==\n\xff\n9 size=7\n").unwrap();
        assert_eq!(records.get("path"), Some(&b"a"[..]));
        assert_eq!(records.get("SCHILY.x"), Some(&b"=\n\xff"[..]));
        assert_eq!(records.number("size"), Ok(Some(7)));
        assert_eq!(records.get("mtime"), None);
    }

    #[test]
    fn keeps_empty_attributes_but_no_empty_paths() {
        let records = PaxRecords::parse(b"8 path=\n23 SCHILY.xattr.user.=\n").unwrap();
        assert_eq!(records.get("path"), None);
        assert_eq!(records.attributes(), [(b"user.".to_vec(), b"".to_vec())]);
    }

    #[test]
    fn refuses_malformed_records() {
        for content in [
            &b"10 path=a"[..],
            b"10 path=ab",
            b"4 a=",
            b"99 path=a\n",
            b"-1 path=a\n",
            b"path=a\n",
            b"8 patha\n",
            b"5 =a\n",
            b"11 path=a\0\n",
            b"9 k\0y=ab\n",
            b"99999999999999999999 path=a\n",
            b"22 GNU.sparse.offset=1\n22 GNU.sparse.offset=1\n",
        ] {
            let result = PaxRecords::parse(content);
            assert_eq!(result, Err(Problem::PaxRecord), "{content:?}");
        }
    }

    #[test]
    fn reads_times_to_the_nanosecond() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1350244992.023960108", Some((1_350_244_992, 23_960_108))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("1.0000000009999", Some((1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("-1", Some((-1, 0))),
            (".5", None),
            ("1.5e3", None),
            ("1.-5", None),
            ("", None),
            ("9223372036854775808", None),
        ] {
            let expected =
                expected.map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds });
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }
}
