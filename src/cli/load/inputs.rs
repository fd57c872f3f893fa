//! What `-i` stands for: an archive that can be read at any place, one that comes by once, or the
//! directory of an OCI layout.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{ArchiveFile, ArchiveImage, Opened};
use crate::cli::Error;
use crate::layout::Layout;
use crate::oci::Descriptor;
use crate::progress;
use crate::transfer::{self, ArchiveSource, LayoutSource, Provenance, Source};

/// What `-` is called in messages.
const STANDARD_INPUT: &str = "standard input";

/// Images that are all there.
pub(super) enum Store {
    Archive(ArchiveFile),
    Layout(Layout),
}

/// Images that come by.
pub(super) struct Stream {
    pub(super) tar: Box<dyn BufRead + Send>,
    /// What it is called.
    pub(super) place: String,
}

/// All that was named.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) stores: Vec<Store>,
    pub(super) streams: Vec<Stream>,
}

impl Inputs {
    /// Opens what `paths` name; nothing named is standard input. What is packed by zstd as a whole may have a
    /// window of `window_bytes`.
    ///
    /// # Errors
    /// The first that can't be opened or is no archive.
    pub(super) fn open(paths: &[PathBuf], window_bytes: u64) -> Result<Self, Error> {
        let standard_input = [PathBuf::from("-")];
        let paths = if paths.is_empty() { &standard_input } else { paths };
        if paths.iter().filter(|path| is_standard_input(path)).count() > 1 {
            return Err(Error::StandardInputTwice);
        }
        let mut inputs = Self::default();
        for path in paths {
            inputs.add(path, window_bytes)?;
        }
        Ok(inputs)
    }

    fn add(&mut self, path: &Path, window_bytes: u64) -> Result<(), Error> {
        if !is_standard_input(path) && path.is_dir() {
            let layout = Layout::open(path).map_err(transfer::Error::from)?;
            self.stores.push(Store::Layout(layout));
            return Ok(());
        }
        let (opened, place) = match is_standard_input(path) {
            true => (standard_input(window_bytes)?, STANDARD_INPUT.to_owned()),
            false => (Opened::at(path, window_bytes), path.display().to_string()),
        };
        match opened.map_err(transfer::Error::from)? {
            Opened::File(archive) => self.stores.push(Store::Archive(archive)),
            Opened::Stream(tar) => self.streams.push(Stream { tar, place }),
        }
        Ok(())
    }

    /// How many archives and directories there are.
    pub(super) fn count(&self) -> usize {
        self.stores.len() + self.streams.len()
    }
}

impl Store {
    /// Its images, in its order.
    ///
    /// # Errors
    /// When a layout's index can't be read.
    pub(super) async fn images(&self) -> Result<Vec<ArchiveImage>, transfer::Error> {
        match self {
            Self::Archive(archive) => Ok(archive.images().to_vec()),
            Self::Layout(layout) => {
                let entries = layout.entries().await?;
                Ok(ArchiveImage::listed(entries.into_iter().map(|entry| entry.target)))
            }
        }
    }

    /// The image that `target`, one of its own, stands for.
    pub(super) fn source(
        &self,
        target: Descriptor,
        provenance: Provenance,
        progress: Arc<dyn progress::Sink>,
    ) -> Arc<dyn Source> {
        match self {
            Self::Archive(archive) => {
                let source = ArchiveSource::new(archive.clone(), target, progress);
                Arc::new(source.from(provenance))
            }
            Self::Layout(layout) => {
                let source = LayoutSource::new(layout.clone(), target, progress);
                Arc::new(source.from(provenance))
            }
        }
    }

    /// What it is called.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Archive(archive) => archive.place().to_owned(),
            Self::Layout(layout) => layout.root().display().to_string(),
        }
    }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn standard_input(window_bytes: u64) -> Result<Result<Opened, crate::archive::ReadError>, Error> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Error::NoArchive);
    }
    // A file that is standard input can be read at any place, as by its name.
    let file = stdin.as_fd().try_clone_to_owned().map_err(Error::Runtime)?;
    Ok(Opened::new(File::from(file), STANDARD_INPUT, window_bytes))
}
