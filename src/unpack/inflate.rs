//! Decompression of a layer: gzip, zstd or none, as one stream of uncompressed bytes.
//!
//! Owns what a compressed layer may look like (several members, nothing after them) and telling a
//! damaged stream from a source that failed. Knows nothing of tar.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use zstd::stream::zio;

use super::spare::{Gzip, Packed, Zstd};
use crate::gzip::{self, Threads};
use crate::oci::Compression;

/// Bytes that tell gzip, zstd and anything else apart.
const MAGIC_BYTES: usize = 4;

/// How the stream is really packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not at all.
    Plain,
    /// RFC 1952; one or more members.
    Gzip,
    /// RFC 8878; one or more frames.
    Zstd,
}

/// A layer being decompressed.
pub struct Decoder(Inner);

enum Inner {
    /// Bytes pass as they are.
    Plain(Packed),
    /// Members until the end of the source; anything else after a member is an error, as in Go.
    Gzip(Gzip),
    /// The same by several threads.
    Threads(gzip::Decoder<Packed>),
    /// Frames until the end of the source.
    Zstd(zio::Reader<Packed, Zstd>),
}

impl Decoder {
    /// Looks at the first bytes of `source` and picks the decoder.
    ///
    /// An uncompressed layer is taken at its word. For the others the content decides, since
    /// containerd does so too and mislabelled layers are in the wild.
    ///
    /// # Errors
    /// What the source fails with.
    pub fn new(source: impl BufRead + Send + 'static, declared: Compression) -> io::Result<Self> {
        Self::with_threads(source, declared, &Threads::new(1))
    }

    /// The same, with so many `threads` for gzip.
    ///
    /// # Errors
    /// What the source fails with.
    pub fn with_threads(
        source: impl BufRead + Send + 'static,
        declared: Compression,
        threads: &Threads,
    ) -> io::Result<Self> {
        let mut source = Source(source);
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        if declared != Compression::None {
            source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
        }
        let format = Format::of(&magic);
        let rewound: Packed = Box::new(Cursor::new(magic).chain(source));
        Ok(Self(match format {
            Format::Plain => Inner::Plain(rewound),
            Format::Gzip if threads.count() > 1 => {
                Inner::Threads(gzip::Decoder::new(rewound, threads))
            }
            Format::Gzip => Inner::Gzip(Gzip::take(rewound)),
            Format::Zstd => Inner::Zstd(zio::Reader::new(rewound, Zstd::take()?)),
        }))
    }

    /// How the stream is packed.
    pub fn format(&self) -> Format {
        match self.0 {
            Inner::Plain(_) => Format::Plain,
            Inner::Gzip(_) | Inner::Threads(_) => Format::Gzip,
            Inner::Zstd(_) => Format::Zstd,
        }
    }

    /// The bytes behind the decoder, without a copy where they need no decompression.
    pub(crate) fn into_buffered(self) -> Box<dyn BufRead + Send> {
        match self.0 {
            Inner::Plain(plain) => plain,
            compressed => Box::new(BufReader::new(Self(compressed))),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(plain) => plain.read(buffer),
            Inner::Gzip(gzip) => gzip.read(buffer),
            Inner::Threads(gzip) => gzip.read(buffer),
            Inner::Zstd(zstd) => zstd.read(buffer),
        }
    }
}

impl Format {
    fn of(magic: &[u8]) -> Self {
        match *magic {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, which zstd streams may begin with.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Marks the errors of the source, so that they are not taken for those of a decoder.
struct Source<R>(R);

/// A failure of the source itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct SourceError(io::Error);

/// Whether `error` came from the source rather than from a decoder.
pub(crate) fn is_source_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<SourceError>())
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(mark)
    }
}

impl<R: BufRead> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf().map_err(mark)
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

