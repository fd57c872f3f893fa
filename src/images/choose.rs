//! Which entries of an index are wanted: one choice for what is transferred and what is listed.

use std::fmt;

use crate::oci::{Descriptor, MediaKind};
use crate::platform::{Matcher, Platform};

/// Manifests that an index, with all below it, may list, and documents that are opened to find them
/// (512). Each may cost a request.
pub const MAX_MANIFESTS: usize = 512;

/// The annotation by which BuildKit tells what an index entry is that is no image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Which platforms of an image are wanted.
#[derive(Debug, Clone)]
pub enum PlatformChoice {
    /// The one that fits this host best, as the CRI chooses.
    Host(Platform),
    /// Each of these and nothing like it. The first gives the image its ID.
    Strict(Vec<Platform>),
    /// Everything that the index lists, attestations included; the host's is unpacked.
    All {
        /// This machine's platform.
        host: Platform,
    },
    /// All of it, be it an image or not, and nothing of it looked into: a signature, an SBOM.
    AsItIs,
}

/// A manifest that may be chosen.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The manifest.
    pub manifest: Descriptor,
    /// `None` for an entry that is no image, such as an attestation.
    pub platform: Option<Platform>,
}

/// What an entry of an index is, as far as the index tells.
#[derive(Debug)]
pub enum Entry {
    /// Another index.
    Index,
    /// A manifest whose configuration has to be asked for its platform.
    Unnamed,
    /// A manifest for this platform, or no image.
    Candidate(Option<Platform>),
}

impl Entry {
    /// What `entry` is.
    pub fn of(entry: &Descriptor) -> Self {
        match (entry.kind(), &entry.platform) {
            (MediaKind::Index, _) => Self::Index,
            _ if entry.annotations.contains_key(REFERENCE_TYPE) => Self::Candidate(None),
            (MediaKind::Manifest, Some(platform)) => Self::Candidate(Some(platform.clone())),
            (MediaKind::Manifest, None) => Self::Unnamed,
            // Charts and signatures may sit beside images; they are nobody's platform.
            _ => Self::Candidate(None),
        }
    }
}

/// A candidate that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Its place among the candidates.
    pub position: usize,
    /// Whether it becomes a file system.
    pub unpack: bool,
}

/// Nothing for a platform that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlatform {
    /// What was asked for.
    pub wanted: String,
    /// What there is.
    pub available: Vec<String>,
}

impl fmt::Display for NoPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no image for {}", self.wanted)?;
        match self.available.is_empty() {
            true => Ok(()),
            false => write!(f, "; there are {}", self.available.join(", ")),
        }
    }
}

/// The candidates wanted, the one that runs here first. With `from_index` they are an index's.
///
/// # Errors
/// [`NoPlatform`].
pub fn choose(
    candidates: &[Candidate],
    choice: &PlatformChoice,
    from_index: bool,
) -> Result<Vec<Chosen>, NoPlatform> {
    let unpacked = |position| Chosen { position, unpack: true };
    // Someone who names a single manifest means that one; a mismatch is a warning.
    if !from_index && candidates.len() == 1 {
        return Ok(vec![unpacked(0)]);
    }
    match choice {
        PlatformChoice::Host(host) => {
            Ok(vec![unpacked(best(candidates, &Matcher::default_for(host), host)?)])
        }
        PlatformChoice::Strict(wanted) => {
            let mut chosen = Vec::new();
            for platform in wanted {
                let position = best(candidates, &Matcher::strict(platform), platform)?;
                if !chosen.contains(&unpacked(position)) {
                    chosen.push(unpacked(position));
                }
            }
            Ok(chosen)
        }
        PlatformChoice::All { host } => {
            let runs_here = best(candidates, &Matcher::default_for(host), host).ok();
            let others = (0..candidates.len()).filter(|position| Some(*position) != runs_here);
            let all: Vec<_> = runs_here
                .map(unpacked)
                .into_iter()
                .chain(others.map(|position| Chosen { position, unpack: false }))
                .filter(|chosen| is_manifest(&candidates[chosen.position].manifest))
                .collect();
            if all.is_empty() { Err(no_platform(candidates, host)) } else { Ok(all) }
        }
        PlatformChoice::AsItIs => {
            let all = (0..candidates.len()).map(|position| Chosen { position, unpack: false });
            Ok(all.filter(|chosen| is_manifest(&candidates[chosen.position].manifest)).collect())
        }
    }
}

