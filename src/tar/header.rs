//! One 512-byte tar header block: the fields of the v7, ustar, GNU and star formats.
//!
//! Written by hand rather than taken from the `tar` crate, because the daemon's reading, Go's
//! `archive/tar`, is the measure here: which numbers are refused, how a prefix or an access time is
//! found, what a checksum may be. Formats:
//! <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

use super::entry::{DeviceNumber, Entry, EntryKind, Timestamp};
use super::error::Problem;

/// Length of a block, in bytes: headers are one, contents are padded to it.
pub(super) const BLOCK_BYTES: usize = 512;

/// Longest path, in bytes: Linux takes no longer one.
const MAX_PATH_BYTES: usize = 4096;

/// A block as it lies in the archive.
pub(super) type Block = [u8; BLOCK_BYTES];

/// The fields of one header, extension records not yet merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) type_flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) modified: Timestamp,
    pub(super) accessed: Option<Timestamp>,
    /// Major and minor number; 0 unless it is a device.
    pub(super) device: (i64, i64),
    pub(super) is_gnu: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Gnu,
    Star,
}

impl Header {
    /// Reads a block that is not all zeros.
    ///
    /// # Errors
    /// [`Problem::Header`] on a wrong checksum or a malformed number.
    pub(super) fn parse(block: &Block) -> Result<Self, Problem> {
        if !checksum_holds(block) {
            return Err(Problem::Header);
        }
        let format = format_of(block);
        let type_flag = block[156];
        let mut header = Self {
            type_flag,
            name: text(&block[..100]).to_vec(),
            link: text(&block[157..257]).to_vec(),
            mode: number(&block[100..108])?,
            uid: number(&block[108..116])?,
            gid: number(&block[116..124])?,
            size: number(&block[124..136])?,
            modified: Timestamp::from_seconds(number(&block[136..148])?),
            accessed: None,
            device: (0, 0),
            is_gnu: format == Format::Gnu,
        };
        if format != Format::V7 && matches!(type_flag, b'3' | b'4') {
            header.device = (number(&block[329..337])?, number(&block[337..345])?);
        }
        header.read_extension(format, block)?;
        Ok(header)
    }

    /// Bytes 345 to 511, which each format uses in its own way.
    fn read_extension(&mut self, format: Format, block: &Block) -> Result<(), Problem> {
        match format {
            Format::V7 => {}
            Format::Ustar => self.prepend(text(&block[345..500])),
            Format::Star => {
                self.prepend(text(&block[345..476]));
                self.accessed = Some(Timestamp::from_seconds(number(&block[476..488])?));
                number(&block[488..500])?;
            }
            Format::Gnu => match (optional_time(&block[345..357]), optional_time(&block[357..369]))
            {
                (Ok(accessed), Ok(_)) => self.accessed = accessed,
                // Go before 1.8 wrote a ustar prefix into GNU headers; where the times are
                // unreadable, it is one.
                _ => {
                    let prefix = text(&block[345..500]);
                    if prefix.is_ascii() {
                        self.prepend(prefix);
                    }
                }
            },
        }
        Ok(())
    }

    fn prepend(&mut self, prefix: &[u8]) {
        if !prefix.is_empty() {
            self.name = [prefix, b"/", &self.name].concat();
        }
    }

    /// Whether an entry of this type never has content, whatever its size field says.
    pub(super) fn has_no_content(&self) -> bool {
        matches!(self.type_flag, b'1'..=b'6')
    }

    /// What is said of the file, which has these extended `attributes`.
    ///
    /// # Errors
    /// [`Problem`], on what no file of an image can be.
    pub(super) fn into_entry(self, attributes: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Entry, Problem> {
        let kind = self.kind()?;
        if self.name.len() > MAX_PATH_BYTES {
            return Err(Problem::TooLong { what: "path", limit_bytes: MAX_PATH_BYTES });
        }
        Ok(Entry {
            kind,
            size: self.content_bytes(),
            is_old_sparse: self.type_flag == b'S',
            name: self.name,
            mode: permission_bits(self.mode),
            owner: numeric_id(self.uid),
            group: numeric_id(self.gid),
            modified: self.modified,
            accessed: self.accessed,
            attributes,
        })
    }

    fn kind(&self) -> Result<EntryKind, Problem> {
        Ok(match self.type_flag {
            // Before ustar, a trailing slash made a directory.
            0 if self.name.ends_with(b"/") => EntryKind::Directory,
            // Go leaves old GNU sparse files to its callers, and containerd refuses them; their
            // content is as plain as that of any other file.
            0 | b'0' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink(self.link.clone()),
            b'2' => EntryKind::Symlink(self.link.clone()),
            b'3' => EntryKind::CharacterDevice(self.device()?),
            b'4' => EntryKind::BlockDevice(self.device()?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'g' => EntryKind::GlobalHeader,
            unknown => return Err(Problem::UnknownType(unknown)),
        })
    }

    fn device(&self) -> Result<DeviceNumber, Problem> {
        let (major, minor) = self.device;
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major), Ok(minor)) => Ok(DeviceNumber { major, minor }),
            _ => Err(Problem::Header),
        }
    }

    /// What of the size field is content of the entry's own.
    fn content_bytes(&self) -> u64 {
        if matches!(self.type_flag, 0 | b'0' | b'S') {
            u64::try_from(self.size).unwrap_or_default()
        } else {
            0
        }
    }
}