fn mark(error: io::Error) -> io::Error {
    // Readers retry an interrupted call by its kind.
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::other(SourceError(error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::unpack::spare::MAX_WINDOW_LOG;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 1).unwrap()
    }

    /// By one thread, and by several, which have to agree.
    fn decode(packed: &[u8], declared: Compression) -> io::Result<Vec<u8>> {
        let alone = decode_with(packed, declared, 1);
        match (&alone, decode_with(packed, declared, 3)) {
            (Ok(alone), Ok(together)) => assert_eq!(*alone, together),
            (Err(alone), Err(together)) => assert_eq!(alone.kind(), together.kind()),
            (alone, together) => panic!("{alone:?} and {together:?}"),
        }
        alone
    }

    fn decode_with(packed: &[u8], declared: Compression, threads: usize) -> io::Result<Vec<u8>> {
        // A tiny buffer puts every boundary within a header, a trailer and the content.
        let source = BufReader::with_capacity(3, Cursor::new(packed.to_vec()));
        let mut content = Vec::new();
        let mut decoder = Decoder::with_threads(source, declared, &Threads::new(threads))?;
        decoder.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn joins_members_and_frames() {
        let members = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(decode(&members, Compression::Gzip).unwrap(), b"one two");
        let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let frames = [skippable.clone(), zstd(b"one "), skippable, zstd(b"two")].concat();
        assert_eq!(decode(&frames, Compression::Zstd).unwrap(), b"one two");
    }

    #[test]
    fn lets_the_content_decide_unless_it_is_declared_plain() {
        assert_eq!(decode(&zstd(b"tar"), Compression::Gzip).unwrap(), b"tar");
        assert_eq!(decode(&gzip(b"tar"), Compression::Zstd).unwrap(), b"tar");
        assert_eq!(decode(b"tar", Compression::Gzip).unwrap(), b"tar");
        assert_eq!(decode(&gzip(b"tar"), Compression::None).unwrap(), gzip(b"tar"));
        assert_eq!(decode(b"", Compression::Gzip).unwrap(), b"");
    }

    #[test]
    fn refuses_what_follows_or_is_missing() {
        for packed in [
            [gzip(b"tar"), b"x".to_vec()].concat(),
            [gzip(b"tar"), vec![0; 512]].concat(),
            [zstd(b"tar"), b"garbage".to_vec()].concat(),
            gzip(b"tar")[..15].to_vec(),
            gzip(b"tar")[..gzip(b"tar").len() - 1].to_vec(),
            zstd(b"tar")[..zstd(b"tar").len() - 1].to_vec(),
        ] {
            let error = decode(&packed, Compression::Gzip).unwrap_err();
            assert!(!is_source_error(&error), "{packed:x?}");
        }
    }

    #[test]
    fn refuses_a_wrong_checksum() {
        let mut packed = gzip(b"content");
        let crc = packed.len() - 8;
        packed[crc] ^= 1;
        assert!(decode(&packed, Compression::Gzip).is_err());
    }

    #[test]
    fn refuses_a_window_that_takes_too_much_memory() {
        let packed = |window_log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.write_all(b"tar").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(decode(&packed(MAX_WINDOW_LOG), Compression::Zstd).unwrap(), b"tar");
        let error = decode(&packed(MAX_WINDOW_LOG + 1), Compression::Zstd).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }

    #[test]
    fn what_broke_off_leaves_nothing_to_the_next_stream() {
        let long: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        for pack in [gzip, zstd] {
            let packed = pack(&long);
            let mut decoder = Decoder::new(Cursor::new(packed.clone()), Compression::Gzip).unwrap();
            decoder.read_exact(&mut [0; 1000]).unwrap();
            drop(decoder);
            assert!(decode(&packed[..packed.len() / 2], Compression::Gzip).is_err());
            assert_eq!(decode(&pack(b"tar"), Compression::Gzip).unwrap(), b"tar");
            assert!(decode(&packed, Compression::Gzip).unwrap() == long);
        }
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut damaged = gzip(b"one");
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let members = [damaged, gzip(b"two")].concat();
        let mut decoder = Decoder::new(Cursor::new(members), Compression::Gzip).unwrap();
        assert!(decoder.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(decoder.read(&mut [0; 10]).unwrap(), 0);
    }

    #[test]
    fn an_interrupted_source_is_asked_again() {
        /// Interrupted before each byte.
        struct Interrupted(Cursor<Vec<u8>>, bool);
        impl Read for Interrupted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let most = buffer.len().min(1);
                self.0.read(&mut buffer[..most])
            }
        }
        for (pack, threads) in [(gzip as fn(&[u8]) -> Vec<u8>, 1), (gzip, 3), (zstd, 1)] {
            let packed = [pack(b"one "), pack(b"two")].concat();
            let source = BufReader::new(Interrupted(Cursor::new(packed), false));
            let threads = Threads::new(threads);
            let mut decoder = Decoder::with_threads(source, Compression::Gzip, &threads).unwrap();
            let mut content = Vec::new();
            decoder.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"one two");
        }
    }

    #[test]
    fn tells_a_failing_source_from_a_damaged_stream() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
        }
        for threads in [1, 3] {
            let begin = Cursor::new(gzip(b"content")[..12].to_vec());
            let source = BufReader::new(begin.chain(Failing));
            let threads = Threads::new(threads);
            let mut decoder = Decoder::with_threads(source, Compression::Gzip, &threads).unwrap();
            assert!(is_source_error(&decoder.read_to_end(&mut Vec::new()).unwrap_err()));
        }
    }
}
