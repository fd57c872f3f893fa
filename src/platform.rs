//! Platforms: parsing, normalising and matching, after `containerd/platforms`.

use std::fmt;

/// An operating system and processor, normalised (`x86_64` is `amd64`, `linux/arm64` is v8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// GOARCH: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7`, `v8`, …; empty where the architecture has none.
    pub variant: String,
    /// Windows build number; empty elsewhere.
    pub os_version: String,
}

impl Platform {
    /// Normalises the members of an index entry or an image configuration.
    pub fn from_parts(os: &str, architecture: &str, variant: &str, os_version: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: os_version.to_owned(),
        }
    }
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
