//! What is around an archive as a whole. The layers in it are packed already, most of them: it is the
//! others, and tools that want such a file, for which this is.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::write::GzEncoder;

use super::output::Output;

/// Bytes of headers and small blobs that are written at a time (64 KiB).
const BUFFER_BYTES: usize = 64 << 10;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// How an archive is packed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wrapping {
    /// A bare tar.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Wrapping {
    /// What a file of this name is to be: k3s goes by the name.
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz" | "tgz") => Self::Gzip,
            Some("zst" | "tzst") => Self::Zstd,
            _ => Self::None,
        }
    }

    pub(super) fn around(self, output: Output) -> io::Result<Wrapped> {
        let output = BufWriter::with_capacity(BUFFER_BYTES, output);
        Ok(match self {
            Self::None => Wrapped::Bare(output),
            // Without a name and a time in its header, which is flate2's default.
            Self::Gzip => Wrapped::Gzip(GzEncoder::new(output, flate2::Compression::fast())),
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Wrapped::Zstd(encoder)
            }
        })
    }
}

/// An output with what is around the archive.
pub(super) enum Wrapped {
    Bare(BufWriter<Output>),
    Gzip(GzEncoder<BufWriter<Output>>),
    Zstd(zstd::Encoder<'static, BufWriter<Output>>),
}

impl Wrapped {
    /// Takes back what was written after the first `position` bytes.
    pub(super) fn cut(&mut self, position: u64) -> io::Result<()> {
        match self {
            Self::Bare(output) => {
                output.flush()?;
                output.get_mut().cut(position)
            }
            Self::Gzip(_) | Self::Zstd(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes the file `length` bytes long, as [`Output::set_aside`]; `None` where what is written is
    /// packed on its way.
    pub(super) fn set_aside(&mut self, length: u64) -> io::Result<Option<Arc<File>>> {
        match self {
            Self::Bare(output) => {
                output.flush()?;
                output.get_ref().set_aside(length)
            }
            Self::Gzip(_) | Self::Zstd(_) => Ok(None),
        }
    }

    /// Writes from `position` on, which lies ahead.
    pub(super) fn go_to(&mut self, position: u64) -> io::Result<()> {
        match self {
            Self::Bare(output) => {
                output.flush()?;
                output.get_mut().go_to(position)
            }
            Self::Gzip(_) | Self::Zstd(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes what is still held back, and what ends the packing.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Bare(output) => output,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .flush()
    }

    /// Writes nothing more: what ends the packing would make a part look whole.
    pub(super) fn abandon(mut self) {
        match &mut self {
            Self::Bare(output) => output.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut().get_mut(),
            Self::Zstd(encoder) => encoder.get_mut().get_mut(),
        }
        .close();
    }
}

impl Write for Wrapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Bare(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Bare(output) => output.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_packing() {
        for (name, expected) in [
            ("images.tar", Wrapping::None),
            ("a.tar.gz", Wrapping::Gzip),
            ("a.tgz", Wrapping::Gzip),
            ("a.tar.zst", Wrapping::Zstd),
            ("a.tzst", Wrapping::Zstd),
            ("-", Wrapping::None),
            ("gz", Wrapping::None),
        ] {
            assert_eq!(Wrapping::of_name(Path::new(name)), expected, "{name}");
        }
    }
}
