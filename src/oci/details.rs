//! Image configurations whole: how a container is started, and how the image came to be.
//!
//! A pull does without all of it and does not read it, so what is broken here stops none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::ImageConfig;
use super::descriptor::PlatformJson;
use super::json::{self, List, Names};
use super::{DiffId, ManifestError};

/// An image configuration with everything that is shown or written.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// Platform and layers.
    pub image: ImageConfig,
    /// When it was made, as written (RFC 3339).
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// How a container of it is started.
    pub runtime: RuntimeConfig,
    /// How it came to be, oldest step first.
    pub history: Vec<HistoryEntry>,
}

/// How a container is started. What is not said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeConfig {
    /// User or UID, perhaps with a group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`, …
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub exposed_ports: Names,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What is run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Its arguments, or what is run where there is no entry point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that are to outlive the container.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub volumes: Names,
    /// Where it is run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels of the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that ends it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// A step of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// When, as written (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What the builder says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_layer: Option<bool>,
}

#[derive(Deserialize)]
struct DetailsWire {
    created: Option<String>,
    author: Option<String>,
    config: Option<RuntimeWire>,
    #[serde(default)]
    history: List<HistoryEntry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuntimeWire {
    user: Option<String>,
    #[serde(default)]
    exposed_ports: Names,
    #[serde(default)]
    env: List<String>,
    #[serde(default)]
    entrypoint: List<String>,
    #[serde(default)]
    cmd: List<String>,
    #[serde(default)]
    volumes: Names,
    working_dir: Option<String>,
    #[serde(default, deserialize_with = "json::texts")]
    labels: BTreeMap<String, String>,
    stop_signal: Option<String>,
}

#[derive(Serialize)]
struct DetailsJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: &'a Option<String>,
    #[serde(flatten)]
    platform: PlatformJson<'a>,
    config: &'a RuntimeConfig,
    rootfs: RootfsJson<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    history: &'a [HistoryEntry],
}

#[derive(Serialize)]
struct RootfsJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: &'a [DiffId],
}

impl ImageDetails {
    /// Parses a configuration that belongs to `layers` layers.
    ///
    /// # Errors
    /// As [`ImageConfig::parse`], and where what it reads beyond that is of another type or longer
    /// than is bearable.
    pub fn parse(bytes: &[u8], layers: usize) -> Result<Self, ManifestError> {
        let image = ImageConfig::parse(bytes, layers)?;
        let wire: DetailsWire = json::read("image configuration", bytes)?;
        let runtime = wire.config.unwrap_or_default();
        Ok(Self {
            image,
            created: wire.created,
            author: wire.author,
            runtime: RuntimeConfig {
                user: runtime.user.unwrap_or_default(),
                exposed_ports: runtime.exposed_ports,
                env: whole("env", runtime.env)?,
                entrypoint: whole("entrypoint", runtime.entrypoint)?,
                cmd: whole("cmd", runtime.cmd)?,
                volumes: runtime.volumes,
                working_dir: runtime.working_dir.unwrap_or_default(),
                labels: runtime.labels,
                stop_signal: runtime.stop_signal.unwrap_or_default(),
            },
            history: whole("history", wire.history)?,
        })
    }

    /// The configuration as JSON, the same bytes each time.
    ///
    /// # Errors
    /// None that these members could have.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&DetailsJson {
            created: &self.created,
            author: &self.author,
            platform: PlatformJson::of(&self.image.platform),
            config: &self.runtime,
            rootfs: RootfsJson { kind: "layers", diff_ids: &self.image.diff_ids },
            history: &self.history,
        })
    }
}

/// The list as it is written, if that is not too long.
fn whole<T>(members: &'static str, list: List<T>) -> Result<Vec<T>, ManifestError> {
    let what = "image configuration";
    let (length, limit) = (list.length, list.entries.len());
    if length > limit {
        return Err(ManifestError::TooMany { what, members, length, limit });
    }
    Ok(list.entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_is_written_is_what_was_read() {
        let json = format!(
            r#"{{"created":"2026-01-02T03:04:05Z","author":"me","architecture":"arm","variant":"v6","os":"linux","os.features":["a"],"config":{{"User":"1:2","ExposedPorts":{{"443/tcp":{{}},"80/tcp":{{}}}},"Env":["B=2","A=1"],"Entrypoint":["/a"],"Cmd":["b","c"],"Volumes":{{"/data":{{}}}},"WorkingDir":"/w","Labels":{{"k":"v"}},"StopSignal":"SIGINT"}},"rootfs":{{"type":"layers","diff_ids":["{EMPTY}"]}},"history":[{{"created":"2026-01-02T03:04:05Z","created_by":"RUN x","comment":"c"}},{{"created_by":"ENV A=1","empty_layer":true}}]}}"#
        );
        let details = ImageDetails::parse(json.as_bytes(), 1).unwrap();
        assert_eq!(details.runtime.env, ["B=2", "A=1"]);
        assert_eq!(details.history[1].empty_layer, Some(true));
        assert_eq!(String::from_utf8(details.to_json().unwrap()).unwrap(), json);
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let json = br#"{"os":"linux","architecture":"amd64","created":null,"history":null,"config":
            {"Env":null,"Cmd":null,"Volumes":null,"Labels":null,"User":null,"OnBuild":null}}"#;
        let details = ImageDetails::parse(json, 0).unwrap();
        assert_eq!(details.runtime, RuntimeConfig::default());
        let again = ImageDetails::parse(&details.to_json().unwrap(), 0).unwrap();
        assert_eq!(again, details);
        assert!(ImageDetails::parse(br#"{"config":null}"#, 0).is_ok());
    }

    #[test]
    fn a_history_without_end_is_refused() {
        let steps = vec!["{}"; json::MAX_ENTRIES + 1].join(",");
        let json = format!(r#"{{"history":[{steps}]}}"#);
        let refused = ImageDetails::parse(json.as_bytes(), 0);
        assert!(matches!(refused, Err(ManifestError::TooMany { members: "history", .. })));
        let ports: Vec<String> = (0..10_000).map(|port| format!("\"{port}/tcp\":{{}}")).collect();
        let json = format!(r#"{{"config":{{"ExposedPorts":{{{}}}}}}}"#, ports.join(","));
        let details = ImageDetails::parse(json.as_bytes(), 0).unwrap();
        assert_eq!(details.runtime.exposed_ports.iter().count(), json::MAX_ENTRIES);
    }
}
