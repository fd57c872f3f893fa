//! Why an archive can't be loaded.

use std::io;

use crate::failure::{Diagnose, Failure};
use crate::oci::{Digest, ManifestError};
use crate::reference::ReferenceError;
use crate::tar::{self, EntryName};

/// What zstd says of a window that is too wide.
const TOO_WIDE: &str = "requires too much memory";

/// Why an archive can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("cannot load {place}")]
pub struct Error {
    place: String,
    #[source]
    problem: Problem,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(in crate::archive) enum Problem {
    #[error("cannot open it")]
    Open(#[source] io::Error),
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it can't be decompressed")]
    Inflate(#[source] io::Error),
    #[error("it is packed by {0}, which pullctl does not read")]
    OtherPacking(&'static str),
    #[error(transparent)]
    Tar(tar::Error),
    #[error("it is no tar archive, nor one packed by gzip or zstd")]
    NoTar,
    #[error("it is empty")]
    Empty,
    #[error("it is an archive of something else: neither index.json nor manifest.json is in it")]
    NoIndex,
    #[error("docker before 1.10 made it: it has `repositories` and no manifest.json")]
    TooOld,
    #[error("no image is listed in it")]
    NoImages,
    #[error("the name of entry {0} leads out of the archive")]
    BadName(EntryName),
    #[error("two entries are called {0}")]
    Twice(EntryName),
    #[error("the link {0} leads out of the archive")]
    LeadsOut(EntryName),
    #[error("the link {0} leads to itself")]
    Loop(EntryName),
    #[error("{0} is stored as a sparse file")]
    Sparse(EntryName),
    #[error("it has more than {limit} entries")]
    TooManyEntries { limit: usize },
    #[error("{name} has {size_bytes} bytes, more than the {limit_bytes} that are accepted")]
    TooLarge { name: EntryName, size_bytes: u64, limit_bytes: u64 },
    #[error("{0} is not in it")]
    Missing(EntryName),
    #[error("cannot use {name}")]
    Document {
        name: EntryName,
        #[source]
        source: ManifestError,
    },
    #[error("cannot use {name}")]
    Json {
        name: EntryName,
        #[source]
        source: serde_json::Error,
    },
    #[error("{name} is said to be {expected} and is {actual}")]
    OtherContent { name: EntryName, expected: Digest, actual: Digest },
    #[error("the name {name} says another digest than that of the image, {actual}")]
    OtherDigest { name: String, actual: Digest },
    #[error("two images are called {0}")]
    TwoImages(String),
    #[error("an image in it has a name that is none")]
    Reference(#[source] ReferenceError),
    #[error("an image in it is called {0}, which is a tag without a repository")]
    BareTag(String),
    #[error("one image is named by --as, but there are {0}")]
    SeveralImages(usize),
}

/// Marks what a decoder had against its input, on its way through readers.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct DecoderError(io::Error);

impl DecoderError {
    /// `error`, marked.
    pub(super) fn marking(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), Self(error))
    }

    /// Whether `error` is marked.
    pub(super) fn marks(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl Problem {
    /// The same about the archive at `place`.
    pub(super) fn at(self, place: &str) -> Error {
        Error { place: place.to_owned(), problem: self }
    }
}

impl From<tar::Error> for Problem {
    fn from(error: tar::Error) -> Self {
        match error {
            tar::Error::Malformed { source: tar::Problem::NotAnArchive, .. } => Self::NoTar,
            tar::Error::Read(source) if DecoderError::marks(&source) => Self::Inflate(source),
            tar::Error::Read(source) => Self::Read(source),
            error @ tar::Error::Malformed { .. } => Self::Tar(error),
        }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match &self.problem {
            Problem::Read(_) => Failure::Other,
            Problem::Open(_)
            | Problem::OtherPacking(_)
            | Problem::NoTar
            | Problem::Empty
            | Problem::NoIndex
            | Problem::TooOld
            | Problem::BareTag(_)
            | Problem::SeveralImages(_) => Failure::Usage,
            Problem::NoImages | Problem::Missing(_) => Failure::NotFound,
            Problem::Inflate(_)
            | Problem::Tar(_)
            | Problem::BadName(_)
            | Problem::Twice(_)
            | Problem::LeadsOut(_)
            | Problem::Loop(_)
            | Problem::Sparse(_)
            | Problem::TooManyEntries { .. }
            | Problem::TooLarge { .. }
            | Problem::Document { .. }
            | Problem::Json { .. }
            | Problem::OtherContent { .. }
            | Problem::OtherDigest { .. }
            | Problem::TwoImages(_)
            | Problem::Reference(_) => Failure::Verification,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match &self.problem {
            Problem::Read(_) => return None,
            Problem::Reference(_) | Problem::OtherDigest { .. } | Problem::TwoImages(_) => {
                "give the image a name with --as NAME; --list shows what is in the archive"
            }
            Problem::Open(_) => {
                "name a file, the directory of an OCI layout, or - for standard input"
            }
            Problem::OtherPacking(program) => {
                return Some(format!(
                    "unpack it on the way: {program} -dc FILE | pullctl load -i -"
                ));
            }
            Problem::NoTar | Problem::Empty | Problem::NoIndex => {
                "archives of images are made by pullctl save, ctr images export, docker save, \
                 podman save or skopeo copy"
            }
            Problem::TooOld => "load it with docker and save it again",
            Problem::NoImages => "save the images again, by their names",
            Problem::BareTag(tag) => {
                return Some(format!(
                    "say whose tag it is: --base-name REPOSITORY, or --as REPOSITORY:{tag}"
                ));
            }
            Problem::SeveralImages(_) => "load each from an archive of its own, or leave out --as",
            Problem::Sparse(_) => "make the archive again without tar's --sparse",
            Problem::Missing(_) => "save the image again, for all the platforms that are wanted",
            Problem::Inflate(source) if source.to_string().contains(TOO_WIDE) => {
                "its window (zstd --long) takes more memory than there is for it: unpack it on the way: \
                 zstd -dc --long=31 FILE | pullctl load -i -, or, where the window is of 128 MiB at most \
                 (zstd --long), allow --memory 256MiB"
            }
            Problem::Inflate(_) | Problem::Tar(_) => {
                "it was damaged or cut short on its way: copy it again, and compare the checksums"
            }
            _ => "make the archive again from a source that you trust",
        };
        Some(hint.to_owned())
    }
}
