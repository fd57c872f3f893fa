//! What is different between two images: layers, configuration, sizes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::anatomy::Part;
use crate::oci::{Descriptor, Digest, ImageDetails};

/// What two images have in common, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contrast {
    /// Whether the kubelet takes both for one image: they have one configuration.
    pub same_image: bool,
    /// Layers that both have at the same place, counted from the base.
    pub common_base_layers: usize,
    /// Layers that both have anywhere.
    pub shared_layers: Vec<Digest>,
    /// Size of those, as they are stored.
    pub shared_bytes: u64,
    /// Layers that only the first has.
    pub only_first: Vec<Digest>,
    /// Size of those.
    pub only_first_bytes: u64,
    /// Layers that only the second has.
    pub only_second: Vec<Digest>,
    /// Size of those: what a node with the first has to fetch for the second.
    pub only_second_bytes: u64,
    /// Sizes of manifest, configuration and layers together, of the first and of the second.
    pub size_bytes: [u64; 2],
    /// What is different in the configurations.
    pub configuration: Vec<Change>,
}

/// A member of the configuration that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `env PATH`, `entrypoint`, `label maintainer`, …
    pub member: String,
    /// What it is in the first; `None` where it has none.
    pub first: Option<String>,
    /// What it is in the second.
    pub second: Option<String>,
}

impl Contrast {
    /// Compares two images.
    pub fn between(first: &Part, second: &Part) -> Self {
        let [ours, theirs] = [first, second].map(|part| sizes(&part.manifest.layers));
        let of = |layers: &[Descriptor], others: &HashMap<Digest, u64>, shared: bool| {
            let mut seen = BTreeSet::new();
            let wanted = layers.iter().filter(|it| others.contains_key(&it.digest) == shared);
            let kept: Vec<&Descriptor> = wanted.filter(|it| seen.insert(it.digest)).collect();
            let bytes = kept.iter().fold(0, |sum: u64, it| sum.saturating_add(it.size));
            (kept.into_iter().map(|it| it.digest).collect::<Vec<_>>(), bytes)
        };
        let (shared_layers, shared_bytes) = of(&first.manifest.layers, &theirs, true);
        let (only_first, only_first_bytes) = of(&first.manifest.layers, &theirs, false);
        let (only_second, only_second_bytes) = of(&second.manifest.layers, &ours, false);
        let pairs = first.manifest.layers.iter().zip(&second.manifest.layers);
        Self {
            same_image: first.manifest.config.digest == second.manifest.config.digest,
            common_base_layers: pairs.take_while(|(a, b)| a.digest == b.digest).count(),
            shared_layers,
            shared_bytes,
            only_first,
            only_first_bytes,
            only_second,
            only_second_bytes,
            size_bytes: [first.stored_bytes(), second.stored_bytes()],
            configuration: changes(first, second),
        }
    }
}

fn sizes(layers: &[Descriptor]) -> HashMap<Digest, u64> {
    layers.iter().map(|layer| (layer.digest, layer.size)).collect()
}

fn changes(first: &Part, second: &Part) -> Vec<Change> {
    let [first, second] = [first, second].map(members);
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    names
        .into_iter()
        .filter(|name| first.get(*name) != second.get(*name))
        .map(|name| Change {
            member: name.clone(),
            first: first.get(name).cloned(),
            second: second.get(name).cloned(),
        })
        .collect()
}

/// What a configuration says, each member by itself.
fn members(part: &Part) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    if let Some(platform) = &part.platform {
        members.insert("platform".to_owned(), platform.to_string());
    }
    let Some(details) = &part.details else { return members };
    let ImageDetails { created, author, runtime, .. } = details;
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            members.insert(name.to_owned(), value);
        }
    };
    put("created", created.clone().unwrap_or_default());
    put("author", author.clone().unwrap_or_default());
    put("user", runtime.user.clone());
    put("working directory", runtime.working_dir.clone());
    put("stop signal", runtime.stop_signal.clone());
    put("entrypoint", words(&runtime.entrypoint));
    put("cmd", words(&runtime.cmd));
    put("ports", runtime.exposed_ports.iter().collect::<Vec<_>>().join(" "));
    put("volumes", runtime.volumes.iter().collect::<Vec<_>>().join(" "));
    for variable in &runtime.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        members.insert(format!("env {name}"), value.to_owned());
    }
    for (name, value) in &runtime.labels {
        members.insert(format!("label {name}"), value.clone());
    }
    members
}

/// Words as JSON writes a list of them: where one ends is to be seen.
fn words(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { serde_json::to_string(words).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{LayerIdentity, Manifest, MediaType};

    fn blob(content: &str) -> Descriptor {
        let digest = Digest::of(content.as_bytes());
        Descriptor::new(MediaType::new("x"), digest, content.len() as u64)
    }

    fn part(layers: &[&str], config: &str) -> Part {
        let details = ImageDetails::parse(
            format!(
                r#"{{"os":"linux","architecture":"amd64","config":{config},"rootfs":{{"diff_ids":[{}]}}}}"#,
                layers.iter().map(|it| format!("\"{}\"", blob(it).digest)).collect::<Vec<_>>().join(",")
            )
            .as_bytes(),
            layers.len(),
        )
        .unwrap();
        Part {
            descriptor: blob("manifest"),
            manifest: Manifest {
                media_type: MediaType::new("m"),
                artifact_type: None,
                config: blob(config),
                layers: layers.iter().map(|name| blob(name)).collect(),
                subject: None,
                annotations: BTreeMap::new(),
            },
            platform: Some(details.image.platform.clone()),
            identities: LayerIdentity::of_layers(&details.image.diff_ids),
            details: Some(details),
        }
    }

    #[test]
    fn layers_are_shared_wherever_they_lie_and_the_base_is_counted() {
        let first = part(&["base", "a", "shared"], "{}");
        let second = part(&["base", "bb", "c", "shared"], "{}");
        let contrast = Contrast::between(&first, &second);
        assert!(contrast.same_image && contrast.configuration.is_empty());
        assert_eq!(contrast.common_base_layers, 1);
        assert_eq!(contrast.shared_layers, ["base", "shared"].map(|name| blob(name).digest));
        assert_eq!((contrast.shared_bytes, contrast.only_first_bytes), (10, 1));
        assert_eq!(contrast.only_second, ["bb", "c"].map(|name| blob(name).digest));
        assert_eq!(contrast.only_second_bytes, 3);
    }

    #[test]
    fn each_member_of_the_configuration_that_changed_is_named() {
        let first = part(&[], r#"{"Env":["A=1","B=2"],"Cmd":["a b"],"User":"1"}"#);
        let second = part(&[], r#"{"Env":["A=1","B=3","C"],"Cmd":["a","b"],"Labels":{"k":"v"}}"#);
        let contrast = Contrast::between(&first, &second);
        assert!(!contrast.same_image);
        let said: Vec<String> = contrast
            .configuration
            .iter()
            .map(|it| format!("{}: {:?} {:?}", it.member, it.first, it.second))
            .collect();
        assert_eq!(
            said,
            [
                r#"cmd: Some("[\"a b\"]") Some("[\"a\",\"b\"]")"#,
                r#"env B: Some("2") Some("3")"#,
                r#"env C: None Some("")"#,
                r#"label k: None Some("v")"#,
                r#"user: Some("1") None"#,
            ]
        );
    }
}
