//! What an image consists of, as a document: its members are the JSON, its `Display` is for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::check::{Anatomy, Holdings, Lead, Part, SnapshotState};
use crate::images::StoredImage;
use crate::oci::{Descriptor, Digest, HistoryEntry, RuntimeConfig};
use crate::output::{table, units};

/// Longest command of a step that is shown to people, in characters; JSON has all of it.
const SHOWN_STEP: usize = 100;

/// An image.
#[derive(Debug, Serialize)]
pub(super) struct Inspection {
    reference: String,
    place: String,
    /// What the name stands for.
    target: Blob,
    names: Vec<Name>,
    /// The repositories that it came from, as far as labels tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    came_from: Vec<String>,
    /// Whether one of its names leads elsewhere.
    #[serde(skip)]
    is_renamed: bool,
    /// What the index lists; empty for a single manifest.
    platforms: Vec<Listing>,
    images: Vec<Image>,
    leases: Vec<Lease>,
    containers: Vec<Container>,
    /// Whether it is told what is there: not of an image in a registry.
    #[serde(skip)]
    is_stored: bool,
}

#[derive(Debug, Serialize)]
struct Blob {
    digest: Digest,
    media_type: String,
    size_bytes: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
    target: Digest,
    labels: BTreeMap<String, String>,
    created: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listing {
    platform: Option<String>,
    digest: Digest,
    media_type: String,
    size_bytes: u64,
    present: bool,
}

#[derive(Debug, Serialize)]
struct Image {
    platform: Option<String>,
    manifest: Blob,
    config: Blob,
    size_bytes: u64,
    created: Option<String>,
    author: Option<String>,
    runtime: Option<RuntimeConfig>,
    layers: Vec<Layer>,
    history: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Layer {
    digest: Digest,
    media_type: String,
    size_bytes: u64,
    diff_id: Option<String>,
    chain_id: Option<String>,
    /// What made it, as far as the history tells.
    created_by: Option<String>,
    /// `None` where nothing is stored.
    present: Option<bool>,
    /// By snapshotter: `present`, `absent`, `other-parent`.
    snapshots: BTreeMap<String, &'static str>,
}

#[derive(Debug, Serialize)]
struct Step {
    #[serde(flatten)]
    entry: HistoryEntry,
    /// The layer that it made.
    layer: Option<Digest>,
}

#[derive(Debug, Serialize)]
struct Lease {
    id: String,
    expires: Option<String>,
    resources: usize,
}

#[derive(Debug, Serialize)]
struct Container {
    id: String,
    image: String,
    pod: Option<String>,
}

impl From<&Descriptor> for Blob {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            digest: descriptor.digest,
            media_type: descriptor.media_type.as_str().to_owned(),
            size_bytes: descriptor.size,
            annotations: descriptor.annotations.clone(),
        }
    }
}

impl Inspection {
    /// The image called `reference`: with `stored` and `holdings`, one in containerd.
    pub(super) fn new(
        reference: String,
        anatomy: &Anatomy,
        stored: Option<&StoredImage>,
        holdings: Option<Holdings>,
    ) -> Self {
        let names = stored.map(|image| image.names.as_slice()).unwrap_or_default();
        let held = holdings.as_ref();
        let listing = |listed: &crate::check::Listed| Listing {
            platform: listed.platform.as_ref().map(ToString::to_string),
            digest: listed.manifest.digest,
            media_type: listed.manifest.media_type.as_str().to_owned(),
            size_bytes: listed.manifest.size,
            present: listed.is_there && held.is_some(),
        };
        Self {
            reference,
            place: anatomy.place.clone(),
            target: Blob::from(&anatomy.target),
            names: names
                .iter()
                .map(|name| Name {
                    name: name.name.clone(),
                    target: name.target.digest,
                    labels: name.labels.clone(),
                    created: name.created.map(|created| created.to_string()),
                })
                .collect(),
            came_from: Vec::new(),
            is_renamed: false,
            platforms: anatomy.listed.iter().map(listing).collect(),
            images: anatomy.parts.iter().map(|part| Image::of(part, held)).collect(),
            leases: held.map(leases).unwrap_or_default(),
            containers: held.map(containers).unwrap_or_default(),
            is_stored: held.is_some(),
        }
    }
}

