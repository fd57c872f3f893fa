//! Images made from code: layers from tar entries, configurations, manifests, indexes, in OCI or
//! docker media types. What is made here goes into a registry, onto a faulty server or into an OCI
//! layout.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use pullctl::oci::Digest;
use serde_json::{Value, json};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Bytes with the media type that names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { media_type: media_type.to_owned(), digest: Digest::of(&bytes), bytes }
    }

    /// The blob's descriptor as JSON.
    pub(crate) fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": self.digest.to_string(),
            "size": self.bytes.len(),
        })
    }
}

/// How a layer's tar is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    /// Quickly: by blocks that tell no codes.
    Gzip,
    /// As most builders do.
    SmallGzip,
    Zstd,
}

/// A layer: the packed blob and the digest of its tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) blob: Blob,
    pub(crate) diff_id: Digest,
}

impl Layer {
    /// Packs a tar with OCI media types.
    pub(crate) fn pack(tar: &[u8], packing: Packing) -> Self {
        let (suffix, bytes) = match packing {
            Packing::Plain => ("", tar.to_vec()),
            Packing::Gzip => ("+gzip", gzip(tar, Compression::fast())),
            Packing::SmallGzip => ("+gzip", gzip(tar, Compression::default())),
            Packing::Zstd => ("+zstd", zstd::encode_all(tar, 3).expect("memory takes it")),
        };
        Self { blob: Blob::new(&format!("{OCI_LAYER}{suffix}"), bytes), diff_id: Digest::of(tar) }
    }

    /// A gzip layer with one file, `name`, holding `content`.
    pub(crate) fn file(name: &str, content: &[u8]) -> Self {
        let tar = super::tree::Tree::new().file(name, content).into_tar();
        Self::pack(&tar, Packing::Gzip)
    }

    /// A gzip layer with Debian's static busybox as `sh`, `echo`, `sleep` and `sha256sum`.
    pub(crate) fn busybox() -> Self {
        let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let tar = super::tree::Tree::new()
            .directory("bin")
            .mode(0o755)
            .file("bin/busybox", &program)
            .symlink("bin/sh", "busybox")
            .symlink("bin/echo", "busybox")
            .symlink("bin/sleep", "busybox")
            .symlink("bin/sha256sum", "busybox")
            .file(&super::unique("etc/unique"), b"")
            .into_tar();
        Self::pack(&tar, Packing::Gzip)
    }

    /// An uncompressed layer with one file of `size` bytes that do not compress, other ones for
    /// each `seed`.
    pub(crate) fn noise(seed: &str, size: usize) -> Self {
        let tar = super::tree::Tree::new().file(seed, &noise(seed, size)).into_tar();
        Self::pack(&tar, Packing::Plain)
    }
}

fn gzip(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// `size` bytes of words that depend on `seed` alone, and compress as text does.
pub(crate) fn text(seed: u64, size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let letters = |random: &mut fastrand::Rng| random.u8(b'a'..=b'z');
    let words: Vec<Vec<u8>> = (0..3000)
        .map(|_| (0..random.usize(2..12)).map(|_| letters(&mut random)).collect())
        .collect();
    let mut text = Vec::with_capacity(size + 12);
    while text.len() < size {
        text.extend_from_slice(&words[random.usize(..words.len())]);
        text.push(b' ');
    }
    text.truncate(size);
    text
}

/// `size` bytes that look random and depend on `seed` alone.
pub(crate) fn noise(seed: &str, size: usize) -> Vec<u8> {
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = fastrand::Rng::with_seed(hash);
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes
}

/// The two families of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Oci,
    Docker,
}

/// A document of a registry (a manifest or an index) and everything below it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The topmost document.
    pub(crate) root: Blob,
    /// Manifests and indexes below the root, lowest first.
    pub(crate) documents: Vec<Blob>,
    /// Configurations and layers.
    pub(crate) blobs: Vec<Blob>,
    /// The platform of a single image, for the index that lists it.
    platform: Option<Value>,
}

/// What goes into one image besides its layers.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) layers: Vec<Layer>,
    pub(crate) family: Family,
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
    /// Members that replace or join those of the configuration.
    pub(crate) config: BTreeMap<String, Value>,
}

