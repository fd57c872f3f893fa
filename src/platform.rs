//! Platforms: parsing, normalising and matching, after <https://github.com/containerd/platforms>.
//!
//! Which platforms an image has is read elsewhere; here is only which of them runs where.

use std::fmt;
use std::str::FromStr;

use crate::failure::{Diagnose, Failure};

/// An operating system and processor, normalised: `x86_64` is `amd64`, `linux/arm64/v8` is
/// `linux/arm64`, `linux/arm` is `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// GOARCH: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7`, `v3`, …; empty where the architecture has none, and for amd64 v1 and arm64 v8.
    pub variant: String,
    /// Windows build number; empty elsewhere.
    pub os_version: String,
}

impl Platform {
    /// Normalises the members of an index entry or an image configuration.
    ///
    /// An empty `os` is the host's, as it is for containerd.
    pub fn from_parts(os: &str, architecture: &str, variant: &str, os_version: &str) -> Self {
        let (architecture, variant) =
            normalise_processor(&architecture.to_lowercase(), &variant.to_lowercase());
        Self {
            os: normalise_os(&os.to_lowercase()),
            architecture,
            variant,
            os_version: os_version.to_owned(),
        }
    }

    /// The platform of this machine's kernel.
    pub fn host() -> Self {
        let uname = rustix::system::uname();
        Self::of_machine(&uname.machine().to_string_lossy())
    }

