//! Images in the registry: their layers are made, pushed once and described.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Mutex;
use std::thread;

use pullctl::oci::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::content::Tree;
use crate::layer::{Layer, Packing};
use crate::origin::Origin;
use crate::support::image::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST,
};

/// Layers packed at once.
const PACKERS: usize = 2;

/// Tag of the images. A kept registry that has it needs no new ones, so another number is due
/// whenever the trees change.
const TAG: &str = "v1";

/// An image to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) repository: String,
    pub(crate) layers: Vec<Tree>,
    pub(crate) packing: Packing,
}

impl Recipe {
    /// The type of a layer. An image whose layers are packed with zstd is of OCI's types, since
    /// containerd 1.6 does not know docker's for it.
    fn layer_type(&self) -> String {
        match self.packing {
            Packing::Gzip => format!("{DOCKER_LAYER}.gzip"),
            Packing::Zstd => format!("{OCI_LAYER}+zstd"),
        }
    }

    fn config_type(&self) -> &'static str {
        match self.packing {
            Packing::Gzip => DOCKER_CONFIG,
            Packing::Zstd => OCI_CONFIG,
        }
    }

    fn manifest_type(&self) -> &'static str {
        match self.packing {
            Packing::Gzip => DOCKER_MANIFEST,
            Packing::Zstd => OCI_MANIFEST,
        }
    }
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) repository: String,
    pub(crate) manifest: Descriptor,
    /// Digest of its configuration.
    pub(crate) config: String,
    /// Digests and sizes of its layers, lowest first.
    pub(crate) layers: Vec<(String, u64)>,
}

impl Published {
    /// The image's name at `authority`.
    pub(crate) fn reference(&self, authority: &str) -> String {
        format!("{authority}/{}:{TAG}", self.repository)
    }

    /// Where its manifest is to be had, by the tag.
    pub(crate) fn manifest_url(&self, authority: &str) -> String {
        manifest_url(authority, &self.repository)
    }

    /// Whether all of it is at `authority`, its manifest as whoever brought it has written it.
    pub(crate) fn is_at(&self, authority: &str) -> bool {
        let manifest = ureq::head(self.manifest_url(authority));
        let manifest = manifest.header("accept", format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}"));
        let has_blob = |digest: &str| ureq::head(self.blob_url(authority, digest)).call().is_ok();
        manifest.call().is_ok() && self.layers.iter().all(|(digest, _)| has_blob(digest))
    }

    /// Its manifest, from `authority`.
    pub(crate) fn document(&self, authority: &str) -> Result<Document, String> {
        let request = ureq::get(self.manifest_url(authority));
        let request = request.header("accept", format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}"));
        let answer = request.call().map_err(|error| error.to_string());
        let bytes = answer?.body_mut().read_to_vec().map_err(|error| error.to_string())?;
        Ok(Document { bytes })
    }

    /// Where one of its blobs is to be had.
    pub(crate) fn blob_url(&self, authority: &str, digest: &str) -> String {
        format!("http://{authority}/v2/{}/blobs/{digest}", self.repository)
    }
}

fn manifest_url(authority: &str, repository: &str) -> String {
    format!("http://{authority}/v2/{repository}/manifests/{TAG}")
}

/// A manifest as it is written.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    /// Digests and sizes of the configuration and the layers.
    pub(crate) fn blobs(&self) -> Result<Vec<(String, u64)>, String> {
        let manifest: Value =
            serde_json::from_slice(&self.bytes).map_err(|error| error.to_string())?;
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let blob =
            |entry: &Value| Some((entry["digest"].as_str()?.to_owned(), entry["size"].as_u64()?));
        let blobs: Option<Vec<_>> =
            [&manifest["config"]].into_iter().chain(layers).map(blob).collect();
        blobs.ok_or_else(|| "a manifest without digests or sizes".to_owned())
    }
}

