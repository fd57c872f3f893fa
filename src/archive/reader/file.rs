//! An archive in a file that can be read at any place: its headers are read once, its bodies where and
//! when they are wanted.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use super::Packing;
use super::entries::Entries;
use super::error::{Error, Problem};
use super::forms::understand;
use super::images::{ArchiveImage, Files, FoundLayer, NamedLayer, Understood};
use super::packing::MAGIC_BYTES;
use crate::oci::{Digest, Hasher, layout};
use crate::tar::{Archive, EntryName};

/// An archive as it was found.
pub enum Opened {
    /// It can be read at any place.
    File(ArchiveFile),
    /// It can be read once, from front to back.
    Stream(Box<dyn io::BufRead + Send>),
}

/// A plain tar in a file. Clones share it.
#[derive(Debug, Clone)]
pub struct ArchiveFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: String,
    tar: TarFile,
    understood: Understood,
}

#[derive(Debug)]
struct TarFile {
    file: Arc<File>,
    entries: Entries<Place>,
}

/// Where a file of the archive lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
    is_sparse: bool,
}

/// A blob of an archive.
#[derive(Debug, Clone)]
pub enum Found {
    /// A document that is in memory.
    Memory(Bytes),
    /// Bytes of the file.
    Body(Body),
}

/// A piece of the archive's file.
#[derive(Debug, Clone)]
pub struct Body {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Opened {
    /// Opens the archive at `path`, which as [`Opened::new`] may be packed by zstd as a whole.
    ///
    /// # Errors
    /// [`Error`].
    pub fn at(path: &Path, window_bytes: u64) -> Result<Self, Error> {
        let place = path.display().to_string();
        let file = File::open(path).map_err(|source| Problem::Open(source).at(&place))?;
        Self::new(file, &place, window_bytes)
    }

    /// Looks at `file`, called `place` in messages: a plain tar in a regular file can be read at any
    /// place. Packed by zstd as a whole, it may have a window of `window_bytes`, which takes that much memory.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(file: File, place: &str, window_bytes: u64) -> Result<Self, Error> {
        Self::look(file, place, window_bytes).map_err(|problem| problem.at(place))
    }

    fn look(mut file: File, place: &str, window_bytes: u64) -> Result<Self, Problem> {
        let found = file.metadata().map_err(Problem::Read)?;
        // Of a file that was read already, only the rest is meant.
        if found.is_file() && file.stream_position().is_ok_and(|position| position == 0) {
            let mut magic = [0; MAGIC_BYTES];
            let length = file.read_at(&mut magic, 0).map_err(Problem::Read)?;
            if Packing::of(magic.get(..length).unwrap_or_default())? == Packing::Plain {
                return ArchiveFile::index(file, place, found.len()).map(Self::File);
            }
        }
        let (_, tar) = Packing::unpacked(file, window_bytes)?;
        Ok(Self::Stream(tar))
    }
}

impl ArchiveFile {
    fn index(file: File, place: &str, length: u64) -> Result<Self, Problem> {
        let tar = TarFile::index(file, length)?;
        if tar.entries.is_empty() {
            return Err(Problem::Empty);
        }
        let understood = understand(&tar)?;
        Ok(Self(Arc::new(Inner { place: place.to_owned(), tar, understood })))
    }

    /// The images, in the archive's order.
    pub fn images(&self) -> &[ArchiveImage] {
        &self.0.understood.images
    }

    /// What the archive is called.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// The blob or document `digest`, if it is in the archive. Nothing is verified.
    ///
    /// # Errors
    /// [`Error`] when it is a link that leads out of the archive.
    pub fn find(&self, digest: &Digest) -> Result<Option<Found>, Error> {
        let Inner { place, tar, understood } = &*self.0;
        if let Some(document) = understood.documents.get(digest) {
            return Ok(Some(Found::Memory(document.clone())));
        }
        let found = match understood.blobs.get(digest) {
            Some(name) => tar.entries.named(name).map(Some),
            None => tar.entries.file(&layout::blob_file(digest)),
        };
        let body = |found: &Place| tar.body(found, &layout::blob_file(digest)).map(Found::Body);
        let found = found.and_then(|found| found.map(body).transpose());
        found.map_err(|problem| problem.at(place))
    }

    /// The bytes of `body` from `position` on, at most `length` of them; none at its end.
    ///
    /// # Errors
    /// [`Error`], the system's, and when the file has become shorter.
    pub fn read(&self, body: &Body, position: u64, length: usize) -> Result<Bytes, Error> {
        let read = body.read_at(position, length);
        read.map_err(|source| Problem::Read(source).at(&self.0.place))
    }
}

impl Found {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Body(body) => body.size,
        }
    }
}

