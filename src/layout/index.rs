//! `index.json`: reading it, replacing an entry, writing it back atomically.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::Error;
use super::directory::Directory;
use crate::oci::layout::{FULL_NAME, INDEX_FILE, LAYOUT_FILE, REF_NAME};
use crate::oci::{Descriptor, ManifestKind, MediaType};

/// Largest `index.json` read, in bytes (16 MiB): some thirty thousand images.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// A named image of the layout, as pullctl writes it.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// The whole reference, so that fifty images of one tag stay apart.
    pub name: String,
    /// What skopeo and umoci find it by, where that is not its name.
    pub tag: Option<String>,
    /// Index or manifest, complete in `blobs`.
    pub target: Descriptor,
}

/// An image of the layout, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Index or manifest, with its annotations.
    pub target: Descriptor,
}

impl IndexEntry {
    fn reference_name(&self) -> &str {
        self.tag.as_deref().unwrap_or(&self.name)
    }
}

impl Entry {
    /// The whole reference, as containerd's tools and pullctl write it.
    pub fn full_name(&self) -> Option<&str> {
        self.annotation(FULL_NAME)
    }

    /// What skopeo and umoci go by: anything from a bare tag to a whole reference.
    pub fn reference_name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.target.annotations.get(key).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// The entries of `index.json` beneath `root`; none where there is no such file.
pub(super) fn entries(root: &Directory) -> Result<Vec<Entry>, Error> {
    let Some(bytes) = root.read(INDEX_FILE, MAX_INDEX_BYTES)? else { return Ok(Vec::new()) };
    let index = MediaType::new(oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE);
    match ManifestKind::parse(&index, &bytes) {
        Ok(ManifestKind::Index(index)) => {
            Ok(index.manifests.into_iter().map(|target| Entry { target }).collect())
        }
        Ok(ManifestKind::Manifest(_)) => Err(unreadable(root, "it is no index")),
        Err(error) => Err(unreadable(root, error)),
    }
}

fn unreadable(
    root: &Directory,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Index { path: root.path().join(INDEX_FILE), source: source.into() }
}

/// Adds `entry` to `index.json` beneath `root`; entries of other images are kept as they are. One
/// that is there already takes no write, and so no right to one.
pub(super) fn publish(root: &Directory, entry: &IndexEntry) -> Result<(), Error> {
    if holds(&read(root)?, entry) {
        return Ok(());
    }
    let marker = root.path().join(LAYOUT_FILE);
    let lock = root.file(LAYOUT_FILE)?.ok_or_else(|| Error::NotALayout(root.path().to_owned()))?;
    // Two pulls into one directory would lose each other's entry.
    lock.lock().map_err(|e| Error::io("lock", &marker, e))?;

    let mut index = read(root)?;
    let manifests = index.entry("manifests").or_insert_with(|| json!([]));
    if !manifests.is_array() {
        *manifests = json!([]);
    }
    if let Some(manifests) = manifests.as_array_mut() {
        manifests.retain(|present| !is_named(present, entry));
        manifests.push(descriptor_json(entry));
    }
    write(root, &Value::Object(index))
}

/// Whether `index` has the entry, just as it would be written, and no other of its name.
fn holds(index: &Map<String, Value>, entry: &IndexEntry) -> bool {
    let present = index.get("manifests").and_then(Value::as_array);
    let mut named = present.into_iter().flatten().filter(|present| is_named(present, entry));
    named.next() == Some(&descriptor_json(entry)) && named.next().is_none()
}

fn is_named(present: &Value, entry: &IndexEntry) -> bool {
    present["annotations"][REF_NAME] == entry.reference_name()
}

fn read(root: &Directory) -> Result<Map<String, Value>, Error> {
    match root.read(INDEX_FILE, MAX_INDEX_BYTES)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(root, error)),
        None => {
            let mut empty = Map::new();
            empty.insert("schemaVersion".into(), json!(2));
            empty.insert(
                "mediaType".into(),
                json!(oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE),
            );
            Ok(empty)
        }
    }
}

fn descriptor_json(entry: &IndexEntry) -> Value {
    let mut descriptor = json!({
        "mediaType": entry.target.media_type,
        "digest": entry.target.digest,
        "size": entry.target.size,
        "annotations": { REF_NAME: entry.reference_name(), FULL_NAME: entry.name },
    });
    if let Some(platform) = &entry.target.platform {
        descriptor["platform"] =
            json!({ "os": platform.os, "architecture": platform.architecture });
        if !platform.variant.is_empty() {
            descriptor["platform"]["variant"] = json!(platform.variant);
        }
    }
    descriptor
}

fn write(root: &Directory, index: &Value) -> Result<(), Error> {
    let path = &root.path().join(INDEX_FILE);
    let failed = |source| Error::io("write", path, source);
    let mut file = tempfile::NamedTempFile::new_in(root.path()).map_err(failed)?;
    file.write_all(index.to_string().as_bytes()).map_err(failed)?;
    // tempfile makes files for the owner only; a layout is for whoever may read the directory.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