/// Makes images and pushes them to one registry.
pub(crate) struct Publisher<'a> {
    agent: Agent,
    origin: &'a Origin,
    /// Layers that the registry has, and in which repository.
    pushed: HashMap<(Tree, Packing), (Layer, String)>,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(origin: &'a Origin) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).build();
        Self { agent: config.new_agent(), origin, pushed: HashMap::new() }
    }

    /// Sees to it that the registry has the image.
    pub(crate) fn publish(&mut self, recipe: &Recipe) -> Published {
        if let Some(published) = self.find(&recipe.repository) {
            return published;
        }
        let packing = recipe.packing;
        let is_pushed = |tree: &Tree| self.pushed.contains_key(&(*tree, packing));
        let missing: Vec<Tree> =
            recipe.layers.iter().filter(|tree| !is_pushed(tree)).copied().collect();
        let folder =
            tempfile::tempdir_in(self.origin.directory()).expect("a temporary folder can be made");
        let queue = Mutex::new(missing.iter().enumerate());
        let packed = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..PACKERS {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().expect("no packer panicked").next();
                        let Some((index, tree)) = next else { break };
                        let file = folder.path().join(index.to_string());
                        let layer =
                            Layer::pack(*tree, packing, file).expect("the disk takes the layer");
                        packed.lock().expect("no packer panicked").push((*tree, layer));
                    }
                });
            }
        });
        for (tree, layer) in packed.into_inner().expect("no packer panicked") {
            let content = File::open(&layer.file).expect("the layer was written");
            self.push(&recipe.repository, &layer.digest, |request| request.send(content));
            self.pushed.insert((tree, packing), (layer, recipe.repository.clone()));
        }
        self.describe(recipe);
        self.find(&recipe.repository).expect("the registry has what it was given")
    }

    fn find(&self, repository: &str) -> Option<Published> {
        let url = manifest_url(self.origin.authority(), repository);
        let accepted = format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}");
        let request = self.agent.get(url).header("accept", accepted);
        let mut answer = request.call().expect("the registry answers");
        if answer.status() != 200 {
            return None;
        }
        let text = answer.body_mut().read_to_string().expect("the manifest arrives");
        let manifest: Value = serde_json::from_str(&text).expect("the manifest is JSON");
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let layers = layers
            .map(|layer| {
                let digest = layer["digest"].as_str().expect("a layer has a digest");
                (digest.to_owned(), layer["size"].as_u64().expect("a layer has a size"))
            })
            .collect();
        let config = manifest["config"]["digest"].as_str().expect("a manifest has a config");
        let media_type = manifest["mediaType"].as_str().expect("a manifest has a type");
        let media_type = MediaType::new(media_type);
        Some(Published {
            repository: repository.to_owned(),
            manifest: Descriptor::new(media_type, Digest::of(text.as_bytes()), text.len() as u64),
            config: config.to_owned(),
            layers,
        })
    }

    fn describe(&self, recipe: &Recipe) {
        let layers: Vec<&(Layer, String)> = recipe
            .layers
            .iter()
            .filter_map(|tree| self.pushed.get(&(*tree, recipe.packing)))
            .collect();
        for (layer, home) in &layers {
            self.mount(&recipe.repository, &layer.digest, home);
        }
        let diff_ids: Vec<String> =
            layers.iter().map(|(layer, _)| layer.diff_id.to_string()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Cmd": ["/bin/sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string();
        let digest = Digest::of(config.as_bytes());
        self.push(&recipe.repository, &digest, |request| request.send(config.as_bytes()));
        let descriptor = |kind: &str, digest: &Digest, size: u64| json!({ "mediaType": kind, "digest": digest.to_string(), "size": size });
        let kind = recipe.layer_type();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": recipe.manifest_type(),
            "config": descriptor(recipe.config_type(), &digest, config.len() as u64),
            "layers": layers
                .iter()
                .map(|(layer, _)| descriptor(&kind, &layer.digest, layer.bytes))
                .collect::<Vec<_>>(),
        });
        let url =
            format!("http://{}/v2/{}/manifests/{TAG}", self.origin.authority(), recipe.repository);
        let request = self.agent.put(url).header("content-type", recipe.manifest_type());
        check(request.send(manifest.to_string()));
    }

    /// Lets a repository share a blob with another one.
    fn mount(&self, repository: &str, digest: &Digest, home: &str) {
        if repository != home {
            let query = format!("?mount={digest}&from={home}");
            check(self.agent.post(self.uploads(repository) + &query).send_empty());
        }
    }

    fn push(
        &self,
        repository: &str,
        digest: &Digest,
        send: impl FnOnce(
            ureq::RequestBuilder<ureq::typestate::WithBody>,
        ) -> Result<Response<Body>, ureq::Error>,
    ) {
        let started = check(self.agent.post(self.uploads(repository)).send_empty());
        let location = started.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.expect("the registry says where to upload");
        let request = self.agent.put(format!("{location}&digest={digest}"));
        check(send(request.header("content-type", "application/octet-stream")));
    }

    fn uploads(&self, repository: &str) -> String {
        format!("http://{}/v2/{repository}/blobs/uploads/", self.origin.authority())
    }
}

fn check(answer: Result<Response<Body>, ureq::Error>) -> Response<Body> {
    let answer = answer.expect("the registry answers");
    assert!(answer.status().is_success(), "the registry refuses: {answer:?}");
    answer
}
