//! What is in an archive beside the blobs, in which order, and what things in it are called.
//!
//! An OCI layout for containerd, skopeo, umoci and podman, with the table of contents that docker and
//! podman read beside it. See <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>
//! and docker's <https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format>.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;
use serde::Serialize;

use super::error::Error;
use crate::oci::layout::{FULL_NAME, INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, REF_NAME, blob_file};
use crate::oci::{Compression, Descriptor, Index, MediaKind, MediaType};
use crate::reference::Reference;

/// Docker's table of contents.
const MANIFEST: &str = "manifest.json";

/// The directories of the blobs.
const DIRECTORIES: [&str; 2] = ["blobs/", "blobs/sha256/"];

/// Forms of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// An OCI layout with docker's table of contents beside its own.
    #[default]
    Oci,
    /// Docker's table of contents alone.
    Docker,
}

/// An image under one name.
#[derive(Debug)]
pub struct NamedTarget<'a> {
    /// The name.
    pub name: &'a Reference,
    /// What it stands for in the archive: an index or a manifest.
    pub target: Descriptor,
    /// The configuration and the layers, base first, of the image that docker takes; `None` where
    /// there is none that is a file system.
    pub runnable: Option<(Descriptor, Vec<Descriptor>)>,
}

/// The beginning of an archive: tables of contents, and directories.
#[derive(Debug)]
pub struct Contents {
    pub(super) files: Vec<(&'static str, Bytes)>,
    pub(super) directories: &'static [&'static str],
}

/// One image of docker's table of contents.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Contents {
    /// The tables of contents of an archive of `images`, in their order.
    ///
    /// # Errors
    /// [`Error::Packing`] for a layer that has no place in docker's form.
    pub fn of(form: Form, images: &[NamedTarget<'_>]) -> Result<Self, Error> {
        let docker = (MANIFEST, serde_json::to_vec(&docker_images(form, images)?)?.into());
        Ok(match form {
            Form::Docker => Self { files: vec![docker], directories: &[] },
            Form::Oci => {
                let layout = (LAYOUT_FILE, Bytes::from_static(LAYOUT_CONTENT.as_bytes()));
                let index = (INDEX_FILE, index(images)?.into());
                Self { files: vec![layout, index, docker], directories: &DIRECTORIES }
            }
        })
    }
}

impl Form {
    /// Where a blob is in an archive; `None` for one that has no place in it.
    pub fn path_of(self, blob: &Descriptor) -> Option<String> {
        let hex = blob.digest.hex();
        match (self, blob.kind()) {
            (Self::Oci, _) => Some(blob_file(&blob.digest)),
            (Self::Docker, MediaKind::Layer { compression: Compression::None, .. }) => {
                Some(format!("{hex}.tar"))
            }
            // Docker unpacks gzip, whatever the name, from 1.10 on, and zstd from 23 on.
            (Self::Docker, MediaKind::Layer { compression: Compression::Gzip, .. }) => {
                Some(format!("{hex}.tar.gz"))
            }
            (Self::Docker, MediaKind::Config) => Some(format!("{hex}.json")),
            (Self::Docker, _) => None,
        }
    }
}

fn index(images: &[NamedTarget<'_>]) -> Result<Vec<u8>, serde_json::Error> {
    let mut by_tag: HashMap<&str, usize> = HashMap::new();
    for tag in images.iter().filter_map(|image| bare_tag(image.name)) {
        *by_tag.entry(tag).or_default() += 1;
    }
    let entry = |image: &NamedTarget<'_>| {
        let full = image.name.to_string();
        // skopeo takes the first of two images with one tag: then both go by their whole names.
        let unique = bare_tag(image.name).filter(|tag| by_tag.get(tag) == Some(&1));
        let short = unique.map_or_else(|| full.clone(), str::to_owned);
        let names = [(REF_NAME, short), (FULL_NAME, full)];
        let mut entry = Descriptor::new(
            image.target.media_type.clone(),
            image.target.digest,
            image.target.size,
        );
        entry.platform.clone_from(&image.target.platform);
        entry.annotations = names.map(|(key, value)| (key.to_owned(), value)).into();
        entry
    };
    let index = Index {
        media_type: MediaType::new(OCI_IMAGE_INDEX_MEDIA_TYPE),
        artifact_type: None,
        manifests: images.iter().map(entry).collect(),
        subject: None,
        annotations: BTreeMap::new(),
    };
    index.to_json()
}

/// The tag, unless the name is a digest.
fn bare_tag(name: &Reference) -> Option<&str> {
    name.tag().filter(|_| name.digest().is_none())
}

