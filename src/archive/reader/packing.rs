//! How an archive as a whole is packed, by its first bytes: its name may say anything.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::error::{DecoderError, Problem};

/// Bytes that tell how an archive is packed.
pub(super) const MAGIC_BYTES: usize = 6;

/// Largest window of a zstd archive, in bytes (128 MiB): what `zstd --long` takes, and what `zstd -d` accepts
/// unasked. k3s and RKE2 publish their images with 32 MiB. There is one such window a run, where layers
/// have theirs several at a time.
pub const MAX_ARCHIVE_WINDOW: u64 = 128 << 20;

/// Bytes that are inflated at a time (256 KiB).
const BUFFER_BYTES: usize = 256 << 10;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// A plain tar.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Packing {
    /// How what begins with `magic` is packed.
    ///
    /// # Errors
    /// [`Problem::OtherPacking`].
    pub(in crate::archive) fn of(magic: &[u8]) -> Result<Self, Problem> {
        match *magic {
            [0x1f, 0x8b, 0x08, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(Problem::OtherPacking("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(Problem::OtherPacking("bzip2")),
            [0x04, 0x22, 0x4d, 0x18, ..] => Err(Problem::OtherPacking("lz4")),
            _ => Ok(Self::Plain),
        }
    }

    /// The tar in `source`, however it is packed; by zstd, with a window of `window_bytes` at most.
    pub(super) fn unpacked(
        mut source: impl Read + Send + 'static,
        window_bytes: u64,
    ) -> Result<(Self, Box<dyn BufRead + Send>), Problem> {
        let mut magic = Vec::new();
        source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(Problem::Read)?;
        let packing = Self::of(&magic)?;
        let source = io::Cursor::new(magic).chain(source);
        let tar = packing.reader(source, window_bytes).map_err(Problem::Read)?;
        Ok((packing, tar))
    }

    /// The tar in `source`, which is packed in this way; by zstd, with a window of `window_bytes` at most,
    /// and never more than [`MAX_ARCHIVE_WINDOW`].
    ///
    /// # Errors
    /// When the decoder can't be set up.
    pub(in crate::archive) fn reader(
        self,
        source: impl Read + Send + 'static,
        window_bytes: u64,
    ) -> io::Result<Box<dyn BufRead + Send>> {
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        Ok(match self {
            Self::Plain => Box::new(source),
            Self::Gzip => buffered(MultiGzDecoder::new(source)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(window_bytes.clamp(1, MAX_ARCHIVE_WINDOW).ilog2())?;
                buffered(decoder)
            }
        })
    }
}

fn buffered(decoder: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, Decoding(decoder)))
}

/// A decoder whose complaints are marked.
struct Decoding<R>(R);

impl<R: Read> Read for Decoding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => DecoderError::marking(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(bytes: Vec<u8>) -> (Packing, io::Result<Vec<u8>>) {
        let (packing, mut tar) =
            Packing::unpacked(io::Cursor::new(bytes), MAX_ARCHIVE_WINDOW).unwrap();
        let mut read = Vec::new();
        let outcome = tar.read_to_end(&mut read);
        (packing, outcome.map(|_| read))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_content_says_how_it_is_packed() {
        let zstd = zstd::encode_all(&b"a tar"[..], 1).unwrap();
        for (bytes, packing) in [
            (b"a tar".to_vec(), Packing::Plain),
            (gzip(b"a tar"), Packing::Gzip),
            ([gzip(b"a "), gzip(b"tar")].concat(), Packing::Gzip),
            (zstd, Packing::Zstd),
        ] {
            let (found, read) = read(bytes);
            assert_eq!((found, read.unwrap()), (packing, b"a tar".to_vec()));
        }
        assert_eq!(read(Vec::new()).1.unwrap(), b"");
    }

    #[test]
    fn what_is_cut_short_is_the_archives_fault() {
        let mut cut = gzip(&[7; 100_000]);
        cut.truncate(cut.len() - 5);
        let error = read(cut).1.unwrap_err();
        assert!(DecoderError::marks(&error), "{error}");
    }

    #[test]
    fn other_packings_are_named() {
        for (magic, program) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh91AY", "bzip2")] {
            assert!(
                matches!(Packing::of(&magic[..6]), Err(Problem::OtherPacking(p)) if p == program)
            );
        }
    }
}
