//! Two images side by side, as a document.

use std::fmt;

use serde::Serialize;

use super::inspection::{line, shown};
use crate::check::{Contrast, Part};
use crate::oci::Digest;
use crate::output::{table, units};

/// Two images side by side.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    references: [String; 2],
    digests: [Digest; 2],
    #[serde(flatten)]
    contrast: Contrast,
}

impl Comparison {
    pub(super) fn new(references: [String; 2], parts: [&Part; 2], contrast: Contrast) -> Self {
        Self { references, digests: parts.map(|part| part.descriptor.digest), contrast }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contrast { configuration, size_bytes, .. } = &self.contrast;
        let it = &self.contrast;
        for (name, (reference, (digest, size))) in ["first", "second"]
            .iter()
            .zip(self.references.iter().zip(self.digests.iter().zip(size_bytes)))
        {
            line(f, name, &format!("{reference}, {digest}, {}", units::bytes(*size)))?;
        }
        line(f, "image", if it.same_image { "the same" } else { "another one" })?;
        let count = |layers: &[Digest], bytes| format!("{}, {}", layers.len(), units::bytes(bytes));
        line(
            f,
            "shared",
            &format!(
                "{} of layers, {} from the base up",
                count(&it.shared_layers, it.shared_bytes),
                it.common_base_layers
            ),
        )?;
        line(f, "only first", &count(&it.only_first, it.only_first_bytes))?;
        line(f, "only second", &count(&it.only_second, it.only_second_bytes))?;
        let cell = |value: &Option<String>| value.as_deref().map_or("-".to_owned(), shown);
        let rows = configuration
            .iter()
            .map(|change| [change.member.clone(), cell(&change.first), cell(&change.second)]);
        match configuration.is_empty() {
            true => write!(f, "  the configurations say the same"),
            false => write!(f, "{}", table(["CONFIGURATION", "FIRST", "SECOND"], rows)),
        }
    }
}
