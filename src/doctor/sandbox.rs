//! The image of pods' sandboxes: without it no pod starts.

use super::finding::{Edit, Finding, Fix};
use super::hosts::shell_word;
use super::node::Node;
use crate::config::FlatSetting;

/// The release from which on the CRI tells the kubelet of pins.
const PINLESS: &str = "1.6";

pub(super) fn findings(node: &Node) -> Vec<Finding> {
    // Without a CRI there are no sandboxes, and that is told elsewhere.
    if node.cri.is_none() {
        return Vec::new();
    }
    let mut found: Vec<Finding> = unread(node).into_iter().collect();
    if let Some(image) = image(node) {
        found.extend(state(node, &image));
    }
    found
}

/// The image that the daemon starts sandboxes from now.
pub(super) fn image(node: &Node) -> Option<String> {
    let live = node.cri.as_ref()?.sandbox_image.clone();
    let configured = || configured(node).and_then(|setting| setting.text().map(str::to_owned));
    live.or_else(configured).or_else(|| node.client()?.cri().default_sandbox_image())
}

fn configured(node: &Node) -> Option<&FlatSetting> {
    let settings = node.settings.as_ref()?;
    settings.find(&["pinned_images", "sandbox"]).or_else(|| settings.find(&["sandbox_image"]))
}

/// An edit of the configuration that the daemon has not read.
fn unread(node: &Node) -> Option<Finding> {
    let live = node.cri.as_ref()?.sandbox_image.as_deref()?;
    let setting = configured(node)?;
    let written = setting.text().filter(|written| *written != live)?;
    let what = format!("the sandbox image is {written} in the file, and {live} in the daemon");
    let why = "containerd reads its configuration when it starts, and never again: pods still want the old one";
    Some(
        Finding::error("sandbox-image-not-read", what, why)
            .at(&setting.file, setting.line)
            .fixed_by(Fix::command(node.restart())),
    )
}

fn state(node: &Node, image: &str) -> Option<Finding> {
    let stored =
        node.images.iter().find(|stored| stored.names.iter().any(|name| name.name == image));
    let Some(stored) = stored else {
        let what = format!("the sandbox image {image} is not on this node");
        let why = "every pod starts from it: until it is here, each start asks its registry";
        let other = other_pause(node);
        let fix = Fix::text("pull it, and keep it from garbage collection")
            .then(node.pullctl(&format!("pull --pin {}", shell_word(image))));
        let fix = match other {
            // What is here already is nearer than what has to be fetched.
            Some(other) => fix.saying(format!(
                "pull it, and keep it from garbage collection; {other} is here, if that one will do"
            )),
            None => fix,
        };
        return Some(Finding::warning("sandbox-image-missing", what, why).fixed_by(fix));
    };
    let pins_count = !node.version.as_deref()?.trim_start_matches('v').starts_with(PINLESS);
    if stored.is_pinned() || !pins_count {
        return None;
    }
    let what = format!("the sandbox image {image} is not pinned");
    let why = "the kubelet's garbage collection may remove it while no pod runs";
    let fix = Fix::command(node.pullctl(&format!("pin {}", shell_word(image))));
    Some(Finding::note("sandbox-image-not-pinned", what, why).fixed_by(fix))
}

/// Another image for sandboxes that is here.
fn other_pause(node: &Node) -> Option<&str> {
    let names = node.images.iter().flat_map(|image| &image.names).map(|name| name.name.as_str());
    let is_tagged = |name: &&str| name.contains("/pause:");
    names.into_iter().find(is_tagged)
}

/// What to do where the registry of the sandbox image can't be reached: bring it by hand, or start from
/// one that is here.
pub(super) fn unreachable(node: &Node, image: &str, problem: &str) -> Finding {
    let what = format!(
        "the sandbox image {image} is not here, and its registry does not give it: {problem}"
    );
    let why = "no pod starts on this node";
    let by_hand = Fix::text("bring it from a machine that reaches the registry")
        .then(format!("pullctl copy {} docker-archive:pause.tar", shell_word(image)))
        .then(node.pullctl("load --pin -i pause.tar"));
    let fix = match (other_pause(node), configured(node)) {
        (Some(other), Some(setting)) => {
            let name = setting.keys.last().map_or("sandbox_image", String::as_str);
            let content = format!("{name} = {other:?}");
            let edit = Edit::Replace { file: setting.file.clone(), line: setting.line, content };
            Fix::edit(edit).then(node.restart()).saying("start sandboxes from the one that is here")
        }
        _ => by_hand,
    };
    Finding::error("sandbox-image-unreachable", what, why).fixed_by(fix)
}