/// Docker's table: one entry an image, under all its tags.
fn docker_images(form: Form, images: &[NamedTarget<'_>]) -> Result<Vec<DockerImage>, Error> {
    let path = |blob: &Descriptor| {
        let (digest, media_type) = (blob.digest, blob.media_type.to_string());
        form.path_of(blob).ok_or(Error::Packing { digest, media_type })
    };
    let mut listed: Vec<DockerImage> = Vec::new();
    for image in images {
        let Some((config, layers)) = &image.runnable else { continue };
        let config = path(config)?;
        let tag = bare_tag(image.name).map(|_| image.name.to_string());
        match listed.iter_mut().find(|listed| listed.config == config) {
            Some(listed) => listed.repo_tags.extend(tag),
            None => listed.push(DockerImage {
                config,
                repo_tags: tag.into_iter().collect(),
                layers: layers.iter().map(path).collect::<Result<_, _>>()?,
            }),
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::Digest;

    fn blob(kind: &str, bytes: &str) -> Descriptor {
        let media_type = MediaType::new(format!("application/vnd.oci.image.{kind}"));
        Descriptor::new(media_type, Digest::of(bytes.as_bytes()), bytes.len() as u64)
    }

    /// The files of an archive of an image for each name, those of the same letter being the same.
    fn tables(names: &[(&str, &str)]) -> [Value; 2] {
        let names: Vec<(Reference, &str)> =
            names.iter().map(|(name, image)| (name.parse().unwrap(), *image)).collect();
        let images: Vec<NamedTarget<'_>> = names
            .iter()
            .map(|(name, image)| NamedTarget {
                name,
                target: blob("manifest.v1+json", image),
                runnable: Some((
                    blob("config.v1+json", image),
                    vec![blob("layer.v1.tar+gzip", "layer")],
                )),
            })
            .collect();
        let contents = Contents::of(Form::Oci, &images).unwrap();
        assert_eq!(contents.files[0].0, "oci-layout");
        [1, 2].map(|file| serde_json::from_slice(&contents.files[file].1).unwrap())
    }

    fn ref_names(index: &Value) -> Vec<&str> {
        let entries = index["manifests"].as_array().unwrap();
        entries.iter().filter_map(|entry| entry["annotations"][REF_NAME].as_str()).collect()
    }

    #[test]
    fn two_images_with_one_tag_go_by_their_whole_names() {
        let [index, _] =
            tables(&[("quay.io/a/b:1", "x"), ("busybox:1", "y"), ("quay.io/c:2", "z")]);
        assert_eq!(ref_names(&index), ["quay.io/a/b:1", "docker.io/library/busybox:1", "2"]);
        assert_eq!(index["manifests"][2]["annotations"][FULL_NAME], "quay.io/c:2");
    }

    #[test]
    fn a_digest_is_no_tag() {
        let name = format!("quay.io/a/b@{}", Digest::of(b"x"));
        let [index, docker] = tables(&[(&name, "x")]);
        assert_eq!(ref_names(&index), [&*name]);
        assert_eq!(docker[0]["RepoTags"], json!([]));
    }

    #[test]
    fn docker_gets_one_image_under_all_its_tags() {
        let [_, docker] = tables(&[("a:1", "x"), ("b:1", "y"), ("a:2", "x")]);
        let tags: Vec<&Value> = docker.as_array().unwrap().iter().map(|i| &i["RepoTags"]).collect();
        let named = |tags: &[&str]| -> Value {
            tags.iter().map(|tag| format!("docker.io/library/{tag}")).collect()
        };
        assert_eq!(tags, [&named(&["a:1", "a:2"]), &named(&["b:1"])]);
        let layer = format!("blobs/sha256/{}", Digest::of(b"layer").hex());
        assert_eq!(docker[0]["Layers"], json!([layer]));
    }

    #[test]
    fn dockers_own_form_has_places_for_what_old_dockers_take() {
        let path = |kind: &str| Form::Docker.path_of(&blob(kind, "x"));
        let hex = Digest::of(b"x").hex();
        assert_eq!(path("config.v1+json"), Some(format!("{hex}.json")));
        assert_eq!(path("layer.v1.tar"), Some(format!("{hex}.tar")));
        assert_eq!(path("layer.v1.tar+gzip"), Some(format!("{hex}.tar.gz")));
        assert_eq!(path("layer.v1.tar+zstd"), None);
        assert_eq!(path("manifest.v1+json"), None);
    }
}
