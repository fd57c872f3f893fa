//! File trees as tar archives, with everything that a layer may hold: whiteouts, links, devices,
//! extended attributes, special modes, names of any length.

use tar::{Builder, EntryType, Header};

use super::image::noise;

/// Size of a file that makes its layer too large to wait in memory, in bytes (above 256 KiB).
const BALLAST: usize = 300_000;

/// A tar under construction; entries keep the order in which they are added.
pub(crate) struct Tree {
    tar: Builder<Vec<u8>>,
    attributes: Attributes,
}

/// What the entries that follow have in common.
#[derive(Debug, Clone)]
struct Attributes {
    mode: Option<u32>,
    owner: (u64, u64),
    /// Seconds since the epoch, and nanoseconds, which need a PAX header.
    modified: (u64, u32),
    xattrs: Vec<(String, Vec<u8>)>,
    /// Other PAX records.
    records: Vec<(String, Vec<u8>)>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            mode: None,
            owner: (0, 0),
            modified: (1_700_000_000, 0),
            xattrs: Vec::new(),
            records: Vec::new(),
        }
    }
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { tar: Builder::new(Vec::new()), attributes: Attributes::default() }
    }

    /// Mode of the next entry.
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.attributes.mode = Some(mode);
        self
    }

    /// Owner and group of the next entry.
    pub(crate) fn owner(mut self, user: u64, group: u64) -> Self {
        self.attributes.owner = (user, group);
        self
    }

    /// Modification time of the next entry.
    pub(crate) fn modified(mut self, seconds: u64, nanoseconds: u32) -> Self {
        self.attributes.modified = (seconds, nanoseconds);
        self
    }

    /// An extended attribute of the next entry.
    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.attributes.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }

    /// A PAX record of the next entry.
    pub(crate) fn record(mut self, key: &str, value: &str) -> Self {
        self.attributes.records.push((key.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// A regular file.
    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, 0o644, None, content)
    }

    /// A directory.
    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(
            EntryType::Directory,
            &format!("{}/", path.trim_end_matches('/')),
            0o755,
            None,
            &[],
        )
    }

    /// An entry of a directory's type whose name does not say so.
    pub(crate) fn slashless_directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, 0o755, None, &[])
    }

    /// A file too large for its layer to wait in memory, of bytes that do not compress.
    pub(crate) fn ballast(self, path: &str) -> Self {
        let content = noise(path, BALLAST);
        self.file(path, &content)
    }

    /// A file of `size` bytes, zeros but for `data` at `offset`, the way that GNU tar stores it in
    /// PAX archives (sparse format 1.0).
    pub(crate) fn sparse(self, path: &str, size: u64, offset: u64, data: &[u8]) -> Self {
        let length = data.len();
        let tree = self
            .record("GNU.sparse.major", "1")
            .record("GNU.sparse.minor", "0")
            .record("GNU.sparse.name", path)
            .record("GNU.sparse.realsize", &size.to_string());
        let mut content = format!("2\n{offset}\n{length}\n{size}\n0\n").into_bytes();
        content.resize(content.len().next_multiple_of(512), 0);
        content.extend_from_slice(data);
        tree.file("GNUSparseFile.0/sparse", &content)
    }

    /// A symbolic link to `target`.
    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, Some(target), &[])
    }

    /// Another name for the entry `target`.
    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, Some(target), &[])
    }

    /// A named pipe.
    pub(crate) fn fifo(self, path: &str) -> Self {
        self.entry(EntryType::Fifo, path, 0o644, None, &[])
    }

    /// A character device.
    pub(crate) fn character_device(self, path: &str, major: u32, minor: u32) -> Self {
        self.device(EntryType::Char, path, major, minor)
    }

    /// A block device.
    pub(crate) fn block_device(self, path: &str, major: u32, minor: u32) -> Self {
        self.device(EntryType::Block, path, major, minor)
    }

    /// An entry of any type, by its letter in the header.
    pub(crate) fn typed(self, letter: u8, path: &str, content: &[u8]) -> Self {
        self.entry(EntryType::new(letter), path, 0o644, None, content)
    }

    /// A lone block of zeros, of which two end an archive.
    pub(crate) fn zero_block(mut self) -> Self {
        self.tar.get_mut().extend([0; 512]);
        self
    }

    /// A file of `size` bytes, zeros but for `data` at `offset`, the way that GNU tar stores it in its
    /// own archives (`--format=gnu --sparse`).
    pub(crate) fn old_sparse(mut self, path: &str, size: u64, offset: u64, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        let gnu = header.as_gnu_mut().expect("it is made as one");
        let octal = |number: u64| {
            let mut field = [0; 12];
            field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
            field
        };
        gnu.sparse[0].offset = octal(offset);
        gnu.sparse[0].numbytes = octal(data.len() as u64);
        gnu.realsize = octal(size);
        self.tar.append_data(&mut header, path, data).expect("memory takes it");
        self
    }

    /// Removes `path` of the layers below.
    pub(crate) fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let separator = if folder.is_empty() { "" } else { "/" };
        self.file(&format!("{folder}{separator}.wh.{name}"), &[])
    }

    /// Hides everything that the layers below have in `directory`.
    pub(crate) fn opaque(self, directory: &str) -> Self {
        self.file(&format!("{directory}/.wh..wh..opq"), &[])
    }

    /// The finished archive.
    pub(crate) fn into_tar(self) -> Vec<u8> {
        self.tar.into_inner().expect("memory takes it")
    }

    fn device(mut self, kind: EntryType, path: &str, major: u32, minor: u32) -> Self {
        let mut header = self.header(kind, 0o600, 0);
        header.set_device_major(major).expect("ustar has device numbers");
        header.set_device_minor(minor).expect("ustar has device numbers");
        self.tar.append_data(&mut header, path, &[][..]).expect("memory takes it");
        self
    }

    fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        link: Option<&str>,
        content: &[u8],
    ) -> Self {
        let mut header = self.header(kind, mode, content.len() as u64);
        if let Some(target) = link {
            header.set_link_name_literal(target).expect("the target is short");
        }
        // As it is written: builders differ in `/` and `./` before a name.
        if let Some(name) = header.as_old_mut().name.get_mut(..path.len()) {
            name.copy_from_slice(path.as_bytes());
            header.set_cksum();
            self.tar.append(&header, content)
        } else {
            self.tar.append_data(&mut header, path, content)
        }
        .expect("memory takes it");
        self
    }

    /// The header of the next entry, after its PAX records have been written.
    fn header(&mut self, kind: EntryType, mode: u32, size: u64) -> Header {
        let attributes = std::mem::take(&mut self.attributes);
        let mut records: Vec<(String, Vec<u8>)> = attributes
            .xattrs
            .into_iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
            .collect();
        records.extend(attributes.records);
        let (seconds, nanoseconds) = attributes.modified;
        if nanoseconds != 0 {
            let time = format!("{seconds}.{nanoseconds:09}");
            records.push(("mtime".to_owned(), time.into_bytes()));
        }
        let records = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(records).expect("memory takes it");

        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(attributes.mode.unwrap_or(mode));
        header.set_uid(attributes.owner.0);
        header.set_gid(attributes.owner.1);
        header.set_mtime(seconds);
        header.set_size(size);
        header
    }
}

