//! The kubelet that runs on this node, found in `/proc`.
//!
//! What it is started with decides which programs are run for logins, so that nobody may pass a process
//! of his own off as it: it is root's or this user's, and its files are those of this node and no
//! container's.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Longest command line that is read, in bytes (64 KiB); a kubelet's has some hundreds.
const MAX_COMMAND_LINE: u64 = 64 << 10;

/// How long most command lines are, in bytes (4 KiB): without room for that, they are read by the word.
const USUAL_COMMAND_LINE: usize = 4 << 10;

/// A process that is, or has inside of it, a kubelet.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) program: Program,
    /// The program's own name first.
    pub(super) arguments: Vec<String>,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Kubelet,
    /// k3s, which has a kubelet inside.
    K3s,
}

/// The one that runs on the node whose root is at `root`; the oldest, where several do.
pub(super) fn find(root: &Path) -> Option<Process> {
    let mut pids: Vec<u32> = fs::read_dir(root.join("proc"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().find_map(|pid| process(root, pid))
}

fn process(root: &Path, pid: u32) -> Option<Process> {
    let directory = root.join("proc").join(pid.to_string());
    let mut line = Vec::with_capacity(USUAL_COMMAND_LINE);
    let file = File::open(directory.join("cmdline")).ok()?;
    file.take(MAX_COMMAND_LINE).read_to_end(&mut line).ok()?;
    let arguments: Vec<String> = line
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let program = program(&arguments)?;
    let is_of_node = belongs_to_root_or_us(&directory) && has_root(&directory, root);
    is_of_node.then_some(Process { pid, program, arguments })
}

fn program(arguments: &[String]) -> Option<Program> {
    // k3s writes its arguments anew, as one text, since they may hold its token.
    let mut words = arguments.iter().flat_map(|argument| argument.split(' '));
    let name = words.next()?.rsplit('/').next()?;
    match (name, words.next()) {
        ("kubelet", _) | ("hyperkube", Some("kubelet")) => Some(Program::Kubelet),
        ("k3s", Some("server" | "agent")) | ("k3s-server" | "k3s-agent", _) => Some(Program::K3s),
        _ => None,
    }
}

fn belongs_to_root_or_us(directory: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    fs::metadata(directory).is_ok_and(|metadata| [0, us].contains(&metadata.uid()))
}

/// Whether what the process takes for `/` is the node's root. Where that may not be asked, it is not.
fn has_root(directory: &Path, root: &Path) -> bool {
    let identity =
        |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let own = identity(&directory.join("root"));
    own.is_some() && own == identity(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_are_known_by_their_names() {
        for (arguments, expected) in [
            (&["/usr/bin/kubelet", "--config=x"][..], Some(Program::Kubelet)),
            (&["kubelet"], Some(Program::Kubelet)),
            (&["/hyperkube", "kubelet", "--v=2"], Some(Program::Kubelet)),
            (&["/hyperkube", "kube-proxy"], None),
            (&["/usr/local/bin/k3s server"], Some(Program::K3s)),
            (&["/usr/local/bin/k3s", "agent"], Some(Program::K3s)),
            (&["k3s", "kubectl", "get"], None),
            (&["vi", "kubelet"], None),
            (&["/opt/kubelet/run"], None),
            (&[], None),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(program(&arguments), expected, "{arguments:?}");
        }
    }
}
