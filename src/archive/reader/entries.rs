//! What is where in an archive: its entries by their names, and where its links lead.
//!
//! Names are written by anybody. None is ever a path on this machine; one that would lead out of the
//! archive, and one that two entries have, is refused all the same: whoever looked at the archive with
//! another program may have seen something else.

use std::collections::HashMap;

use super::error::Problem;
use crate::tar::{Entry, EntryKind, EntryName};

/// Most entries of an archive (65,536): a few thousand images.
const MAX_ENTRIES: usize = 1 << 16;

/// Most bytes of their names together (8 MiB).
const MAX_NAME_BYTES: usize = 8 << 20;

/// Links that are followed one after another.
const MAX_LINKS: usize = 8;

/// The entries of an archive, `B` being what is known of a file.
#[derive(Debug)]
pub(super) struct Entries<B> {
    named: HashMap<String, Place<B>>,
    count: usize,
    name_bytes: usize,
}

#[derive(Debug)]
enum Place<B> {
    File(B),
    /// To another name; `None` when that is outside.
    Link(Option<String>),
    /// A directory, or something that images have no use for.
    Other,
}

impl<B> Default for Entries<B> {
    fn default() -> Self {
        Self { named: HashMap::new(), count: 0, name_bytes: 0 }
    }
}

impl<B> Entries<B> {
    /// Takes note of an entry; of a file, what `body` says about it.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        body: impl FnOnce(&str) -> Result<B, Problem>,
    ) -> Result<(), Problem> {
        self.count += 1;
        self.name_bytes += entry.name.len();
        if self.count > MAX_ENTRIES || self.name_bytes > MAX_NAME_BYTES {
            return Err(Problem::TooManyEntries { limit: MAX_ENTRIES });
        }
        let name =
            normalised(&entry.name).ok_or_else(|| Problem::BadName(EntryName::new(&entry.name)))?;
        let place = match &entry.kind {
            EntryKind::File => {
                // Before its content counts for anything.
                self.refuse_second(&name, entry)?;
                Place::File(body(&name)?)
            }
            EntryKind::Symlink(target) => Place::Link(relative(&name, target)),
            EntryKind::HardLink(target) => Place::Link(normalised(target)),
            EntryKind::GlobalHeader => return Ok(()),
            _ => Place::Other,
        };
        if !matches!(place, Place::Other) {
            self.refuse_second(&name, entry)?;
        }
        self.named.insert(name, place);
        Ok(())
    }

    /// What is known of a file that was added as `entry` is now `body`.
    pub(super) fn replace(&mut self, entry: &Entry, body: B) {
        if let Some(place) = normalised(&entry.name).and_then(|name| self.named.get_mut(&name)) {
            *place = Place::File(body);
        }
    }

    fn refuse_second(&self, name: &str, entry: &Entry) -> Result<(), Problem> {
        match self.named.contains_key(name) {
            true => Err(Problem::Twice(EntryName::new(&entry.name))),
            false => Ok(()),
        }
    }

    /// What is known of the file `name`, links followed; `None` when there is no such file.
    ///
    /// # Errors
    /// [`Problem::LeadsOut`], [`Problem::Loop`].
    pub(super) fn file(&self, name: &str) -> Result<Option<&B>, Problem> {
        let mut at = name;
        for _ in 0..=MAX_LINKS {
            match self.named.get(at) {
                Some(Place::File(body)) => return Ok(Some(body)),
                Some(Place::Link(Some(target))) => at = target,
                Some(Place::Link(None)) => {
                    return Err(Problem::LeadsOut(EntryName::new(at.as_bytes())));
                }
                Some(Place::Other) | None => return Ok(None),
            }
        }
        Err(Problem::Loop(EntryName::new(name.as_bytes())))
    }

    /// What is known of the file that a document of the archive calls `written`.
    ///
    /// # Errors
    /// As [`Self::file`]; [`Problem::BadName`], [`Problem::Missing`].
    pub(super) fn named(&self, written: &str) -> Result<&B, Problem> {
        let shown = || EntryName::new(written.as_bytes());
        let name = normalised(written.as_bytes()).ok_or_else(|| Problem::BadName(shown()))?;
        self.file(&name)?.ok_or_else(|| Problem::Missing(shown()))
    }

    /// Whether there is no entry at all.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// `name` without `./` and empty parts; `None` when it is absolute or leads upwards out of where it
