//! The kubelet inside of k3s: it is no process, and k3s hides what it was started with.
//!
//! See <https://docs.k3s.io/installation/configuration#configuration-file>.

use std::path::Path;

use serde_json::Value;

use crate::config::error::Error;
use crate::config::rancher;
use crate::config::yaml::{YamlFile, text_of};

use super::flags::Flags;
use super::process::Process;
use super::root::below;

/// Where k3s keeps everything, unless `data-dir` says otherwise.
const DATA_DIRECTORY: &str = "/var/lib/rancher/k3s";

/// Below it: what k3s writes for its kubelet since 1.32.
const KUBELET_DROP_INS: &str = "agent/etc/kubelet.conf.d";

/// What k3s gives its kubelet before anybody else may say something.
const DEFAULTS: [&str; 2] = [
    "--eviction-hard=imagefs.available<5%,nodefs.available<5%",
    "--container-runtime-endpoint=unix:///run/k3s/containerd/containerd.sock",
];

/// Settings of k3s's own that its kubelet gets under the same name.
const PASSED_ON: [&str; 2] =
    ["image-credential-provider-config", "image-credential-provider-bin-dir"];

/// The setting with the kubelet's flags: `kubelet-arg: ["name=value"]`.
const KUBELET_ARGUMENTS: &str = "kubelet-arg";

/// The flags of the kubelet inside of `process`, on the node whose root is at `root`.
///
/// # Errors
/// [`Error`] for a file of k3s's that is no YAML.
pub(super) fn flags(root: &Path, process: &Process) -> Result<Flags, Error> {
    let files = rancher::files(root, "k3s")?;
    let own = Flags::parse(process.arguments.iter().skip(1).cloned(), "the process of k3s");
    let last = |name: &str| files.iter().rev().find_map(|file| file.get(name).and_then(text_of));
    let data = own.get("data-dir").map(str::to_owned).or_else(|| last("data-dir"));
    let drop_ins = Path::new(data.as_deref().unwrap_or(DATA_DIRECTORY)).join(KUBELET_DROP_INS);

    let mut arguments = DEFAULTS.map(str::to_owned).to_vec();
    if below(root, &drop_ins).is_dir() {
        arguments.push(format!("--config-dir={}", drop_ins.display()));
    }
    for name in PASSED_ON {
        let value = own.get(name).map(str::to_owned).or_else(|| last(name));
        arguments.extend(value.map(|value| format!("--{name}={value}")));
    }
    let mut flags = Flags::parse(arguments, "k3s");
    for (file, written) in kubelet_arguments(&files) {
        let place = file.path().display().to_string();
        flags.add(Flags::parse([format!("--{}", written.trim_start_matches('-'))], &place));
    }
    let typed = own.all(KUBELET_ARGUMENTS).map(|written| format!("--{written}"));
    flags.add(Flags::parse(typed, "the process of k3s"));
    Ok(flags)
}

/// The kubelet's flags in `files`: a later file's take the place of an earlier one's, unless the
/// setting ends in a plus.
fn kubelet_arguments(files: &[YamlFile]) -> Vec<(&YamlFile, String)> {
    let mut arguments = Vec::new();
    for file in files {
        if let Some(replacing) = file.get(KUBELET_ARGUMENTS) {
            arguments = texts(replacing).map(|text| (file, text)).collect();
        }
        if let Some(added) = file.get(&format!("{KUBELET_ARGUMENTS}+")) {
            arguments.extend(texts(added).map(|text| (file, text)));
        }
    }
    arguments
}

/// One text or several.
fn texts(value: &Value) -> impl Iterator<Item = String> {
    let several = value.as_array().map(Vec::as_slice);
    several.unwrap_or(std::slice::from_ref(value)).iter().filter_map(text_of)
}
