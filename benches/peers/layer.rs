//! Layers on disk: a tree, packed as builders pack it, with the digests that an image needs.
//! Content goes through memory in small pieces, since layers are larger than a laptop likes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use pullctl::oci::{Digest, Hasher};

use crate::content::Tree;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Packing {
    /// At its usual level, 6, as docker and buildkit do.
    Gzip,
    /// At level 3, as buildkit does.
    Zstd,
}

/// A packed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) bytes: u64,
    pub(crate) file: PathBuf,
}

impl Layer {
    /// Packs `tree` into `file`.
    pub(crate) fn pack(tree: Tree, packing: Packing, file: PathBuf) -> io::Result<Self> {
        let packed = Hashing::new(BufWriter::with_capacity(1 << 20, create(&file)?));
        let (packed, diff_id) = match packing {
            Packing::Gzip => {
                let mut plain = Hashing::new(GzEncoder::new(packed, Compression::new(6)));
                tree.write(&mut plain)?;
                let (gzip, diff_id, _) = plain.finish();
                (gzip.finish()?, diff_id)
            }
            Packing::Zstd => {
                let mut plain = Hashing::new(zstd::Encoder::new(packed, 3)?);
                tree.write(&mut plain)?;
                let (zstd, diff_id, _) = plain.finish();
                (zstd.finish()?, diff_id)
            }
        };
        let (mut output, digest, bytes) = packed.finish();
        output.flush()?;
        Ok(Self { digest, diff_id, bytes, file })
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::create(path)
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(), bytes: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.bytes)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        let accepted = buffer.get(..written).unwrap_or_default();
        self.hasher.update(accepted);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