/// begins.
fn normalised(name: &[u8]) -> Option<String> {
    if name.starts_with(b"/") {
        return None;
    }
    let name = String::from_utf8_lossy(name);
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Where a symbolic link called `name` leads.
fn relative(name: &str, target: &[u8]) -> Option<String> {
    if target.starts_with(b"/") {
        return None;
    }
    let target = String::from_utf8_lossy(target);
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Timestamp;

    fn entry(name: &str, kind: EntryKind) -> Entry {
        Entry {
            name: name.as_bytes().to_vec(),
            kind,
            size: 0,
            is_old_sparse: false,
            mode: 0,
            owner: None,
            group: None,
            modified: Timestamp::default(),
            accessed: None,
            attributes: Vec::new(),
        }
    }

    fn link(target: &str) -> EntryKind {
        EntryKind::Symlink(target.as_bytes().to_vec())
    }

    fn entries(all: &[(&str, EntryKind)]) -> Result<Entries<String>, Problem> {
        let mut entries = Entries::default();
        for (name, kind) in all {
            entries.add(&entry(name, kind.clone()), |name| Ok(name.to_owned()))?;
        }
        Ok(entries)
    }

    #[test]
    fn files_are_found_by_their_plain_names() {
        let found = entries(&[
            ("./", EntryKind::Directory),
            ("./blobs//sha256/a", EntryKind::File),
            ("index.json", EntryKind::File),
        ])
        .unwrap();
        assert_eq!(found.file("blobs/sha256/a").unwrap().unwrap(), "blobs/sha256/a");
        assert_eq!(found.named("./index.json").unwrap(), "index.json");
        assert!(found.file("blobs").unwrap().is_none());
        assert!(matches!(found.named("no"), Err(Problem::Missing(_))));
        assert!(matches!(found.named("../index.json"), Err(Problem::BadName(_))));
    }

    #[test]
    fn links_are_followed_within_the_archive() {
        let found = entries(&[
            ("a/layer.tar", EntryKind::File),
            ("b/layer.tar", link("../a/layer.tar")),
            ("c/layer.tar", link("../b/./layer.tar")),
            ("d", EntryKind::HardLink(b"./a/layer.tar".to_vec())),
            ("out", link("../etc/passwd")),
            ("b/far", link("../../x")),
            ("absolute", link("/etc/passwd")),
            ("round", link("round")),
            ("nowhere", link("gone")),
        ])
        .unwrap();
        for name in ["b/layer.tar", "c/layer.tar", "d"] {
            assert_eq!(found.file(name).unwrap().unwrap(), "a/layer.tar", "{name}");
        }
        for name in ["out", "b/far", "absolute"] {
            assert!(matches!(found.file(name), Err(Problem::LeadsOut(_))), "{name}");
        }
        assert!(matches!(found.file("round"), Err(Problem::Loop(_))));
        assert!(found.file("nowhere").unwrap().is_none());
    }

    #[test]
    fn names_that_lead_out_and_names_that_two_have_are_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "a/..", ".."] {
            let refused = entries(&[(name, EntryKind::File)]);
            assert!(matches!(refused, Err(Problem::BadName(_))), "{name}");
        }
        let twice = |second| entries(&[("a/b", EntryKind::File), (second, EntryKind::File)]);
        assert!(matches!(twice("./a//b"), Err(Problem::Twice(_))));
        assert!(entries(&[("a", EntryKind::File), ("a", link("b"))]).is_err());
        assert!(entries(&[("a", EntryKind::Directory), ("a/", EntryKind::Directory)]).is_ok());
    }
}
