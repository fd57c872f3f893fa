//! Layers to extract, built entry by entry, and what is on disk afterwards.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::gzip::Threads;
use crate::oci::Compression;
use crate::unpack::Allowance;
use crate::unpack::extract::{ExtractError, ExtractOptions, Extracted, Whiteouts, extract};

/// A tar archive under construction. Paths are taken as they are.
#[derive(Default, Clone)]
pub(super) struct Layer {
    pub(super) bytes: Vec<u8>,
}

/// One entry's header fields, with defaults for what a test does not care about.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    pub(super) kind: u8,
    pub(super) link: &'a str,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) modified: u64,
    pub(super) device: (u32, u32),
    pub(super) pax: Vec<(&'a str, Vec<u8>)>,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self {
            kind: b'0',
            link: "",
            mode: 0o644,
            owner: (0, 0),
            modified: 1_500_000_000,
            device: (0, 0),
            pax: Vec::new(),
        }
    }
}

impl Layer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, Fields::default(), content.as_bytes())
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.entry(path, Fields { kind: b'5', mode: 0o755, ..Fields::default() }, b"")
    }

    pub(super) fn symlink(self, path: &str, link: &str) -> Self {
        self.entry(path, Fields { kind: b'2', mode: 0o777, link, ..Fields::default() }, b"")
    }

    pub(super) fn hard_link(self, path: &str, link: &str) -> Self {
        self.entry(path, Fields { kind: b'1', link, ..Fields::default() }, b"")
    }

    pub(super) fn entry(mut self, path: &str, fields: Fields<'_>, content: &[u8]) -> Self {
        let pax: Vec<u8> =
            fields.pax.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        if !pax.is_empty() {
            let header = Fields { kind: b'x', ..Fields::default() };
            self.raw(&header_block("PaxHeaders/x", &header, pax.len()), &pax);
        }
        self.raw(&header_block(path, &fields, content.len()), content);
        self
    }

    /// Adds a header block and its content as they are, padded.
    pub(super) fn raw(&mut self, header: &[u8], content: &[u8]) {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    /// The archive with its two closing blocks.
    pub(super) fn finished(&self) -> Vec<u8> {
        [self.bytes.as_slice(), &[0; 1024]].concat()
    }

    /// Extracts the archive, gzipped, beneath `root`.
    pub(super) fn extract_to(&self, root: &Path) -> Result<Extracted, ExtractError> {
        extract_gzipped(&self.finished(), root, Whiteouts::Overlay)
    }
}

pub(super) fn extract_gzipped(
    archive: &[u8],
    root: &Path,
    whiteouts: Whiteouts,
) -> Result<Extracted, ExtractError> {
    let options = ExtractOptions {
        compression: Compression::Gzip,
        whiteouts,
        allowance: Allowance::new(None),
        threads: Threads::new(1),
        is_sparing: false,
    };
    let root = std::fs::File::open(root).unwrap().into();
    extract(Cursor::new(gzip(archive)), root, options)
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(super) fn header_block(path: &str, fields: &Fields<'_>, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[157..157 + fields.link.len()].copy_from_slice(fields.link.as_bytes());
    header.as_mut_bytes()[156] = fields.kind;
    header.set_mode(fields.mode);
    header.set_uid(fields.owner.0);
    header.set_gid(fields.owner.1);
    header.set_mtime(fields.modified);
    header.set_size(size as u64);
    header.set_device_major(fields.device.0).unwrap();
    header.set_device_minor(fields.device.1).unwrap();
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// What a test compares of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::unpack::extract) struct Node {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) modified: (i64, i64),
    pub(super) device: u64,
    pub(super) links: u64,
    pub(super) content: Vec<u8>,
}

/// Everything beneath `root`, by relative path; the root itself is `""`.
pub(in crate::unpack::extract) fn listing(root: &Path) -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            std::fs::read(&path).unwrap()
        } else if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        if metadata.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let node = Node {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            device: metadata.rdev(),
            // A directory's own count says nothing that its children do not.
            links: if metadata.is_dir() { 0 } else { metadata.nlink() },
            content,
        };
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        nodes.insert(name, node);
    }
    nodes
}

/// Whether this process may make devices and give files away.
pub(in crate::unpack::extract) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
