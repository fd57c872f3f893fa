//! docker's archives, as `docker save`, `podman save`, skopeo and many builders write them:
//! `manifest.json` says which files are an image's configuration and layers.
//!
//! They have no manifest by which a registry would know the image. One is made, with the members and in
//! the order of `ctr images import`, so that the same archive gets the same digest on every node and by
//! either tool: docker's types, the configuration, the layers as they lie in the archive. Layers are
//! uncompressed most often; their digests are then their diff IDs.
//!
//! See <https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md>.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::Packing;
use super::error::Problem;
use super::images::{ArchiveImage, Files, FoundLayer, GivenName, NamedLayer, Understood};
use crate::oci::{Descriptor, Digest, ImageConfig, MAX_MANIFEST_BYTES, Manifest, MediaType};
use crate::tar::EntryName;

/// The table of contents.
pub(super) const MANIFEST_FILE: &str = "manifest.json";

/// The names, before there was a [`MANIFEST_FILE`].
pub(super) const REPOSITORIES_FILE: &str = "repositories";

/// Most images, and most layers and names of each.
const MAX_LISTED: usize = 4096;

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";
const GZIP_LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// docker's own type for zstd is one that containerd 1.6 and 1.7 do not unpack.
const ZSTD_LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// An image in `manifest.json`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Listed<String>,
    #[serde(default)]
    layers: Listed<String>,
}

/// A list of bounded length; `null` is an empty one, as Go writes it.
#[derive(Debug)]
struct Listed<T>(Vec<T>);

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListedVisitor(PhantomData))
    }
}

struct ListedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListedVisitor<T> {
    type Value = Listed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_LISTED} entries")
    }

    fn visit_unit<E>(self) -> Result<Listed<T>, E> {
        Ok(Listed::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Listed<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = seq.next_element()? {
            if list.len() >= MAX_LISTED {
                return Err(serde::de::Error::invalid_length(list.len() + 1, &self));
            }
            list.push(entry);
        }
        Ok(Listed(list))
    }
}

/// What `manifest`, the content of `manifest.json`, says of `files`.
pub(super) fn understand(manifest: &[u8], files: &impl Files) -> Result<Understood, Problem> {
    let name = || EntryName::new(MANIFEST_FILE.as_bytes());
    let items: Listed<Item> = serde_json::from_slice(manifest)
        .map_err(|source| Problem::Json { name: name(), source })?;
    let mut understood = Understood::default();
    for item in items.0 {
        add(&mut understood, item, files)?;
    }
    Ok(understood)
}

fn add(understood: &mut Understood, item: Item, files: &impl Files) -> Result<(), Problem> {
    let Item { config: config_name, repo_tags, layers } = item;
    let config = config_in(files, &config_name)?;
    let unusable =
        |source| Problem::Document { name: EntryName::new(config_name.as_bytes()), source };
    let diff_ids = ImageConfig::parse(&config, layers.0.len()).map_err(unusable)?.diff_ids;
    let named: Vec<NamedLayer> = layers
        .0
        .into_iter()
        .zip(diff_ids)
        .map(|(name, diff_id)| NamedLayer { name, diff_id: diff_id.0 })
        .collect();
    let found = files.layers(&named)?;
    for (named, found) in named.into_iter().zip(&found) {
        understood.blobs.entry(found.digest).or_insert(named.name);
    }
    let manifest = Bytes::from(made(&config, &found).to_json().map_err(|source| {
        Problem::Json { name: EntryName::new(MANIFEST_FILE.as_bytes()), source }
    })?);
    let target = descriptor(MANIFEST_TYPE, &manifest);
    let names = repo_tags.0.iter().filter_map(|tag| GivenName::of_repo_tag(tag));
    match understood.images.iter_mut().find(|image| image.target.digest == target.digest) {
        Some(image) => image.names.extend(names),
        None => {
            let names = names.collect();
            understood.images.push(ArchiveImage { names, target, is_remade: true });
        }
    }
    for document in [config, manifest] {
        understood.documents.insert(Digest::of(&document), document);
    }
    Ok(())
}

/// The configuration in the file that `manifest.json` calls `name`; a digest in the name must be right.
fn config_in(files: &impl Files, name: &str) -> Result<Bytes, Problem> {
    let shown = || EntryName::new(name.as_bytes());
    let config = files.read(name, MAX_MANIFEST_BYTES)?.ok_or_else(|| Problem::Missing(shown()))?;
    let actual = Digest::of(&config);
    match digest_in(name) {
        Some(expected) if expected != actual => {
            Err(Problem::OtherContent { name: shown(), expected, actual })
        }
        _ => Ok(config),
    }
}

/// The digest that a file's name tells: `<hex>.json`, `<hex>.tar`, `sha256:<hex>`, `blobs/sha256/<hex>`.
pub(super) fn digest_in(name: &str) -> Option<Digest> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file.split('.').next().unwrap_or(file);
    let hex = stem.strip_prefix("sha256:").unwrap_or(stem);
    format!("sha256:{hex}").parse().ok()
}

