//! A lock: which digests the tags of a list stood for at some time. Written as JSON, read as any list.

use std::path::Path;

use serde::Serialize;

use super::error::{Error, Place};
use super::listed::{Listed, Origin};
use super::plain;
use super::yaml::Node;
use crate::oci::Digest;

/// What a lock says that it is.
const KIND: &str = "ImageLock";

/// The one form that there is.
const VERSION: u32 = 1;

/// A lock, to be written.
#[derive(Debug, Serialize)]
pub struct Lock {
    kind: &'static str,
    version: u32,
    /// When the tags stood for these digests.
    pub locked: String,
    /// The images.
    pub images: Vec<LockedImage>,
}

impl Lock {
    /// Of what was found at the time `locked`.
    pub fn new(locked: String, images: Vec<LockedImage>) -> Self {
        Self { kind: KIND, version: VERSION, locked, images }
    }
}

/// An image of a lock.
#[derive(Debug, Serialize)]
pub struct LockedImage {
    /// What it is called.
    pub name: String,
    /// What it is called where it comes from.
    pub source: String,
    /// The index or manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size.
    pub size_bytes: u64,
    /// Whether it is to be pinned.
    pub pinned: bool,
    /// The platforms that its lines name.
    pub platforms: Vec<String>,
    /// The platforms' images that were wanted.
    pub manifests: Vec<LockedManifest>,
}

/// One platform's image.
#[derive(Debug, Serialize)]
pub struct LockedManifest {
    /// What it runs on; nothing for what is no image.
    pub platform: Option<String>,
    /// The manifest.
    pub digest: Digest,
    /// Size of manifest, configuration and layers as they are stored.
    pub size_bytes: u64,
}

/// Whether the document `node` is a lock.
pub(super) fn is_lock(node: &Node) -> bool {
    node.text_of("kind") == Some(KIND) && node.get("apiVersion").is_none()
}

/// The images of the lock `node`, which stands in `path`.
///
/// # Errors
/// [`Error::Lock`] for what no `lock` wrote.
pub(super) fn images(path: &Path, node: &Node) -> Result<Vec<Listed>, Error> {
    let wrong = |node: &Node, problem: &str| Error::Lock {
        place: Place::new(path, node.line),
        problem: problem.to_owned(),
    };
    if node.text_of("version") != Some(&VERSION.to_string()) {
        return Err(wrong(node, "a lock of a version that is not known here"));
    }
    let images = node.get("images").map(Node::elements).unwrap_or_default();
    let image = |image: &Node| {
        let member = |name: &str| {
            let text = image.text_of(name);
            text.ok_or_else(|| wrong(image, &format!("an image of the lock has no `{name}`")))
        };
        let place = Place::new(path, image.line);
        let name = plain::reference(&place, member("name")?)?;
        let source = plain::reference(&place, member("source")?)?;
        let digest = member("digest")?.parse();
        let digest: Digest = digest.map_err(|_| wrong(image, "its `digest` is none"))?;
        let origin = Origin { kind: "lock".to_owned(), name: None, field: None };
        let mut listed = Listed::new(source, place.clone(), origin);
        for platform in image.get("platforms").map(Node::elements).unwrap_or_default() {
            let parsed = platform.text().unwrap_or_default().parse();
            let source = |source| Error::Platform { place: place.clone(), source };
            listed.platforms.push(parsed.map_err(source)?);
        }
        listed.name = Some(name);
        listed.pin = image.text_of("pinned") == Some("true");
        listed.locked = Some(digest);
        Ok(listed)
    };
    images.iter().map(|node| image(node)).collect()
}
