//! Which platforms run where, and which of them does best.

use super::Platform;

/// How much more another processor counts than anything of the system.
const PROCESSOR_STEP: usize = 64;

/// Parts of a Windows version that have to be the same: 10.0 and the build. The fourth is the
/// revision, which need not be.
const WINDOWS_BUILD_PARTS: usize = 3;

/// Says which platforms will do, and which of them does best.
///
/// What an image needs of the system (`os.features`) must all be wanted; who wants more takes one that
/// needs less, after one that needs just that. A build of Windows takes its own images and those that
/// say no version.
///
/// | wanted | default, best first | strict, best first |
/// |---|---|---|
/// | `amd64` | amd64, 386 | amd64 |
/// | `amd64/v3` | v3, v2, amd64, 386 | v3, v2, amd64 |
/// | `arm64` | arm64, arm/v8, v7, v6, v5 | arm64 |
/// | `arm/v7` | v7, v6, v5 | v7, v6, v5 |
#[derive(Debug, Clone)]
pub struct Matcher {
    /// What will do, best first.
    accepted: Vec<Platform>,
}

impl Matcher {
    /// What the kubelet's pulls take on `host`: also a 32-bit image where the processor runs it.
    pub fn default_for(host: &Platform) -> Self {
        let mut accepted = downwards(host);
        match host.architecture.as_str() {
            "amd64" => accepted.push(
                Platform::from_parts(&host.os, "386", "", &host.os_version)
                    .with_features(host.os_features.clone()),
            ),
            "arm64" => {
                let arm = Platform::from_parts(&host.os, "arm", "v8", &host.os_version)
                    .with_features(host.os_features.clone());
                accepted.extend(downwards(&arm));
            }
            _ => {}
        }
        Self { accepted }
    }

    /// What an explicit `--platform` takes: that architecture, at most that variant.
    pub fn strict(platform: &Platform) -> Self {
        Self { accepted: downwards(platform) }
    }

    /// How good `candidate` is: 0 is best, `None` will not do.
    pub fn rank(&self, candidate: &Platform) -> Option<usize> {
        if candidate.is_unknown() {
            return None;
        }
        self.accepted.iter().enumerate().find_map(|(position, accepted)| {
            let same = (&accepted.os, &accepted.architecture, &accepted.variant)
                == (&candidate.os, &candidate.architecture, &candidate.variant);
            let less = if same { system_lacks(accepted, candidate)? } else { return None };
            Some(position * PROCESSOR_STEP + less.min(PROCESSOR_STEP - 1))
        })
    }

    /// The position of the best of `candidates`, of the first one among equals.
    pub fn best<'a>(&self, candidates: impl IntoIterator<Item = &'a Platform>) -> Option<usize> {
        candidates
            .into_iter()
            .enumerate()
            .filter_map(|(position, candidate)| Some((self.rank(candidate)?, position)))
            .min()
            .map(|(_, position)| position)
    }
}

/// By how much the system of `candidate` falls short of the `wanted` one; `None` if it will not do.
fn system_lacks(wanted: &Platform, candidate: &Platform) -> Option<usize> {
    let needed = &candidate.os_features;
    if !needed.iter().all(|feature| wanted.os_features.contains(feature)) {
        return None;
    }
    let unused = wanted.os_features.len() - needed.len();
    let of_version = match (wanted.os_version.as_str(), candidate.os_version.as_str()) {
        ("", _) => 0,
        (wanted, found) if wanted == found => 0,
        (_, "") => 1,
        (version, found) if wanted.os == "windows" => {
            let build = |version: &str| -> Vec<String> {
                version.split('.').take(WINDOWS_BUILD_PARTS).map(str::to_owned).collect()
            };
            (build(version) == build(found)).then_some(1)?
        }
        // containerd asks versions of Windows alone.
        _ => 1,
    };
    Some(unused + of_version)
}

/// `platform` and the lesser variants of its architecture, which it runs as well, best first.
fn downwards(platform: &Platform) -> Vec<Platform> {
    let lesser = match platform.architecture.as_str() {
        "amd64" => whole_versions_below(&platform.variant, 1),
        "arm" => whole_versions_below(&platform.variant, 5),
        "arm64" => arm64_versions_below(&platform.variant),
        _ => Vec::new(),
    };
    let with_variant = |variant: &String| {
        Platform::from_parts(&platform.os, &platform.architecture, variant, &platform.os_version)
            .with_features(platform.os_features.clone())
    };
    std::iter::once(platform.clone()).chain(lesser.iter().map(with_variant)).collect()
}

/// `v3` and 1 make `v2`, `v1`.
fn whole_versions_below(variant: &str, lowest: u8) -> Vec<String> {
    let version = variant.strip_prefix('v').and_then(|version| version.parse::<u8>().ok());
    (lowest..version.unwrap_or(lowest)).rev().map(|version| format!("v{version}")).collect()
}

/// `v8.2` makes `v8.1`, `v8`. Armv9.x has everything that Armv8.(x+5) has.
fn arm64_versions_below(variant: &str) -> Vec<String> {
    let version = variant.strip_prefix('v').unwrap_or_default();
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let (Ok(major), Ok(minor)) = (major.parse::<u8>(), minor.parse::<u8>()) else {
        return Vec::new();
    };
    let named = |major: u8, below: u8| (0..below).rev().map(move |m| format!("v{major}.{m}"));
    match major {
        8 => named(8, minor).collect(),
        9 => named(9, minor).chain(named(8, minor.saturating_add(6))).collect(),
        _ => Vec::new(),
    }
}
