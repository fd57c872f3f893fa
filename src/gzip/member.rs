//! A member's header (RFC 1952 §2.3).

use std::io;

use flate2::Crc;

use super::damage::Damage;

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Longest name or comment, in bytes; as in flate2.
const MAX_TEXT: usize = 65_535;

/// Reads a header byte by byte.
///
/// # Errors
/// [`Damage::Header`] or [`Damage::Checksum`], and what `next` fails with.
pub(super) fn skip_header(next: &mut dyn FnMut() -> io::Result<u8>) -> io::Result<()> {
    let mut crc = Crc::new();
    let mut take = || -> io::Result<u8> {
        let byte = next()?;
        crc.update(&[byte]);
        Ok(byte)
    };
    let mut fixed = [0; 10];
    for byte in &mut fixed {
        *byte = take()?;
    }
    let [0x1f, 0x8b, 8, flags, ..] = fixed else { return Err(Damage::Header.into()) };
    if flags & RESERVED != 0 {
        return Err(Damage::Header.into());
    }
    if flags & HAS_EXTRA != 0 {
        let length = u16::from_le_bytes([take()?, take()?]);
        for _ in 0..length {
            take()?;
        }
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        let mut length = 0;
        while flags & text != 0 && take()? != 0 {
            length += 1;
            if length > MAX_TEXT {
                return Err(Damage::Header.into());
            }
        }
    }
    let sum = crc.sum() as u16;
    if flags & HAS_CHECKSUM != 0 && u16::from_le_bytes([next()?, next()?]) != sum {
        return Err(Damage::Checksum.into());
    }
    Ok(())
}
