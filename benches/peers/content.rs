//! File trees that look like a distribution's `/usr`, made from a seed alone: the same bytes in
//! every run on every machine. Knows tar, but neither compression nor images.

use std::io::{self, Write};

use fastrand::Rng;
use tar::{Builder, EntryType, Header};

/// Files of one folder before the next one is begun.
const FILES_IN_FOLDER: u32 = 14;

/// One file in so many is followed by a symbolic link to it.
const FILES_A_LINK: u32 = 20;

/// Modification time of everything, in seconds since 1970.
const MODIFIED: u64 = 1_700_000_000;

/// Sizes of files by how common they are, as in a Debian installation: per mille of the files,
/// and the range of bytes.
const SIZES: [(u32, usize, usize); 5] = [
    (600, 200, 4 << 10),
    (300, 4 << 10, 32 << 10),
    (90, 32 << 10, 256 << 10),
    (9, 256 << 10, 2 << 20),
    (1, 4 << 20, 24 << 20),
];

/// What a tree is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tree {
    pub(crate) seed: u64,
    /// Where the tree ends, in bytes of file content.
    pub(crate) bytes: usize,
    pub(crate) texture: Texture,
}

/// How well the content compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Texture {
    /// Text and machine code with some pictures, in per mille of the latter; gzip makes a third of
    /// it at 5.
    Usr { pictures: u32 },
    /// One large file after the other that does not compress at all.
    Noise,
}

impl Tree {
    /// Writes the tree as a tar archive.
    pub(crate) fn write(self, output: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(output);
        let mut random = Rng::with_seed(self.seed);
        let words = Words::new(&mut Rng::with_seed(0));
        let mut content = Vec::new();
        let (mut written, mut number) = (0, 0);
        let mut folder = String::new();
        while written < self.bytes {
            if number % FILES_IN_FOLDER == 0 {
                folder = self.folder(number / FILES_IN_FOLDER);
                append(&mut archive, &header(EntryType::Directory, 0o755), &folder, &[])?;
            }
            let size = self.size(&mut random).min(self.bytes - written);
            content.clear();
            self.fill(&mut content, size, &mut random, &words);
            let path = format!("{folder}file-{number:06}");
            append(&mut archive, &header(EntryType::Regular, 0o644), &path, &content)?;
            if number % FILES_A_LINK == 0 {
                let mut link = header(EntryType::Symlink, 0o777);
                let name = format!("{folder}link-{number:06}");
                archive.append_link(&mut link, name, format!("file-{number:06}"))?;
            }
            written += size;
            number += 1;
        }
        archive.into_inner()?.flush()
    }

    fn folder(self, number: u32) -> String {
        let (shelf, place) = (number / 24, number % 24);
        format!("usr/share/tree-{:x}/shelf-{shelf:03}/place-{place:02}/", self.seed)
    }

    fn size(self, random: &mut Rng) -> usize {
        if self.texture == Texture::Noise {
            return 32 << 20;
        }
        let mut pick = random.u32(..1000);
        for (share, least, most) in SIZES {
            if pick < share {
                return random.usize(least..most);
            }
            pick -= share;
        }
        0
    }

    fn fill(self, content: &mut Vec<u8>, size: usize, random: &mut Rng, words: &Words) {
        let pictures = match self.texture {
            Texture::Noise => 1000,
            Texture::Usr { pictures } => pictures,
        };
        // By folds of 64 KiB, so that a large file is a mixture as well.
        while content.len() < size {
            let end = size.min(content.len() + (64 << 10));
            match random.u32(..1000) {
                pick if pick < pictures => noise(content, end, random),
                pick if pick % 2 == 0 => words.write(content, end, random),
                _ => code(content, end, random),
            }
        }
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MODIFIED);
    header.set_size(0);
    header
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    header: &Header,
    path: &str,
    content: &[u8],
) -> io::Result<()> {
    let mut header = header.clone();
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content)
}

fn noise(content: &mut Vec<u8>, end: usize, random: &mut Rng) {
    let start = content.len();
    content.resize(end, 0);
    if let Some(tail) = content.get_mut(start..) {
        random.fill(tail);
    }
}

/// Instructions: few operations, operands near each other, and now and then an address.
fn code(content: &mut Vec<u8>, end: usize, random: &mut Rng) {
    while content.len() < end {
        let operation = random.u8(..64).min(random.u8(..64));
        content.extend([0x48, operation, operation.wrapping_mul(37), random.u8(..8), 0, 0]);
        if operation < 4 {
            content.extend(random.u16(..).to_le_bytes());
        }
    }
    content.truncate(end);
}

/// A vocabulary for text.
struct Words(Vec<Vec<u8>>);

impl Words {
    fn new(random: &mut Rng) -> Self {
        let mut word = || {
            let length = random.usize(3..14);
            let mut word: Vec<u8> = (0..length).map(|_| random.u8(b'a'..=b'z')).collect();
            word.push(b' ');
            word
        };
        Self((0..2048).map(|_| word()).collect())
    }

    fn write(&self, content: &mut Vec<u8>, end: usize, random: &mut Rng) {
        while content.len() < end {
            // The least of three makes some words common and most of them rare.
            let mut pick = || random.usize(..self.0.len());
            let index = [(); 3].map(|()| pick()).into_iter().min().unwrap_or_default();
            content.extend(self.0.get(index).into_iter().flatten());
        }
        content.truncate(end);
    }
}
