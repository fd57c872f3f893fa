//! What a registry lists of a repository, as documents: tags, and what refers to an image.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::oci::{Descriptor, Digest};
use crate::output::{table, units};
use crate::reference::Reference;

/// The tags of a repository.
#[derive(Debug, Serialize)]
pub(super) struct Tags {
    pub(super) repository: String,
    pub(super) tags: Vec<String>,
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tags.join("\n"))
    }
}

/// What refers to an image.
#[derive(Debug, Serialize)]
pub(super) struct Referrers {
    reference: String,
    digest: Digest,
    referrers: Vec<Referrer>,
}

#[derive(Debug, Serialize)]
struct Referrer {
    digest: Digest,
    artifact_type: Option<String>,
    media_type: String,
    size_bytes: u64,
    annotations: BTreeMap<String, String>,
}

impl Referrers {
    pub(super) fn new(reference: &Reference, digest: Digest, found: Vec<Descriptor>) -> Self {
        let referrer = |it: Descriptor| Referrer {
            digest: it.digest,
            artifact_type: it.artifact_type,
            media_type: it.media_type.as_str().to_owned(),
            size_bytes: it.size,
            annotations: it.annotations,
        };
        let referrers = found.into_iter().map(referrer).collect();
        Self { reference: reference.to_string(), digest, referrers }
    }
}

impl fmt::Display for Referrers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.referrers.is_empty() {
            return write!(f, "nothing refers to {}", self.digest);
        }
        let rows = self.referrers.iter().map(|it| {
            let kind = it.artifact_type.clone().unwrap_or_else(|| it.media_type.clone());
            [it.digest.to_string(), kind, units::bytes(it.size_bytes)]
        });
        f.write_str(&table(["DIGEST", "TYPE", "SIZE"], rows))
    }
}