fn leases(held: &Holdings) -> Vec<Lease> {
    let lease = |holder: &crate::check::Holder| Lease {
        id: holder.lease.clone(),
        expires: holder.expires.clone(),
        resources: holder.resources,
    };
    held.leases.iter().map(lease).collect()
}

fn containers(held: &Holdings) -> Vec<Container> {
    let container = |user: &crate::check::User| Container {
        id: user.container.clone(),
        image: user.image.clone(),
        pod: user.pod.clone(),
    };
    held.containers.iter().map(container).collect()
}

impl Image {
    fn of(part: &Part, held: Option<&Holdings>) -> Self {
        let details = part.details.as_ref();
        let history = steps(part);
        Self {
            platform: part.platform.as_ref().map(ToString::to_string),
            manifest: Blob {
                annotations: part.manifest.annotations.clone(),
                ..Blob::from(&part.descriptor)
            },
            config: Blob::from(&part.manifest.config),
            size_bytes: part.stored_bytes(),
            created: details.and_then(|details| details.created.clone()),
            author: details.and_then(|details| details.author.clone()),
            runtime: details.map(|details| details.runtime.clone()),
            layers: layers(part, &history, held),
            history,
        }
    }
}

/// The history, each step with the layer that it made: those that say that they made none are passed
/// over. A history that does not fit the layers is of no help.
fn steps(part: &Part) -> Vec<Step> {
    let history = part.details.as_ref().map(|details| details.history.as_slice());
    let history = history.unwrap_or_default();
    let makes_layer = |entry: &HistoryEntry| entry.empty_layer != Some(true);
    let fits =
        history.iter().filter(|entry| makes_layer(entry)).count() == part.manifest.layers.len();
    let mut layers = part.manifest.layers.iter();
    let mut step = |entry: &HistoryEntry| {
        let layer = if fits && makes_layer(entry) { layers.next() } else { None };
        Step { entry: entry.clone(), layer: layer.map(|layer| layer.digest) }
    };
    history.iter().map(&mut step).collect()
}

fn layers(part: &Part, history: &[Step], held: Option<&Holdings>) -> Vec<Layer> {
    let mut made = history.iter().filter(|step| step.layer.is_some());
    let mut layer = |(position, blob): (usize, &Descriptor)| {
        let identity = part.identities.get(position);
        let snapshots = held.map(|held| {
            let of = |(name, states): (&String, &std::collections::HashMap<_, SnapshotState>)| {
                let state = identity.and_then(|identity| states.get(&identity.chain_id));
                let state = match state {
                    Some(SnapshotState::Right) => "present",
                    Some(SnapshotState::OtherParent) => "other-parent",
                    None => "absent",
                };
                (name.clone(), state)
            };
            held.snapshots.iter().map(of).collect()
        });
        Layer {
            digest: blob.digest,
            media_type: blob.media_type.as_str().to_owned(),
            size_bytes: blob.size,
            diff_id: identity.map(|identity| identity.diff_id.to_string()),
            chain_id: identity.map(|identity| identity.chain_id.to_string()),
            created_by: made.next().and_then(|step| step.entry.created_by.clone()),
            present: held.map(|held| held.blobs.contains_key(&blob.digest)),
            snapshots: snapshots.filter(|_| identity.is_some()).unwrap_or_default(),
        }
    };
    part.manifest.layers.iter().enumerate().map(&mut layer).collect()
}

/// Writes one line, its name in a column of its own.
pub(super) fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    if value.is_empty() { Ok(()) } else { writeln!(f, "  {name:<12}{value}") }
}

fn lines<T: AsRef<str>>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    values: impl IntoIterator<Item = T>,
) -> fmt::Result {
    for (position, value) in values.into_iter().enumerate() {
        line(f, if position == 0 { name } else { "" }, value.as_ref())?;
    }
    Ok(())
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.reference)?;
        line(f, "in", &self.place)?;
        line(f, "digest", &self.target.digest.to_string())?;
        line(f, "type", &self.target.media_type)?;
        lines(f, "names", self.names.iter().map(|name| &name.name))?;
        if self.is_renamed {
            lines(f, "came from", &self.came_from)?;
        }
        lines(f, "platforms", self.platforms.iter().map(|listed| self.told(listed)))?;
        lines(f, "leases", self.leases.iter().map(Lease::told))?;
        lines(f, "used by", self.containers.iter().map(Container::told))?;
        for image in &self.images {
            writeln!(f)?;
            image.fmt(f)?;
        }
        Ok(())
    }
}