/// The one of an index's `entries` to look at for `choice`: the first that is chosen, or else one that
/// does not tell its platform, or an index.
///
/// # Errors
/// [`NoPlatform`].
pub fn entry_for(
    entries: &[Descriptor],
    choice: &PlatformChoice,
) -> Result<Descriptor, NoPlatform> {
    let candidate = |entry: &Descriptor| match Entry::of(entry) {
        Entry::Candidate(platform) => Some(Candidate { manifest: entry.clone(), platform }),
        Entry::Index | Entry::Unnamed => None,
    };
    let candidates: Vec<_> = entries.iter().take(MAX_MANIFESTS).filter_map(candidate).collect();
    let untold = || entries.iter().find(|entry| candidate(entry).is_none()).cloned();
    match choose(&candidates, choice, true) {
        Ok(chosen) => {
            let first = chosen.first().and_then(|chosen| candidates.get(chosen.position));
            let first = first.map(|candidate| candidate.manifest.clone());
            first.or_else(untold).ok_or_else(|| NoPlatform {
                wanted: "any platform".to_owned(),
                available: Vec::new(),
            })
        }
        Err(none) => untold().ok_or(none),
    }
}

/// The entries of an index that may be images, those that run on `host` first, best first.
pub(super) fn by_preference(entries: Vec<Descriptor>, host: &Platform) -> Vec<Descriptor> {
    let matcher = Matcher::default_for(host);
    let mut ranked: Vec<(usize, Descriptor)> = entries
        .into_iter()
        .filter(|entry| !matches!(Entry::of(entry), Entry::Candidate(None)))
        .filter(|entry| entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown"))
        .map(|entry| {
            let rank = entry.platform.as_ref().and_then(|platform| matcher.rank(platform));
            (rank.unwrap_or(usize::MAX), entry)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

fn is_manifest(descriptor: &Descriptor) -> bool {
    descriptor.kind() == MediaKind::Manifest
}

fn best(
    candidates: &[Candidate],
    matcher: &Matcher,
    wanted: &Platform,
) -> Result<usize, NoPlatform> {
    let (positions, platforms): (Vec<_>, Vec<_>) = candidates
        .iter()
        .enumerate()
        .filter_map(|(position, candidate)| Some((position, candidate.platform.as_ref()?)))
        .unzip();
    matcher
        .best(platforms)
        .and_then(|found| positions.get(found).copied())
        .ok_or_else(|| no_platform(candidates, wanted))
}

fn no_platform(candidates: &[Candidate], wanted: &Platform) -> NoPlatform {
    let mut available: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| candidate.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    available.dedup();
    NoPlatform { wanted: wanted.to_string(), available }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Digest, MediaType};

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn entry(media_type: &str, name: &str, platform: Option<&str>) -> Descriptor {
        let digest = Digest::of(name.as_bytes());
        let mut entry = Descriptor::new(MediaType::new(media_type), digest, 1);
        entry.platform = platform.map(|architecture| {
            let os = if architecture == "unknown" { "unknown" } else { "linux" };
            Platform::from_parts(os, architecture, "", "")
        });
        entry
    }

    #[test]
    fn entries_that_may_be_images_are_tried_by_how_well_they_run_here() {
        let mut attestation = entry(MANIFEST, "attestation", Some("amd64"));
        attestation.annotations.insert(REFERENCE_TYPE.to_owned(), "attestation-manifest".into());
        let entries = vec![
            entry("application/x-chart", "chart", Some("amd64")),
            entry(MANIFEST, "other", Some("s390x")),
            attestation,
            entry(MANIFEST, "old", Some("386")),
            entry(INDEX, "nested", None),
            entry(MANIFEST, "unknown", Some("unknown")),
            entry(MANIFEST, "best", Some("amd64")),
            entry(MANIFEST, "unnamed", None),
        ];
        let host = Platform::from_parts("linux", "amd64", "", "");
        let ranked: Vec<_> = by_preference(entries, &host).into_iter().map(|e| e.digest).collect();
        let expected = ["best", "old", "other", "nested", "unnamed"];
        // A chart is nobody's platform, whatever it says.
        let expected = expected.map(|name| Digest::of(name.as_bytes()));
        assert_eq!(ranked, expected);
    }
}
