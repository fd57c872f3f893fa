//! What the kubelet remembers of the images that it has pulled: files below `image_manager`.
//!
//! See <https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/2535-ensure-secret-pulled-images>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::error::{Error, Location};
use crate::oci::Digest;

/// Longest record that is read, in bytes (1 MiB): a line for each Secret by which a pod may use the image.
const MAX_BYTES: u64 = 1 << 20;

/// The records of one kubelet.
#[derive(Debug, Clone)]
pub struct ImageRecords {
    directory: PathBuf,
}

/// An image that the kubelet has pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledRecord {
    /// Its ID, as the CRI tells it.
    pub image_id: String,
    /// Under which names, without tag and digest, and who may use it by each.
    pub access: BTreeMap<String, Access>,
}

/// Who may use an image by one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Every pod of the node.
    pub every_pod: bool,
    /// Those with one of these Secrets or service accounts, `namespace/name`.
    pub holders: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    kind: String,
    image_ref: String,
    #[serde(default)]
    credential_mapping: BTreeMap<String, Credentials>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Credentials {
    node_pods_accessible: bool,
    kubernetes_secrets: Vec<Holder>,
    kubernetes_service_accounts: Vec<Holder>,
}

#[derive(Deserialize)]
struct Holder {
    namespace: String,
    name: String,
}

impl ImageRecords {
    pub(super) fn below(root_directory: &Path) -> Self {
        Self { directory: root_directory.join("image_manager") }
    }

    /// Whether the kubelet keeps any.
    pub fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    /// The record of the image with this ID, as the CRI tells it; `None` where the kubelet has not pulled
    /// it.
    ///
    /// # Errors
    /// [`Error`] for a file that cannot be read, or is no record.
    pub fn pulled(&self, image_id: &str) -> Result<Option<PulledRecord>, Error> {
        let path = self.file("pulled", image_id);
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(unreadable(source)),
        };
        let mut content = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(unreadable(io::Error::other("it is longer than 1 MiB")));
        }
        let record = serde_json::from_slice::<Record>(&content).ok();
        let record = record.filter(|record| record.kind == "ImagePulledRecord");
        let Some(Record { image_ref, credential_mapping, .. }) = record else {
            return Err(Error::Invalid {
                location: Box::new(Location::unquoted(&path, 1, 1)),
                problem: "the file is no record of a pull".to_owned(),
                expected: "an ImagePulledRecord of kubelet.config.k8s.io".to_owned(),
            });
        };
        let access = credential_mapping.into_iter().map(|(name, who)| (name, who.into()));
        Ok(Some(PulledRecord { image_id: image_ref, access: access.collect() }))
    }

    /// Whether the kubelet began to pull `image`, as a pod has written it, and never told the end.
    pub fn is_intended(&self, image: &str) -> bool {
        self.file("pulling", image).is_file()
    }

    fn file(&self, kind: &str, of: &str) -> PathBuf {
        let name = format!("sha256-{}", Digest::of(of.as_bytes()).hex());
        self.directory.join(kind).join(name)
    }
}

impl From<Credentials> for Access {
    fn from(credentials: Credentials) -> Self {
        let Credentials { node_pods_accessible, kubernetes_secrets, kubernetes_service_accounts } =
            credentials;
        let holders = kubernetes_secrets.into_iter().chain(kubernetes_service_accounts);
        let holders = holders.map(|holder| format!("{}/{}", holder.namespace, holder.name));
        Self { every_pod: node_pods_accessible, holders: holders.collect() }
    }
}
