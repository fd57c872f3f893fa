//! What a manifest is that is no container image, and the tool that it is for.

use std::fmt;

use super::Manifest;

/// Beginnings of types, what has them, and what fetches it. The first that fits counts.
const KINDS: [(&str, &str, &str); 20] = [
    ("application/vnd.cncf.helm.", "a Helm chart", "helm pull oci://"),
    ("application/vnd.dev.cosign.", "a signature of cosign", "cosign verify"),
    ("application/vnd.dev.sigstore.", "a signature of sigstore", "cosign verify"),
    ("application/vnd.cncf.notary.", "a signature of Notary", "notation verify"),
    ("application/vnd.ollama.", "a model of Ollama", "ollama pull"),
    ("application/vnd.docker.ai.", "a model", "docker model pull"),
    ("application/vnd.cncf.model.", "a model", "modctl pull"),
    ("application/vnd.kitops.", "a ModelKit", "kit pull"),
    ("application/vnd.cncf.flux.", "configuration of Flux", "flux pull artifact oci://"),
    ("application/vnd.cncf.openpolicyagent.", "policies of OPA", "conftest pull oci://"),
    ("application/vnd.cncf.falco.", "rules of Falco", "falcoctl artifact install"),
    ("application/vnd.wasm.", "a WebAssembly component", "wkg oci pull"),
    ("application/vnd.module.wasm.", "a WebAssembly module", "wkg oci pull"),
    ("application/vnd.docker.plugin.", "a plugin of docker", "docker plugin install"),
    ("application/vnd.homebrew.", "a package of Homebrew", "brew install"),
    ("application/spdx", "an SBOM", "oras pull"),
    ("application/vnd.cyclonedx", "an SBOM", "oras pull"),
    ("application/vnd.syft", "an SBOM", "oras pull"),
    ("application/vnd.in-toto", "an attestation", "cosign verify-attestation"),
    ("", "an artifact", "oras pull"),
];

/// Types that say nothing of what has them.
const SILENT: [&str; 4] = [
    "application/vnd.oci.empty.v1+json",
    "application/vnd.unknown.config.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/json",
];

/// Something else than a container image. Displays as what it is: `a Helm chart (TYPE)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    what: &'static str,
    tool: &'static str,
    media_type: String,
}

impl Artifact {
    /// What `manifest` is by its `artifactType`, the type of its configuration, or that of its first layer.
    pub fn of(manifest: &Manifest) -> Self {
        let config = manifest.config.media_type.as_str();
        let layer = manifest.layers.first().map(|layer| layer.media_type.as_str());
        let types = [manifest.artifact_type.as_deref(), Some(config), layer];
        let telling = types.into_iter().flatten().find(|text| !SILENT.contains(text));
        let media_type = telling.unwrap_or(config);
        let (_, what, tool) =
            KINDS.into_iter().find(|(start, ..)| media_type.starts_with(start)).unwrap_or_default();
        Self { what, tool, media_type: media_type.to_owned() }
    }

    /// What fetches it, as it is typed: `helm pull oci://`, `oras pull`.
    pub fn tool(&self) -> &'static str {
        self.tool
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.media_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Descriptor, Digest, MediaType};

    #[test]
    fn an_artifact_is_known_by_the_first_type_that_tells() {
        let empty = "application/vnd.oci.empty.v1+json";
        for (artifact_type, config, layer, expected, tool) in [
            (
                None,
                "application/vnd.cncf.helm.config.v1+json",
                "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                "a Helm chart (application/vnd.cncf.helm.config.v1+json)",
                "helm pull oci://",
            ),
            (
                Some("application/spdx+json"),
                empty,
                "text/plain",
                "an SBOM (application/spdx+json)",
                "oras pull",
            ),
            (
                None,
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.dev.cosign.simplesigning.v1+json",
                "a signature of cosign (application/vnd.dev.cosign.simplesigning.v1+json)",
                "cosign verify",
            ),
            (None, empty, "text/plain", "an artifact (text/plain)", "oras pull"),
            (None, empty, empty, "an artifact (application/vnd.oci.empty.v1+json)", "oras pull"),
        ] {
            let descriptor = |kind: &str| Descriptor::new(MediaType::new(kind), Digest::of(b""), 0);
            let manifest = Manifest {
                media_type: MediaType::new("application/vnd.oci.image.manifest.v1+json"),
                artifact_type: artifact_type.map(str::to_owned),
                config: descriptor(config),
                layers: vec![descriptor(layer)],
                subject: None,
                annotations: std::collections::BTreeMap::new(),
            };
            let artifact = Artifact::of(&manifest);
            assert_eq!((artifact.to_string().as_str(), artifact.tool()), (expected, tool));
        }
    }
}
