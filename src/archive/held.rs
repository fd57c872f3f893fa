//! Which blobs an archive has, by the names of its entries: what another one may leave out, where this
//! one is loaded already. Their bytes are not looked at.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read as _, Seek as _};

use super::reader::Packing;
use crate::oci::Digest;
use crate::tar::{self, Archive};

/// Bytes at the beginning of a file that tell whether it is a bare tar: its header, one block.
const HEADER_BYTES: usize = 512;

/// Where the blobs of a layout are.
const BLOBS: &[u8] = b"blobs/sha256/";

/// The blobs of the archive in `file`, which may be packed as a whole, by zstd with a window of
/// `window_bytes` at most; `None` where it is no archive.
///
/// # Errors
/// When it can't be read or is torn.
pub fn held_blobs(
    mut file: File,
    window_bytes: u64,
) -> Result<Option<HashSet<Digest>>, tar::Error> {
    let mut header = Vec::new();
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(tar::Error::Read)?;
    file.rewind().map_err(tar::Error::Read)?;
    match Packing::of(&header) {
        Ok(Packing::Plain) if is_tar(&header) => names_by_seeking(file).map(Some),
        Ok(Packing::Plain) | Err(_) => Ok(None),
        Ok(packing) => {
            names(packing.reader(file, window_bytes).map_err(tar::Error::Read)?).map(Some)
        }
    }
}

fn is_tar(header: &[u8]) -> bool {
    header.get(257..262) == Some(b"ustar")
        || matches!(Archive::new(Cursor::new(header)).next_entry(), Ok(Some(_)))
}

fn names(archive: impl BufRead) -> Result<HashSet<Digest>, tar::Error> {
    let mut archive = Archive::new(archive);
    let mut held = HashSet::new();
    while let Some(entry) = archive.next_entry()? {
        held.extend(blob_at(&entry.name));
    }
    Ok(held)
}

/// The same of a bare tar, of which the contents need not be read.
fn names_by_seeking(file: File) -> Result<HashSet<Digest>, tar::Error> {
    let length = file.metadata().map_err(tar::Error::Read)?.len();
    let mut archive = Archive::new(BufReader::new(file));
    let mut held = HashSet::new();
    while let Some(entry) = archive.next_entry()? {
        held.extend(blob_at(&entry.name));
        archive.seek_over_content()?;
        // Beyond the end, nothing but a blob that is not whole can be.
        if archive.position() > length {
            return Err(tar::Error::Read(ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(held)
}

fn blob_at(name: &[u8]) -> Option<Digest> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let hex = str::from_utf8(name.strip_prefix(BLOBS)?).ok()?;
    format!("sha256:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn held(bytes: &[u8]) -> Result<Option<HashSet<Digest>>, tar::Error> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        held_blobs(file, u64::MAX)
    }

    /// An archive with the blob `blob`.
    fn archive(prefix: &str) -> Vec<u8> {
        let mut tar = ::tar::Builder::new(Vec::new());
        for name in ["index.json".to_owned(), format!("blobs/sha256/{}", Digest::of(b"blob").hex())]
        {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(4);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("{prefix}{name}"), &b"blob"[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn blobs_are_known_by_name_however_the_archive_is_packed() {
        let expected = HashSet::from([Digest::of(b"blob")]);
        let bare = archive("");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bare).unwrap();
        let zstd = zstd::encode_all(&bare[..], 1).unwrap();
        for bytes in [bare, archive("./"), gzip.finish().unwrap(), zstd] {
            assert_eq!(held(&bytes).unwrap(), Some(expected.clone()));
        }
    }

    #[test]
    fn what_is_no_archive_is_told_apart_from_a_torn_one() {
        for text in ["", "busybox:1\n", "[]"] {
            assert_eq!(held(text.as_bytes()).unwrap(), None, "{text}");
        }
        for length in [1200, 512 * 3 + 2] {
            assert!(held(&archive("")[..length]).is_err(), "{length}");
        }
    }
}