/// The lowest twelve bits; a header's mode may hold the file type as well.
fn permission_bits(mode: i64) -> u32 {
    u32::try_from(mode & 0o7777).unwrap_or_default()
}

/// The low 32 bits, as the system call takes them from the daemon; −1 means "leave it".
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an ID beyond 32 bits is cut off by the daemon too"
)]
fn numeric_id(id: i64) -> Option<u32> {
    Some(id as u32).filter(|id| *id != u32::MAX)
}

fn format_of(block: &Block) -> Format {
    match &block[257..265] {
        [b'u', b's', b't', b'a', b'r', 0, _, _] if &block[508..] == b"tar\0" => Format::Star,
        [b'u', b's', b't', b'a', b'r', 0, _, _] => Format::Ustar,
        b"ustar  \0" => Format::Gnu,
        _ => Format::V7,
    }
}

/// POSIX sums unsigned bytes, Sun's tar summed signed ones; both are found.
fn checksum_holds(block: &Block) -> bool {
    let Ok(stored) = octal(&block[148..156]) else { return false };
    let fields = block[..148].iter().chain(&block[156..]);
    let (unsigned, signed) = fields.fold((0, 0), |(unsigned, signed), &byte| {
        (unsigned + i64::from(byte), signed + i64::from(byte.cast_signed()))
    });
    // The checksum's own field counts as eight spaces.
    let spaces = 8 * i64::from(b' ');
    stored == unsigned + spaces || stored == signed + spaces
}

/// A field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn optional_time(field: &[u8]) -> Result<Option<Timestamp>, Problem> {
    match field.first() {
        None | Some(0) => Ok(None),
        Some(_) => number(field).map(|seconds| Some(Timestamp::from_seconds(seconds))),
    }
}

/// A number in octal digits or, with the first bit set, GNU's base-256 two's complement.
pub(super) fn number(field: &[u8]) -> Result<i64, Problem> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => base_256(*first, rest),
        _ => octal(field),
    }
}

fn base_256(first: u8, rest: &[u8]) -> Result<i64, Problem> {
    // The first byte's highest bit is the marker, its second one the sign.
    let head = i64::from(first & 0x7f) - if first & 0x40 == 0 { 0 } else { 0x80 };
    rest.iter()
        .try_fold(head, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)))
        .ok_or(Problem::Header)
}

fn octal(field: &[u8]) -> Result<i64, Problem> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !is_padding(byte)) else { return Ok(0) };
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    let digits = text(&field[start..end]);
    digits
        .iter()
        .try_fold(0_i64, |value, &digit| match digit {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
            _ => None,
        })
        .ok_or(Problem::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_in_octal_and_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\0 17\0  \0", Some(0o17)),
            (b"7777777777777777777777", None),
            (b"12\x0034567", Some(0o12)),
            (b"0000648\0", None),
            (b"-0000644", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\x85", Some(-123)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xc0\0\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field).ok(), value, "{field:?}");
        }
    }

    fn ustar(name: &str) -> Block {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(7);
        header.set_mode(0o4755);
        header.set_mtime(1_600_000_000);
        header.set_uid(1000);
        header.set_gid(50);
        header.set_cksum();
        *header.as_bytes()
    }

    #[test]
    fn joins_the_ustar_prefix_and_the_name() {
        let name = format!("{}/{}", "directory".repeat(12), "name".repeat(20));
        let header = Header::parse(&ustar(&name)).unwrap();
        assert_eq!(header.name, name.as_bytes());
        assert_eq!((header.mode, header.uid, header.gid, header.size), (0o4755, 1000, 50, 7));
        assert_eq!(header.modified, Timestamp::from_seconds(1_600_000_000));
    }

    #[test]
    fn refuses_a_wrong_checksum() {
        let mut block = ustar("a");
        block[0] ^= 1;
        assert_eq!(Header::parse(&block), Err(Problem::Header));
    }

    #[test]
    fn accepts_the_checksum_of_signed_bytes() {
        let mut block = ustar("a");
        block[0] = 0xe4;
        block[148..156].fill(b' ');
        let sum: i64 = block.iter().map(|byte| i64::from(byte.cast_signed())).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(Header::parse(&block).unwrap().name, [0xe4]);
    }

    #[test]
    fn takes_unreadable_gnu_times_for_a_prefix() {
        let mut header = tar::Header::new_gnu();
        header.set_path("name").unwrap();
        header.set_size(0);
        header.as_mut_bytes()[345..351].copy_from_slice(b"prefix");
        header.set_cksum();
        assert_eq!(Header::parse(header.as_bytes()).unwrap().name, b"prefix/name");
    }
}
