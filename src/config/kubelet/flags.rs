//! A kubelet's flags: of the process, or of the files from which it will be started.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::root::below;

/// Files with flags as kubeadm's unit of systemd reads them, and the variable in each; later ones win.
const FILES: [(&str, &str); 3] = [
    ("/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS"),
    ("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS"),
    ("/etc/default/kubelet", "KUBELET_EXTRA_ARGS"),
];

/// Longest of these files that is read, in bytes (64 KiB).
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Flags that are gone, and the first version without each: a kubelet that is given one ends at once.
const REMOVED: [(&str, &str); 10] = [
    ("cni-bin-dir", "1.24"),
    ("cni-cache-dir", "1.24"),
    ("cni-conf-dir", "1.24"),
    ("docker-endpoint", "1.24"),
    ("experimental-dockershim-root-directory", "1.24"),
    ("image-pull-progress-deadline", "1.24"),
    ("network-plugin", "1.24"),
    ("network-plugin-mtu", "1.24"),
    ("container-runtime", "1.27"),
    ("pod-infra-container-image", "1.35"),
];

/// A flag that the kubelet has no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFlag {
    /// Its name, with dashes.
    pub name: &'static str,
    /// The first version of Kubernetes without it.
    pub since: &'static str,
    /// Where it is given: a file, or the process.
    pub place: String,
}

/// Flags with their values, in the order in which they are given.
#[derive(Debug, Default)]
pub(super) struct Flags {
    flags: Vec<Flag>,
}

#[derive(Debug)]
struct Flag {
    name: String,
    value: String,
    place: String,
}

impl Flags {
    /// Reads `arguments`, which are given at `place`.
    pub(super) fn parse(arguments: impl IntoIterator<Item = String>, place: &str) -> Self {
        let mut flags = Vec::new();
        let mut arguments = arguments.into_iter().peekable();
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix("--") else { continue };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                // A switch has no value, and what follows it is the next flag.
                None => {
                    let value = arguments.next_if(|next| !next.starts_with("--"));
                    (flag, value.unwrap_or_default())
                }
            };
            // Both spellings are one, as with every program of Kubernetes.
            let name = name.replace('_', "-");
            flags.push(Flag { name, value, place: place.to_owned() });
        }
        Self { flags }
    }

    /// Those that the node's files have for the kubelet. A file that cannot be read has none: what runs
    /// counts, and nothing does.
    pub(super) fn of_files(root: &Path) -> Self {
        let mut flags = Self::default();
        for (path, variable) in FILES {
            let path = below(root, Path::new(path));
            let arguments = arguments_in(&path, variable);
            flags.add(Self::parse(arguments, &path.display().to_string()));
        }
        flags
    }

    /// Adds `others`, which win.
    pub(super) fn add(&mut self, others: Self) {
        self.flags.extend(others.flags);
    }

    /// The value of the flag called `name`; one that is empty says nothing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let last = self.flags.iter().rev().find(|flag| flag.name == name);
        last.map(|flag| flag.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of the flag called `name`, which may be given several times.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |flag| flag.name == name).map(|flag| flag.value.as_str())
    }

    /// Where the flag called `name` is given.
    pub(super) fn place(&self, name: &str) -> &str {
        let last = self.flags.iter().rev().find(|flag| flag.name == name);
        last.map_or("", |flag| &flag.place)
    }

    /// Those with which newer kubelets do not start.
    pub(super) fn removed(&self) -> Vec<RemovedFlag> {
        let removed = |flag: &Flag| {
            let (name, since) = REMOVED.iter().find(|(name, _)| *name == flag.name)?;
            Some(RemovedFlag { name, since, place: flag.place.clone() })
        };
        self.flags.iter().filter_map(removed).collect()
    }
}

/// The words that `variable` has in a file of a unit's environment.
fn arguments_in(path: &Path, variable: &str) -> Vec<String> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let value = text.lines().rev().find_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        (name == variable).then(|| value.trim().trim_matches(['"', '\'']))
    });
    value.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Flags {
        Flags::parse(line.split_whitespace().map(str::to_owned), "here")
    }

    #[test]
    fn flags_are_read_in_every_spelling_and_the_last_one_counts() {
        let flags = parse("--a=1 --b 2 --switch --c_d=3 --a=4 stray --empty= --last");
        for (name, expected) in [
            ("a", Some("4")),
            ("b", Some("2")),
            ("switch", None),
            ("c-d", Some("3")),
            ("empty", None),
            ("last", None),
            ("stray", None),
        ] {
            assert_eq!(flags.get(name), expected, "{name}");
        }
    }

    #[test]
    fn flags_that_are_gone_are_named() {
        let flags = parse("--pod-infra-container-image=x --config=y --network_plugin cni");
        let removed: Vec<_> = flags.removed().iter().map(|flag| (flag.name, flag.since)).collect();
        assert_eq!(removed, [("pod-infra-container-image", "1.35"), ("network-plugin", "1.24")]);
    }
}
