//! Image configurations: what a pull needs of one.

use serde::Deserialize;

use super::descriptor::PlatformWire;
use super::json::{self, List};
use super::{DiffId, DigestError, ManifestError};
use crate::platform::Platform;

/// What a pull needs of an image configuration.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// Platform the image was built for.
    pub platform: Platform,
    /// Diff IDs, base first.
    pub diff_ids: Vec<DiffId>,
}

// The platform's members are not flattened in: what is skipped has to stay unread.
#[derive(Deserialize)]
struct ConfigWire {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features", default)]
    os_features: List<String>,
    rootfs: Option<RootfsWire>,
}

#[derive(Deserialize)]
struct RootfsWire {
    #[serde(default)]
    diff_ids: List<String>,
}

impl ImageConfig {
    /// Parses a configuration and checks that it has one diff ID for each of `layers` layers.
    ///
    /// # Errors
    /// [`ManifestError`] when it is no JSON or its diff IDs do not fit.
    pub fn parse(bytes: &[u8], layers: usize) -> Result<Self, ManifestError> {
        let ConfigWire { os, architecture, variant, os_version, os_features, rootfs } =
            json::read("image configuration", bytes)?;
        let diff_ids = rootfs.map(|rootfs| rootfs.diff_ids).unwrap_or_default();
        if diff_ids.length != layers {
            return Err(ManifestError::DiffIdCount { diff_ids: diff_ids.length, layers });
        }
        let diff_ids = diff_ids.entries.iter().map(|text| text.parse().map(DiffId));
        Ok(Self {
            platform: PlatformWire { os, architecture, variant, os_version, os_features }.into(),
            diff_ids: diff_ids.collect::<Result<Vec<_>, DigestError>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn wants_one_diff_id_for_each_layer() {
        let json = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{EMPTY}"]}}}}"#
        );
        let config = ImageConfig::parse(json.as_bytes(), 1).unwrap();
        assert_eq!(config.platform.to_string(), "linux/amd64");
        assert_eq!(config.diff_ids.len(), 1);
        assert!(matches!(
            ImageConfig::parse(json.as_bytes(), 2),
            Err(ManifestError::DiffIdCount { diff_ids: 1, layers: 2 })
        ));
        assert!(ImageConfig::parse(b"{}", 0).is_ok());
    }

    #[test]
    fn members_that_a_pull_does_not_need_may_be_anything() {
        for (members, platform) in [
            (&br#""os":"linux","architecture":"arm64","created":1e400"#[..], "linux/arm64"),
            (br#""os":null,"architecture":"arm64","variant":null"#, "linux/arm64"),
            (br#""os":"linux","architecture":"arm64","config":[{"Env":-1e999}]"#, "linux/arm64"),
            (b"\"os\":\"linux\",\"architecture\":\"arm64\",\"author\":\"caf\xe9\"", "linux/arm64"),
            (b"\"os\":\"linux\",\"architecture\":\"arm64\",\"a\xff\":{\"\xfe\":1}", "linux/arm64"),
            (
                br#""os":"linux","architecture":"arm64","config":{"Labels":{"\udc00":"\ud800"}}"#,
                "linux/arm64",
            ),
            (br#""os":"linux","architecture":"arm64","history":null,"rootfs":null"#, "linux/arm64"),
        ] {
            let json = [b"{", members, b"}"].concat();
            let config = ImageConfig::parse(&json, 0)
                .unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&json)));
            assert_eq!(config.platform.to_string(), platform);
        }
    }
}
