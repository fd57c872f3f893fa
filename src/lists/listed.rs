//! An image of a list: where it stands, and what is to be done about it.

use std::fmt;

use secrecy::SecretString;

use super::error::Place;
use crate::failure::Notice;
use crate::oci::Digest;
use crate::platform::Platform;
use crate::reference::Reference;

/// What one file lists.
#[derive(Debug, Default)]
pub struct List {
    /// In the order of the file, some perhaps several times.
    pub images: Vec<Listed>,
    /// Logins that came along.
    pub secrets: Vec<PullSecret>,
    /// What should be known of it.
    pub notices: Vec<Notice>,
    /// Whose images kubeadm knows.
    pub(super) clusters: Vec<Cluster>,
}

/// A ClusterConfiguration of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Where it stands.
    pub(super) place: Place,
    /// `imageRepository`, or that it is kubeadm's own.
    pub(super) repository: String,
    /// `kubernetesVersion`, or that it is kubeadm's own.
    pub(super) version: String,
}

/// One place that names an image.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The image.
    pub reference: Reference,
    /// Where.
    pub place: Place,
    /// In what.
    pub origin: Origin,
    /// `platform=`; none where the line says nothing.
    pub platforms: Vec<Platform>,
    /// `pin`
    pub pin: bool,
    /// `as=`: what the image is to be called.
    pub name: Option<Reference>,
    /// The digest that a lock has for it.
    pub locked: Option<Digest>,
    /// Whose logins are for it.
    pub logins: Option<PodLogins>,
}

impl Listed {
    /// An image without options.
    pub(super) fn new(reference: Reference, place: Place, origin: Origin) -> Self {
        Self {
            reference,
            place,
            origin,
            platforms: Vec::new(),
            pin: false,
            name: None,
            locked: None,
            logins: None,
        }
    }
}

/// In what an image is named. Displays as `Deployment/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `Deployment`, or `list` for a line.
    pub kind: String,
    /// The object's name.
    pub name: Option<String>,
    /// Where in the object: `container app`.
    pub field: Option<String>,
}

impl Origin {
    /// A line of a list.
    pub(super) fn line() -> Self {
        Self { kind: "list".to_owned(), name: None, field: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match &self.name {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

/// The `imagePullSecrets` of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodLogins {
    /// The pod's namespace, where it is said.
    pub namespace: Option<String>,
    /// The Secrets' names, in the pod's order.
    pub secrets: Vec<String>,
}

impl PodLogins {
    /// Those of `secrets` that are the pod's. A manifest need not say its namespace, so none said fits
    /// any.
    pub fn among<'a>(&self, secrets: &'a [PullSecret]) -> Vec<&'a PullSecret> {
        let is_near = |secret: &PullSecret| match (&self.namespace, &secret.namespace) {
            (Some(pods), Some(secrets)) => pods == secrets,
            _ => true,
        };
        let named = |name: &String| secrets.iter().find(|it| it.name == *name && is_near(it));
        self.secrets.iter().filter_map(named).collect()
    }
}

/// Logins out of a Secret. `Debug` shows none.
#[derive(Debug, Clone)]
pub struct PullSecret {
    /// Where the Secret stands.
    pub place: Place,
    /// Its namespace, where it is said.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// docker's configuration, a JSON object.
    pub content: SecretString,
}