impl Inspection {
    /// The same, of an image that can be had again where `leads` lead.
    pub(super) fn from(mut self, leads: &[Lead]) -> Self {
        let sources = leads.iter().filter(|lead| lead.is_source);
        self.came_from = sources.map(|lead| lead.reference.name()).collect();
        let is_only_called_so = leads.iter().any(|lead| !lead.is_source);
        self.is_renamed = is_only_called_so && !self.came_from.is_empty();
        self
    }

    fn told(&self, listed: &Listing) -> String {
        let platform = listed.platform.as_deref().unwrap_or("no image");
        let absent = if self.is_stored && !listed.present { ", not here" } else { "" };
        format!("{platform} {}{absent}", listed.digest)
    }
}

impl Lease {
    fn told(&self) -> String {
        let expires =
            self.expires.as_ref().map(|time| format!(" until {time}")).unwrap_or_default();
        format!("{}{expires}", self.id)
    }
}

impl Container {
    fn told(&self) -> String {
        match &self.pod {
            Some(pod) => format!("{pod} ({})", self.id),
            None => self.id.clone(),
        }
    }
}

fn words(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { serde_json::to_string(words).unwrap_or_default() }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.platform.as_deref().unwrap_or("no image"))?;
        line(f, "manifest", &self.manifest.digest.to_string())?;
        line(f, "image ID", &self.config.digest.to_string())?;
        line(f, "size", &units::bytes(self.size_bytes))?;
        line(f, "created", self.created.as_deref().unwrap_or_default())?;
        line(f, "author", self.author.as_deref().unwrap_or_default())?;
        if let Some(runtime) = &self.runtime {
            line(f, "user", &runtime.user)?;
            line(f, "entrypoint", &words(&runtime.entrypoint))?;
            line(f, "cmd", &words(&runtime.cmd))?;
            line(f, "directory", &runtime.working_dir)?;
            line(f, "stop signal", &runtime.stop_signal)?;
            lines(f, "ports", runtime.exposed_ports.iter())?;
            lines(f, "volumes", runtime.volumes.iter())?;
            lines(f, "env", &runtime.env)?;
            let label = |(name, value): (&String, &String)| format!("{name}={value}");
            lines(f, "labels", runtime.labels.iter().map(label))?;
        }
        let rows = self.layers.iter().map(Layer::row);
        write!(f, "{}", table(["LAYER", "SIZE", "DIFF ID", "HERE", "MADE BY"], rows))?;
        let others = self.history.iter().filter(|step| step.layer.is_none());
        let others: Vec<String> = others.filter_map(|step| step.entry.created_by.clone()).collect();
        if !others.is_empty() {
            write!(f, "\n  steps without a layer")?;
            for step in others {
                write!(f, "\n    {}", shown(&step))?;
            }
        }
        writeln!(f)
    }
}

/// A step's command on one line, cut where it is long.
pub(super) fn shown(step: &str) -> String {
    let one_line = step.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(SHOWN_STEP) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

impl Layer {
    fn row(&self) -> [String; 5] {
        let short = |text: &str| text.trim_start_matches("sha256:").chars().take(12).collect();
        let mut here: Vec<String> = Vec::new();
        if self.present == Some(true) {
            here.push("blob".to_owned());
        }
        for (name, state) in &self.snapshots {
            match *state {
                "present" => here.push(name.clone()),
                "other-parent" => here.push(format!("{name} (wrong parent)")),
                _ => {}
            }
        }
        [
            self.digest.short(),
            units::bytes(self.size_bytes),
            self.diff_id.as_deref().map(short).unwrap_or_default(),
            if here.is_empty() { "-".to_owned() } else { here.join(", ") },
            self.created_by.as_deref().map(shown).unwrap_or_default(),
        ]
    }
}
