//! Archives of images made from code: OCI layouts and docker's form as tar, in any order of entries, with
//! whatever should not be in them.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::image::{Blob, Image, OCI_INDEX};

/// An archive under construction; entries keep the order in which they are added.
pub(crate) struct Archive {
    tar: Builder<Vec<u8>>,
    blobs: HashSet<String>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { tar: Builder::new(Vec::new()), blobs: HashSet::new() }
    }

    /// An OCI layout of images with their names in full; those without one have `""`. Blobs come first,
    /// as with ctr.
    pub(crate) fn oci(images: &[(&Image, &str)]) -> Self {
        let archive = images.iter().fold(Self::new(), |archive, (image, _)| archive.blobs(image));
        archive.index(images).file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Everything below `image`, itself included, each blob once.
    pub(crate) fn blobs(self, image: &Image) -> Self {
        let all = image.blobs.iter().chain(&image.documents).chain([&image.root]);
        all.fold(self, Self::blob)
    }

    /// A blob in its place, unless it is there.
    pub(crate) fn blob(mut self, blob: &Blob) -> Self {
        let name = blob_name(blob);
        match self.blobs.insert(name.clone()) {
            true => self.file(&name, &blob.bytes),
            false => self,
        }
    }

    /// `index.json`.
    pub(crate) fn index(self, images: &[(&Image, &str)]) -> Self {
        let entries = images.iter().map(|(image, name)| {
            let mut entry = image.entry();
            if !name.is_empty() {
                entry["annotations"] = json!({ "io.containerd.image.name": name });
            }
            entry
        });
        self.index_of(entries.collect())
    }

    /// `index.json` with these entries.
    pub(crate) fn index_of(self, entries: Vec<Value>) -> Self {
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        self.file("index.json", index.to_string().as_bytes())
    }

    /// A file.
    pub(crate) fn file(mut self, name: &str, content: &[u8]) -> Self {
        self.append(EntryType::Regular, name, "", content, content.len() as u64);
        self
    }

    /// A symbolic link.
    pub(crate) fn link(mut self, name: &str, target: &str) -> Self {
        self.append(EntryType::Symlink, name, target, &[], 0);
        self
    }

    /// A file that says another size than it has, at the archive's end.
    pub(crate) fn file_of_size(mut self, name: &str, content: &[u8], size: u64) -> Vec<u8> {
        self.append(EntryType::Regular, name, "", &[], size);
        let mut bytes = self.tar.into_inner().expect("memory takes it");
        // Without the two blocks that end an archive.
        bytes.truncate(bytes.len() - 1024);
        bytes.extend_from_slice(content);
        bytes
    }

    fn append(&mut self, kind: EntryType, name: &str, link: &str, content: &[u8], size: u64) {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        // As it is written, `..` and all.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.tar.append(&header, content).expect("memory takes it");
    }

    /// The finished archive.
    pub(crate) fn build(self) -> Vec<u8> {
        self.tar.into_inner().expect("memory takes it")
    }
}

/// Where a layout has a blob.
pub(crate) fn blob_name(blob: &Blob) -> String {
    format!("blobs/{}", blob.digest.to_string().replace(':', "/"))
}

/// Runs a program, which must succeed; answers its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
