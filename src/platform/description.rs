//! What a platform is, normalised.

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
    /// What the image needs of the system, such as `erofs`: sorted, and empty for most.
    pub os_features: Vec<String>,
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
            os_features: Vec::new(),
        }
    }

    /// The same with these `os.features`.
    #[must_use]
    pub fn with_features(mut self, mut features: Vec<String>) -> Self {
        features.retain(|feature| !feature.is_empty());
        features.sort();
        features.dedup();
        self.os_features = features;
        self
    }

    /// The platform of this machine's kernel.
    pub fn host() -> Self {
        let uname = rustix::system::uname();
        Self::of_machine(&uname.machine().to_string_lossy())
    }

    /// From what `uname -m` prints.
    pub(super) fn of_machine(machine: &str) -> Self {
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

    /// Whether it is the placeholder by which build tools mark what is no image.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

pub(super) fn normalise_os(os: &str) -> String {
    match os {
        "" => normalise_os(std::env::consts::OS),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

pub(super) fn normalise_processor(architecture: &str, variant: &str) -> (String, String) {
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
