//! `index.json`: reading, replacing an entry, writing it back atomically.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Error, LAYOUT_FILE};
use crate::oci::Descriptor;

/// What skopeo's `oci:DIR:NAME` and umoci's `--image DIR:NAME` look for.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What `ctr images import` names the image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A named image of the layout.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// The whole reference, so that fifty images of one tag stay apart.
    pub name: String,
    /// Index or manifest, complete in `blobs`.
    pub target: Descriptor,
}

/// Adds `entry` to `index.json` beneath `root`; entries of other images are kept as they are.
pub(super) fn publish(root: &Path, entry: &IndexEntry) -> Result<(), Error> {
    let marker = root.join(LAYOUT_FILE);
    let lock = File::open(&marker).map_err(|e| Error::io("open", &marker, e))?;
    // Two pulls into one directory would lose each other's entry.
    lock.lock().map_err(|e| Error::io("lock", &marker, e))?;

    let path = root.join("index.json");
    let mut index = read(&path)?;
    let manifests = index.entry("manifests").or_insert_with(|| json!([]));
    if !manifests.is_array() {
        *manifests = json!([]);
    }
    if let Some(manifests) = manifests.as_array_mut() {
        manifests.retain(|present| present["annotations"][REF_NAME] != entry.name.as_str());
        manifests.push(descriptor_json(entry));
    }
    write(root, &path, &Value::Object(index))
}

fn read(path: &Path) -> Result<Map<String, Value>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| Error::Index { path: path.to_owned(), source }),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            let mut empty = Map::new();
            empty.insert("schemaVersion".into(), json!(2));
            empty.insert(
                "mediaType".into(),
                json!(oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE),
            );
            Ok(empty)
        }
        Err(source) => Err(Error::io("read", path, source)),
    }
}

fn descriptor_json(entry: &IndexEntry) -> Value {
    let mut descriptor = json!({
        "mediaType": entry.target.media_type,
        "digest": entry.target.digest,
        "size": entry.target.size,
        "annotations": { REF_NAME: entry.name, CONTAINERD_NAME: entry.name },
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

fn write(root: &Path, path: &Path, index: &Value) -> Result<(), Error> {
    let failed = |source| Error::io("write", path, source);
    let mut file = tempfile::NamedTempFile::new_in(root).map_err(failed)?;
    file.write_all(index.to_string().as_bytes()).map_err(failed)?;
    // tempfile makes files for the owner only; a layout is for whoever may read the directory.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
