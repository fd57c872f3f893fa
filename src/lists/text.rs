//! The bytes of a list as text: of which encoding they are, or that they are none.

use std::char::{REPLACEMENT_CHARACTER, decode_utf16};

/// How archives and programs begin, and what they are.
const KNOWN_BINARIES: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x7fELF", "a program"),
];

/// Where a tar file says that it is one.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// The text, without a byte order mark: UTF-8, or UTF-16 as PowerShell's `>` writes it.
///
/// # Errors
/// What it is instead of text.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, &'static str> {
    for (magic, what) in KNOWN_BINARIES {
        if bytes.starts_with(magic) {
            return Err(what);
        }
    }
    if bytes.get(TAR_MAGIC.0..).is_some_and(|rest| rest.starts_with(TAR_MAGIC.1)) {
        return Err("a tar file");
    }
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => from_utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => from_utf16(rest, u16::from_be_bytes)?,
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => {
            from_utf16(&bytes, u16::from_le_bytes)?
        }
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => {
            from_utf16(&bytes, u16::from_be_bytes)?
        }
        _ => String::from_utf8(bytes).map_err(|_| "neither UTF-8 nor UTF-16")?,
    };
    if text.contains('\0') {
        return Err("a binary file");
    }
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

fn from_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, &'static str> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text: String = decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .map(|character| character.unwrap_or(REPLACEMENT_CHARACTER))
        .collect();
    match rest.is_empty() && !text.contains(REPLACEMENT_CHARACTER) {
        true => Ok(text),
        false => Err("neither UTF-8 nor UTF-16"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn text_is_read_in_the_encodings_that_editors_write() {
        let text = "quay.io/a:1 # ä\r\n";
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
            utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ] {
            assert_eq!(decode(bytes).as_deref(), Ok(text));
        }
        assert_eq!(decode(Vec::new()).as_deref(), Ok(""));
    }

    #[test]
    fn what_is_no_text_is_told_by_what_it_is() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, what) in [
            (b"\x1f\x8b\x08\0".to_vec(), "a gzip file"),
            (b"\x7fELF\x02".to_vec(), "a program"),
            (tar, "a tar file"),
            (b"a\xffb".to_vec(), "neither UTF-8 nor UTF-16"),
            (b"\xff\xfea".to_vec(), "neither UTF-8 nor UTF-16"),
            (b"\xff\xfe\x00\xd8a\0".to_vec(), "neither UTF-8 nor UTF-16"),
            (b"abc\0def".to_vec(), "a binary file"),
        ] {
            assert_eq!(decode(bytes), Err(what));
        }
    }
}