    /// From what `uname -m` prints.
    fn of_machine(machine: &str) -> Self {
        let (architecture, variant) = match machine {
            "i486" | "i586" | "i686" => ("386", ""),
            "armv5tel" | "armv5tejl" => ("arm", "v5"),
            "armv6l" => ("arm", "v6"),
            "armv7l" => ("arm", "v7"),
            "armv8l" => ("arm", "v8"),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self::from_parts("", architecture, variant, "")
    }

    fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

fn normalise_os(os: &str) -> String {
    match os {
        "" => normalise_os(std::env::consts::OS),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalise_processor(architecture: &str, variant: &str) -> (String, String) {
    let numbered = |variant: &str| {
        let version = variant.strip_prefix('v').unwrap_or(variant);
        let version = version.strip_suffix(".0").unwrap_or(version);
        if version.starts_with(|c: char| c.is_ascii_digit()) {
            format!("v{version}")
        } else {
            variant.to_owned()
        }
    };
    let (architecture, variant) = match architecture {
        "i386" => ("386", String::new()),
        "x86_64" | "x86-64" | "amd64" => ("amd64", numbered(variant)),
        "aarch64" | "arm64" => ("arm64", numbered(variant)),
        "armhf" => ("arm", "v7".to_owned()),
        "armel" => ("arm", "v6".to_owned()),
        "arm" if variant.is_empty() => ("arm", "v7".to_owned()),
        "arm" => ("arm", numbered(variant)),
        other => (other, variant.to_owned()),
    };
    let is_baseline = matches!((architecture, variant.as_str()), ("amd64", "v1") | ("arm64", "v8"));
    (architecture.to_owned(), if is_baseline { String::new() } else { variant })
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// Why a text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not two or three parts.
    #[error("platform {0:?} is not of the form os/architecture[/variant]")]
    Form(String),
    /// Nothing between, before or after the slashes.
    #[error("platform {0:?} has an empty part")]
    EmptyPart(String),
    /// A character that no part may have.
    #[error("platform {text:?} must not contain {character:?}")]
    Character {
        /// The platform as written.
        text: String,
        /// Its first offending character.
        character: char,
    },
    /// The placeholder by which build tools mark attestations.
    #[error("platform {0:?} marks entries that are no image")]
    Unknown(String),
}

impl Diagnose for PlatformError {
    fn failure(&self) -> Failure {
        Failure::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Form(text) if !text.is_empty() && !text.contains('/') => {
                Some(format!("did you mean {}?", Platform::from_parts("linux", text, "", "")))
            }
            _ => Some("write for example linux/amd64, linux/arm64 or linux/arm/v7".to_owned()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(PlatformError::Character { text: text.to_owned(), character });
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(PlatformError::Form(text.to_owned())),
        };
        if parts.contains(&"") {
            return Err(PlatformError::EmptyPart(text.to_owned()));
        }
        let platform = Self::from_parts(os, architecture, variant, "");
        if platform.is_unknown() {
            return Err(PlatformError::Unknown(text.to_owned()));
        }
        Ok(platform)
    }
}

/// Says which platforms will do, and which of them does best.
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
            "amd64" => accepted.push(Platform::from_parts(&host.os, "386", "", &host.os_version)),
            "arm64" => {
                let arm = Platform::from_parts(&host.os, "arm", "v8", &host.os_version);
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
        self.accepted.iter().position(|accepted| {
            (&accepted.os, &accepted.architecture, &accepted.variant)
                == (&candidate.os, &candidate.architecture, &candidate.variant)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn normalises_the_spellings_in_use() {
        for (text, normalised) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/x86-64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/i386", "linux/386"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8.0", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm64/v9.0", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/ppc64le", "linux/ppc64le"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(platform(text).to_string(), normalised, "{text}");
        }
    }

    #[test]
    fn reads_the_kernels_name_of_the_machine() {
        for (machine, expected) in [
            ("x86_64", "linux/amd64"),
            ("aarch64", "linux/arm64"),
            ("i686", "linux/386"),
            ("armv6l", "linux/arm/v6"),
            ("armv7l", "linux/arm/v7"),
            ("s390x", "linux/s390x"),
            ("riscv64", "linux/riscv64"),
            ("loongarch64", "linux/loong64"),
        ] {
            assert_eq!(Platform::of_machine(machine), platform(expected), "{machine}");
        }
    }

    #[test]
    fn refuses_what_is_no_platform_and_says_why() {
        let text = |text: &str| text.to_owned();
        for (input, error) in [
            ("", PlatformError::Form(text(""))),
            ("amd64", PlatformError::Form(text("amd64"))),
            ("linux/arm/v7/x", PlatformError::Form(text("linux/arm/v7/x"))),
            ("linux/", PlatformError::EmptyPart(text("linux/"))),
            ("/amd64", PlatformError::EmptyPart(text("/amd64"))),
            ("linux/arm/", PlatformError::EmptyPart(text("linux/arm/"))),
            ("linux,amd64", PlatformError::Character { text: text("linux,amd64"), character: ',' }),
            (
                "linux/amd64 ",
                PlatformError::Character { text: text("linux/amd64 "), character: ' ' },
            ),
            ("unknown/unknown", PlatformError::Unknown(text("unknown/unknown"))),
        ] {
            assert_eq!(input.parse::<Platform>(), Err(error), "{input}");
        }
    }

    #[test]
    fn guesses_linux_for_an_architecture_alone() {
        let error = "aarch64".parse::<Platform>().unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean linux/arm64?"));
        assert_eq!(error.failure(), Failure::Usage);
    }

    /// What the matcher picks, by name.
    fn pick(matcher: &Matcher, candidates: &[&str]) -> Option<String> {
        let candidates: Vec<Platform> = candidates.iter().map(|text| platform(text)).collect();
        matcher.best(&candidates).map(|position| candidates[position].to_string())
    }

    #[test]
    fn the_default_takes_the_exact_platform_first_and_then_a_lesser_one() {
        for (host, candidates, chosen) in [
            ("linux/amd64", &["linux/386", "linux/amd64"][..], Some("linux/amd64")),
            ("linux/amd64", &["linux/arm64", "linux/386"], Some("linux/386")),
            ("linux/amd64", &["linux/amd64/v2", "linux/amd64/v3"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some("linux/amd64/v2")),
            ("linux/amd64/v3", &["linux/386", "linux/amd64"], Some("linux/amd64")),
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some("linux/arm64")),
            ("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
            ("linux/arm64", &["linux/amd64"], None),
            ("linux/arm64/v8.2", &["linux/arm64", "linux/arm64/v8.1"], Some("linux/arm64/v8.1")),
            ("linux/arm64/v9", &["linux/arm64", "linux/arm64/v8.5"], Some("linux/arm64/v8.5")),
            ("linux/arm64/v9", &["linux/arm64/v8.6"], None),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some("linux/arm/v6")),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/386", &["linux/amd64"], None),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/riscv64", &["linux/riscv64"], Some("linux/riscv64")),
        ] {
            let matcher = Matcher::default_for(&platform(host));
            assert_eq!(pick(&matcher, candidates).as_deref(), chosen, "{host}: {candidates:?}");
        }
    }

    #[test]
    fn an_explicit_platform_takes_no_other_architecture() {
        for (wanted, candidates, chosen) in [
            ("linux/amd64", &["linux/386"][..], None),
            ("linux/arm64", &["linux/arm/v7"], None),
            ("linux/amd64", &["linux/amd64/v2"], None),
            ("linux/amd64/v2", &["linux/amd64/v3", "linux/amd64"], Some("linux/amd64")),
            ("linux/arm", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
            ("linux/arm/v7", &["linux/arm/v5"], Some("linux/arm/v5")),
            ("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64")),
        ] {
            let matcher = Matcher::strict(&platform(wanted));
            assert_eq!(pick(&matcher, candidates).as_deref(), chosen, "{wanted}: {candidates:?}");
        }
    }

    #[test]
    fn attestations_never_match() {
        let unknown = Platform::from_parts("unknown", "unknown", "", "");
        assert_eq!(Matcher::default_for(&Platform::host()).rank(&unknown), None);
        assert_eq!(Matcher::strict(&unknown).rank(&unknown), None);
    }

    #[test]
    fn the_first_of_equals_wins() {
        let twice = [platform("linux/amd64"), platform("linux/amd64/v1")];
        assert_eq!(Matcher::strict(&platform("linux/amd64")).best(&twice), Some(0));
    }
}