/// The capability `cap_net_raw+ep`, as the kernel stores it (`VFS_CAP_REVISION_2`).
const PING: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree with one of everything that unpackers get wrong.
pub(crate) fn curious() -> Tree {
    let long = format!("{}/{}", "directory".repeat(12), "name".repeat(60));
    Tree::new()
        .mode(0o750)
        .modified(1_600_000_000, 123_456_789)
        .directory("etc")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .owner(1000, 2000)
        .mode(0o4755)
        .file("bin/setuid", b"setuid")
        .mode(0o2755)
        .modified(1_600_000_000, 987_654_321)
        .file("bin/setgid", b"setgid")
        .mode(0o1777)
        .directory("tmp")
        .xattr("user.note", b"kept")
        .xattr("trusted.note", b"\0binary\n")
        .file("etc/noted", b"noted")
        .xattr("security.capability", &PING)
        .mode(0o755)
        .owner(0, 1000)
        .file("bin/ping", b"may open raw sockets")
        .sparse("var/sparse", 3_000_000, 1_000_000, b"in the middle")
        .hard_link("usr/passwd", "etc/passwd")
        .symlink("etc/link", "../bin/setuid")
        .symlink("dangling", "/no/where")
        .character_device("dev/null", 1, 3)
        .block_device("dev/loop", 7, 0)
        .fifo("run/pipe")
        .modified(1_500_000_000, 1)
        .file(&long, b"long name")
        .file("empty", b"")
        .file("twice", b"first")
        .file("twice", b"second")
        .directory("hidden")
        .file("hidden/below", b"below")
        .file("removed", b"removed")
}

/// The layer over [`curious`] which takes things away.
pub(crate) fn curious_above() -> Tree {
    Tree::new()
        .whiteout("removed")
        .whiteout("etc/link")
        .directory("hidden")
        .opaque("hidden")
        .file("hidden/above", b"above")
        .file("empty", b"no longer")
}