impl TarFile {
    /// Reads the headers, and passes over the bodies.
    fn index(file: File, length: u64) -> Result<Self, Problem> {
        let mut entries = Entries::default();
        let mut archive = Archive::new(BufReader::new(&file));
        while let Some(entry) = archive.next_entry()? {
            let (offset, size) = (archive.position(), archive.stored_bytes());
            if offset.checked_add(size).is_none_or(|end| end > length) {
                let source = crate::tar::Problem::Truncated;
                return Err(Problem::Tar(crate::tar::Error::Malformed { offset: length, source }));
            }
            let is_sparse = archive.is_sparse();
            entries.add(&entry, |_| Ok(Place { offset, size, is_sparse }))?;
            archive.seek_over_content()?;
        }
        drop(archive);
        Ok(Self { file: Arc::new(file), entries })
    }

    fn body(&self, place: &Place, name: &str) -> Result<Body, Problem> {
        if place.is_sparse {
            return Err(Problem::Sparse(EntryName::new(name.as_bytes())));
        }
        let Place { offset, size, .. } = *place;
        Ok(Body { file: Arc::clone(&self.file), offset, size })
    }

    /// How the file at `body` is packed.
    fn packing(body: &Body) -> Result<Packing, Problem> {
        let magic = body.read_at(0, MAGIC_BYTES).map_err(Problem::Read)?;
        // What is packed in another way fails when it is unpacked, as it does in a registry.
        Ok(Packing::of(&magic).unwrap_or(Packing::Plain))
    }
}

impl Files for TarFile {
    fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Bytes>, Problem> {
        let found = match self.entries.named(name) {
            Ok(place) => place,
            Err(Problem::Missing(_)) => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let body = self.body(found, name)?;
        if body.size > limit_bytes {
            let name = EntryName::new(name.as_bytes());
            return Err(Problem::TooLarge { name, size_bytes: body.size, limit_bytes });
        }
        body.read_all().map(Some).map_err(Problem::Read)
    }

    fn layers(&self, named: &[NamedLayer]) -> Result<Vec<FoundLayer>, Problem> {
        let layers = named.iter().map(|layer| {
            let body = self.body(self.entries.named(&layer.name)?, &layer.name)?;
            Ok((Self::packing(&body)?, body))
        });
        let layers: Vec<(Packing, Body)> = layers.collect::<Result<_, Problem>>()?;
        // An uncompressed layer must have the digest that the configuration says; of a packed one, it
        // says nothing.
        let packed = layers.iter().filter(|(packing, _)| *packing != Packing::Plain);
        let mut digests = digests(packed.map(|(_, body)| body).collect())?.into_iter();
        let found = layers.iter().zip(named).map(|((packing, body), named)| {
            let digest = match packing {
                Packing::Plain => named.diff_id,
                Packing::Gzip | Packing::Zstd => digests.next().unwrap_or(named.diff_id),
            };
            FoundLayer { digest, size: body.size, packing: *packing }
        });
        Ok(found.collect())
    }
}

/// What each of `bodies` hashes to, as many at a time as there are processors.
fn digests(bodies: Vec<&Body>) -> Result<Vec<Digest>, Problem> {
    let at_once = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut digests = Vec::with_capacity(bodies.len());
    for some in bodies.chunks(at_once) {
        let hashed: Vec<io::Result<Digest>> = thread::scope(|scope| {
            let hashing: Vec<_> =
                some.iter().map(|body| scope.spawn(move || body.digest())).collect();
            let stopped = |_| Err(io::Error::other("a hashing thread stopped"));
            hashing.into_iter().map(|thread| thread.join().unwrap_or_else(stopped)).collect()
        });
        for digest in hashed {
            digests.push(digest.map_err(Problem::Read)?);
        }
    }
    Ok(digests)
}

impl Body {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from `position` on, at most `length` of them; none at its end. A file that has become
    /// shorter is an error.
    fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let left = self.size.saturating_sub(position);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        let mut piece = Vec::with_capacity(length);
        // Read into memory that was not filled with zeros before.
        let mut part = Part { body: self, position };
        if part.by_ref().take(length as u64).read_to_end(&mut piece)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(piece.into())
    }

    fn read_all(&self) -> io::Result<Bytes> {
        self.read_at(0, usize::try_from(self.size).unwrap_or(usize::MAX))
    }

    fn digest(&self) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        let part = Part { body: self, position: 0 };
        if hasher.update_from(part.take(self.size))? < self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(hasher.finish())
    }
}

/// The body from a position on, as a reader.
struct Part<'a> {
    body: &'a Body,
    position: u64,
}

impl io::Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.file.read_at(buffer, self.body.offset + self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}
