//! What is wrong with an image, and what would mend it.

use serde::Serialize;

use crate::containerd::Labels;
use crate::oci::{ChainId, Descriptor, Digest, LayerIdentity};
use crate::transfer::DocumentKind;
use crate::unpack::Differences;

/// Something that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Stable name, `blob-damaged`.
    pub code: &'static str,
    /// What is the matter, subject first.
    pub what: String,
    /// What comes of it.
    pub why: &'static str,
    /// The next step.
    pub fix: String,
    /// The blob, snapshot or name that it is about.
    pub subject: String,
    /// Files of a layer that are not what they should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileFinding>,
    /// How many there are in all; those that are listed are the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_total: Option<u64>,
    /// Whether it was mended.
    pub repaired: bool,
    /// What mends it.
    #[serde(skip)]
    pub(super) remedy: Remedy,
}

/// A file that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFinding {
    /// Stable name, `file-zeroed`.
    pub code: &'static str,
    /// Its path in the layer.
    pub path: String,
    /// How it is, and how it should be.
    pub what: String,
}

/// Something to know of an image in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Stable name, `blobs-let-go`.
    pub code: &'static str,
    /// What there is to know.
    pub what: String,
}

/// What mends a finding.
#[derive(Debug, Clone)]
pub(super) enum Remedy {
    /// The right bytes, from the registry.
    Fetch(Descriptor, DocumentKind),
    /// Labels on a blob.
    Label(Digest, Labels),
    /// A name, for what it should stand for.
    Name(String, Descriptor, Labels),
    /// The snapshots of these layers, base first, and the configuration that keeps them.
    Unpack(Unpacked),
    /// The files of one layer anew; its position counts from the base.
    Rewrite(Unpacked, usize),
    /// To remove a snapshot, and all on it, so that it is made anew.
    Discard(String, ChainId),
}

/// An image's layers in a snapshotter.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    pub(super) snapshotter: String,
    pub(super) config: Digest,
    pub(super) layers: Vec<(Descriptor, LayerIdentity)>,
}

impl Finding {
    pub(super) fn new(
        code: &'static str,
        subject: impl ToString,
        what: impl Into<String>,
        why: &'static str,
        remedy: Remedy,
    ) -> Self {
        let (subject, what) = (subject.to_string(), what.into());
        let (files, files_total) = (Vec::new(), None);
        let fix = String::new();
        Self { code, what, why, fix, subject, files, files_total, repaired: false, remedy }
    }

    pub(super) fn with_files(mut self, differences: &Differences) -> Self {
        let file = |difference: &crate::unpack::Difference| FileFinding {
            code: difference.kind.code(),
            path: difference.path.to_string().trim_matches('"').to_owned(),
            what: difference.detail.clone(),
        };
        self.files = differences.kept.iter().map(file).collect();
        self.files_total = Some(differences.total);
        self
    }

    /// Whether the other one is about the same, found at another time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.code == other.code && self.subject == other.subject
    }
}