impl Recipe {
    /// An OCI image of these layers for linux/amd64.
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        Self {
            layers,
            family: Family::Oci,
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
            config: BTreeMap::new(),
        }
    }

    /// Another family of media types.
    pub(crate) fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Another platform, `os/architecture[/variant]`.
    pub(crate) fn platform(mut self, platform: &str) -> Self {
        let mut parts = platform.split('/').map(str::to_owned);
        self.os = parts.next().unwrap_or_default();
        self.architecture = parts.next().unwrap_or_default();
        self.variant = parts.next();
        self
    }

    /// A member of the configuration, `rootfs` for instance, as the test wants it.
    pub(crate) fn config(mut self, member: &str, value: Value) -> Self {
        self.config.insert(member.to_owned(), value);
        self
    }

    /// The finished image.
    pub(crate) fn build(self) -> Image {
        let layers: Vec<Blob> = self.layers.iter().map(|layer| self.in_family(layer)).collect();
        let config = self.configuration();
        let root = self.manifest(&config, &layers);
        let mut platform = json!({ "os": self.os, "architecture": self.architecture });
        if let (Some(variant), Some(members)) = (&self.variant, platform.as_object_mut()) {
            members.insert("variant".to_owned(), json!(variant));
        }
        let mut blobs = vec![config];
        blobs.extend(layers);
        Image { root, documents: Vec::new(), blobs, platform: Some(platform) }
    }

    fn in_family(&self, layer: &Layer) -> Blob {
        let mut blob = layer.blob.clone();
        if self.family == Family::Docker {
            blob.media_type = match blob.media_type.strip_prefix(OCI_LAYER) {
                // Docker knows no zstd; what builders write then is the OCI suffix.
                Some("+gzip") => format!("{DOCKER_LAYER}.gzip"),
                Some(suffix) => format!("{DOCKER_LAYER}{suffix}"),
                None => blob.media_type,
            };
        }
        blob
    }

    fn configuration(&self) -> Blob {
        let diff_ids: Vec<String> =
            self.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let mut config = json!({
            "architecture": self.architecture,
            "os": self.os,
            "config": { "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let members = config.as_object_mut().expect("it is an object");
        if let Some(variant) = &self.variant {
            members.insert("variant".to_owned(), json!(variant));
        }
        members.extend(self.config.iter().map(|(name, value)| (name.clone(), value.clone())));
        let media_type = match self.family {
            Family::Oci => OCI_CONFIG,
            Family::Docker => DOCKER_CONFIG,
        };
        Blob::new(media_type, bytes(&config))
    }

    fn manifest(&self, config: &Blob, layers: &[Blob]) -> Blob {
        let media_type = match self.family {
            Family::Oci => OCI_MANIFEST,
            Family::Docker => DOCKER_MANIFEST,
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        Blob::new(media_type, bytes(&manifest))
    }
}

impl Image {
    /// An image of one small gzip layer whose bytes no other test has.
    pub(crate) fn small() -> Self {
        let name = super::unique("small");
        Recipe::new(vec![Layer::file(&name, name.as_bytes())]).build()
    }

    /// An image whose container runs `command`, if nothing else is said.
    pub(crate) fn busybox(command: &[&str]) -> Self {
        Recipe::new(vec![Layer::busybox()])
            .family(Family::Docker)
            .config("config", json!({ "Cmd": command, "Env": ["PATH=/bin"] }))
            .build()
    }

    /// An index (or manifest list) of `images`, in this order.
    pub(crate) fn index(family: Family, images: Vec<Self>) -> Self {
        let entries = images.iter().map(Self::entry).collect();
        Self::index_of(family, entries, images)
    }

    /// An index whose entries the test wrote itself, over the content of `images`.
    pub(crate) fn index_of(family: Family, entries: Vec<Value>, images: Vec<Self>) -> Self {
        let media_type = match family {
            Family::Oci => OCI_INDEX,
            Family::Docker => DOCKER_LIST,
        };
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        let mut documents = Vec::new();
        let mut blobs = Vec::new();
        for image in images {
            documents.extend(image.documents);
            documents.push(image.root);
            blobs.extend(image.blobs);
        }
        Self { root: Blob::new(media_type, bytes(&index)), documents, blobs, platform: None }
    }

    /// The same image with a manifest that the test has changed.
    pub(crate) fn edit_manifest(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut manifest = serde_json::from_slice(&self.root.bytes).expect("the manifest is JSON");
        edit(&mut manifest);
        self.root = Blob::new(&self.root.media_type, bytes(&manifest));
        self
    }

    /// A buildkit attestation of this image, as an index lists it: platform `unknown/unknown`.
    pub(crate) fn attestation(&self) -> (Self, Value) {
        let statement = Blob::new("application/vnd.in-toto+json", b"{}".to_vec());
        let config =
            Blob::new(OCI_CONFIG, b"{\"architecture\":\"unknown\",\"os\":\"unknown\"}".to_vec());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": [statement.descriptor()],
        });
        let root = Blob::new(OCI_MANIFEST, bytes(&manifest));
        let mut entry = root.descriptor();
        entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": self.root.digest.to_string(),
        });
        let blobs = vec![config, statement];
        (Self { root, documents: Vec::new(), blobs, platform: None }, entry)
    }

    /// How an index lists this image.
    pub(crate) fn entry(&self) -> Value {
        let mut entry = self.root.descriptor();
        if let Some(platform) = &self.platform {
            entry["platform"] = platform.clone();
        }
        entry
    }

    /// Digest of the topmost document.
    pub(crate) fn digest(&self) -> String {
        self.root.digest.to_string()
    }

    /// Digest of a single image's configuration.
    pub(crate) fn config_digest(&self) -> String {
        self.blobs.first().expect("an image has a configuration").digest.to_string()
    }

    /// A single image's layers.
    pub(crate) fn layers(&self) -> &[Blob] {
        self.blobs.get(1..).unwrap_or_default()
    }

    /// Chain ID of a single image's topmost layer.
    pub(crate) fn chain_id(&self) -> String {
        self.chain_ids().pop().expect("the image has a layer")
    }

    /// Chain IDs of a single image's layers, lowest first, computed from its configuration.
    pub(crate) fn chain_ids(&self) -> Vec<String> {
        let config: Value =
            serde_json::from_slice(&self.blobs[0].bytes).expect("the configuration is JSON");
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("it has diff IDs");
        let chain = |below: &mut Option<String>, own: &str| {
            let chain_id = match below {
                Some(below) => Digest::of(format!("{below} {own}").as_bytes()).to_string(),
                None => own.to_owned(),
            };
            *below = Some(chain_id.clone());
            Some(chain_id)
        };
        diff_ids.iter().filter_map(Value::as_str).scan(None, chain).collect()
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON can be written")
}