/// The manifest of an image.
fn made(config: &[u8], layers: &[FoundLayer]) -> Manifest {
    let layer = |layer: &FoundLayer| {
        let media_type = match layer.packing {
            Packing::Plain => LAYER_TYPE,
            Packing::Gzip => GZIP_LAYER_TYPE,
            Packing::Zstd => ZSTD_LAYER_TYPE,
        };
        Descriptor::new(MediaType::new(media_type), layer.digest, layer.size)
    };
    Manifest {
        media_type: MediaType::new(MANIFEST_TYPE),
        artifact_type: None,
        config: descriptor(CONFIG_TYPE, config),
        layers: layers.iter().map(layer).collect(),
        subject: None,
        annotations: BTreeMap::new(),
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::new(media_type), Digest::of(content), content.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Files in memory, whose layers are plain.
    struct Memory(HashMap<String, Bytes>);

    impl Files for Memory {
        fn read(&self, name: &str, _: u64) -> Result<Option<Bytes>, Problem> {
            Ok(self.0.get(name).cloned())
        }

        fn layers(&self, named: &[NamedLayer]) -> Result<Vec<FoundLayer>, Problem> {
            let found = |layer: &NamedLayer| {
                let size = self.0.get(&layer.name).map_or(0, |content| content.len() as u64);
                FoundLayer { digest: layer.diff_id, size, packing: Packing::Plain }
            };
            Ok(named.iter().map(found).collect())
        }
    }

    fn config(layers: &[&str]) -> String {
        let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect();
        let json = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "diff_ids": diff_ids },
        });
        json.to_string()
    }

    fn understood(manifest: &str, files: &[(&str, &str)]) -> Result<Understood, Problem> {
        let files = files
            .iter()
            .map(|(name, content)| ((*name).to_owned(), Bytes::from((*content).to_owned())));
        understand(manifest.as_bytes(), &Memory(files.collect()))
    }

    #[test]
    fn an_image_gets_the_manifest_that_ctr_makes_of_it() {
        let config = config(&["layer"]);
        let manifest = r#"[{"Config":"c.json","RepoTags":["busybox:1"],"Layers":["l/layer.tar"]}]"#;
        let found = understood(manifest, &[("c.json", &config), ("l/layer.tar", "layer")]).unwrap();
        let [image] = found.images.as_slice() else { panic!("{found:?}") };
        let made = std::str::from_utf8(&found.documents[&image.target.digest]).unwrap();
        let (digest, size) = (Digest::of(config.as_bytes()), config.len());
        let layer = Digest::of(b"layer");
        let expected = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST_TYPE}\",\
             \"config\":{{\"mediaType\":\"{CONFIG_TYPE}\",\"digest\":\"{digest}\",\"size\":{size}}},\
             \"layers\":[{{\"mediaType\":\"{LAYER_TYPE}\",\"digest\":\"{layer}\",\"size\":5}}]}}"
        );
        assert_eq!(made, expected);
        assert_eq!(found.blobs[&layer], "l/layer.tar");
        assert_eq!(image.names, [GivenName::Full("busybox:1".to_owned())]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let right = config(&["layer"]);
        let named = format!("{}.json", Digest::of(b"other").hex());
        for (manifest, file) in [
            (r#"{"Config":"c.json"}"#.to_owned(), "c.json"),
            (r#"[{"Layers":[]}]"#.to_owned(), "c.json"),
            (r#"[{"Config":"c.json","Layers":["a"]}]"#.to_owned(), "d.json"),
            (r#"[{"Config":"c.json","Layers":["a","b"]}]"#.to_owned(), "c.json"),
            (format!(r#"[{{"Config":"{named}","Layers":["a"]}}]"#), &named),
            (format!("[{}]", vec![r#"{"Config":"c"}"#; MAX_LISTED + 1].join(",")), "c.json"),
        ] {
            assert!(understood(&manifest, &[(file, &right)]).is_err(), "{manifest}");
        }
        let none = understood(
            r#"[{"Config":"c.json","RepoTags":null,"Layers":["a"]}]"#,
            &[("c.json", &right), ("a", "layer")],
        );
        assert_eq!(none.unwrap().images[0].names, []);
    }

    #[test]
    fn digests_are_read_out_of_names() {
        let digest = Digest::of(b"");
        let hex = digest.hex();
        for name in [
            format!("{hex}.json"),
            format!("{hex}.tar.gz"),
            format!("sha256:{hex}"),
            format!("blobs/sha256/{hex}"),
        ] {
            assert_eq!(digest_in(&name), Some(digest), "{name}");
        }
        assert_eq!(digest_in(&format!("{hex}/layer.tar")), None);
        assert_eq!(digest_in("config.json"), None);
    }
}
