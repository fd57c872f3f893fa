//! A layer that is inflated already, and writing its files as plainly as can be.

use std::fs;
use std::io::{self, Cursor, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use pullctl::oci::Compression;
use pullctl::unpack::inflate::{Decoder, Format};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, futimens, utimensat};
use tar::EntryType;

/// A layer that was inflated and read before.
pub(crate) struct Layer {
    /// Where its blob is.
    pub(crate) packed: PathBuf,
    /// The fastest program that inflates it.
    pub(crate) inflater: &'static str,
    /// What it inflates to.
    pub(crate) tar: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    path: PathBuf,
    content: Content,
    times: Timestamps,
}

enum Content {
    Directory,
    Symlink(PathBuf),
    Hardlink(PathBuf),
    File(Range<usize>),
}

impl Layer {
    /// A layer whose `blob` is to be found in `packed`.
    pub(crate) fn inflated(packed: PathBuf, blob: Vec<u8>) -> io::Result<Self> {
        let mut decoder = Decoder::new(Cursor::new(blob), Compression::Gzip)?;
        let inflater = if decoder.format() == Format::Zstd { "zstd" } else { "igzip" };
        let mut tar = Vec::new();
        decoder.read_to_end(&mut tar)?;
        let mut entries = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries()? {
            let entry = entry?;
            let target = || entry.link_name().map(|name| name.unwrap_or_default().into_owned());
            let content = match entry.header().entry_type() {
                EntryType::Directory => Content::Directory,
                EntryType::Symlink => Content::Symlink(target()?),
                EntryType::Link => Content::Hardlink(target()?),
                _ => {
                    let start = entry.raw_file_position() as usize;
                    Content::File(start..start + entry.size() as usize)
                }
            };
            let time = Timespec { tv_sec: entry.header().mtime()? as i64, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            entries.push(Entry { path: entry.path()?.into_owned(), content, times });
        }
        Ok(Self { packed, inflater, tar, entries })
    }

    /// Writes its files into `root`, which is made.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        fs::create_dir(root)?;
        for Entry { path, content, times } in &self.entries {
            let path = root.join(path);
            let make = || match content {
                Content::Directory => fs::create_dir(&path),
                Content::Symlink(target) => {
                    std::os::unix::fs::symlink(target, &path)?;
                    Ok(utimensat(CWD, &path, times, AtFlags::SYMLINK_NOFOLLOW)?)
                }
                Content::Hardlink(target) => fs::hard_link(root.join(target), &path),
                Content::File(range) => {
                    let mut file = fs::File::create(&path)?;
                    file.write_all(&self.tar[range.clone()])?;
                    Ok(futimens(&file, times)?)
                }
            };
            match make() {
                // Directories that are implied, or described after what is in them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(root))?;
                    make()?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        }
        // Last, since what is put into a directory changes its time.
        let directories = |entry: &&Entry| matches!(entry.content, Content::Directory);
        for Entry { path, times, .. } in self.entries.iter().filter(directories) {
            utimensat(CWD, root.join(path), times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}
