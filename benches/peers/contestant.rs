//! Who races: the command lines of ctr, skopeo, crane, crictl, pullctl and an earlier pullctl.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::archive::Files;
use crate::cases::Act;
use crate::daemon::Daemon;
use crate::support::containerd::program_of_part;

/// Pulls one image after the other, as a script of an admin does.
const LOOP: &str = r#"
ctr=$1 address=$2 namespace=$3
shift 3
for reference; do
    "$ctr" --address "$address" --namespace "$namespace" images pull --plain-http "$reference"
done
"#;

/// Has the CRI see to each image, as such a script does.
const CRI_LOOP: &str = r#"
crictl=$1 socket=unix://$2
shift 2
for reference; do
    "$crictl" --runtime-endpoint "$socket" --image-endpoint "$socket" pull "$reference"
done
"#;

/// Takes an image out of one namespace and puts it into another.
const THROUGH_A_PIPE: &str = r#"
"$1" --address "$2" --namespace "$3" images export - "$5" |
    "$1" --address "$2" --namespace "$4" images import -
"#;

/// A program that moves images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// `ctr images` of the daemon's own release.
    Ctr,
    /// Without a daemon.
    Skopeo,
    /// The same.
    Crane,
    /// By the daemon's CRI.
    Crictl,
    Pullctl,
    /// Another build of pullctl.
    Before,
}

/// Where the contestants' programs are; the daemon knows its own `ctr`.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) pullctl: PathBuf,
    /// What [`Contestant::Before`] runs, where one was given.
    pub(crate) before: Option<PathBuf>,
    /// Further arguments for both builds of pullctl, when they pull.
    pub(crate) arguments: Vec<String>,
}

/// What a run is about.
pub(crate) struct Task<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) namespace: &'a str,
    /// The images where they come from.
    pub(crate) references: &'a [String],
    pub(crate) files: Option<&'a Files>,
    pub(crate) programs: &'a Programs,
}

impl Contestant {
    pub(crate) const ALL: [Self; 6] =
        [Self::Ctr, Self::Skopeo, Self::Crane, Self::Crictl, Self::Pullctl, Self::Before];
    pub(crate) const DEFAULT: [Self; 5] =
        [Self::Ctr, Self::Skopeo, Self::Crane, Self::Crictl, Self::Pullctl];

    /// Whether it takes part in that; who needs no daemon does so beside one of them, which `is_there`
    /// tells.
    pub(crate) fn enters(self, act: Act, is_there: bool) -> bool {
        match self {
            Self::Ctr => !matches!(act, Act::Copy | Act::Ensure | Act::Check),
            Self::Crictl => act == Act::Ensure && crictl().is_some(),
            Self::Skopeo => is_there && matches!(act, Act::Push | Act::PushAgain | Act::Copy),
            Self::Crane => is_there && act == Act::Copy,
            Self::Pullctl | Self::Before => true,
        }
    }

    /// The program, where it is pullctl.
    fn pullctl(self, programs: &Programs) -> &Path {
        match self {
            Self::Before => programs.before.as_ref().unwrap_or(&programs.pullctl),
            _ => &programs.pullctl,
        }
    }

    /// pullctl with the flags that every command takes, and `words`.
    fn ours(self, task: &Task<'_>, words: &[&str]) -> Vec<String> {
        let program = self.pullctl(task.programs).display().to_string();
        let socket = task.daemon.socket().display().to_string();
        let mut command =
            [&program, "-a", &socket, "-n", task.namespace].map(str::to_owned).to_vec();
        command.extend(words.iter().map(|word| (*word).to_owned()));
        command.extend(["--progress", "none"].map(str::to_owned));
        command
    }

    /// The command that pulls the images into the namespace.
    pub(crate) fn pull(self, task: &Task<'_>) -> Vec<String> {
        let Task { daemon, namespace, references, .. } = *task;
        let mut command = match self {
            Self::Ctr if references.len() == 1 => {
                let mut command = daemon.ctr_command(namespace);
                command.extend(["images", "pull", "--plain-http"].map(str::to_owned));
                command
            }
            Self::Ctr => {
                let ctr = daemon.ctr_program().display().to_string();
                let socket = daemon.socket().display().to_string();
                ["sh", "-ec", LOOP, "sh", &ctr, &socket, namespace].map(str::to_owned).to_vec()
            }
            _ => {
                let mut command = self.ours(task, &["pull", "--plain-http"]);
                command.extend(task.programs.arguments.iter().cloned());
                command
            }
        };
        command.extend(references.iter().cloned());
        command
    }

    /// The command that sees to it that the images, which are all listed in `list`, are there.
    pub(crate) fn ensure(self, task: &Task<'_>, list: &Path) -> Vec<String> {
        if self != Self::Crictl {
            let list = list.display().to_string();
            return self.ours(task, &["pull", "--policy", "missing", "-f", &list]);
        }
        let crictl = crictl().unwrap_or_default().display().to_string();
        let socket = task.daemon.socket().display().to_string();
        let shell = ["sh", "-ec", CRI_LOOP, "sh", &crictl, &socket].map(str::to_owned);
        shell.into_iter().chain(task.references.iter().cloned()).collect()
    }

    /// The command that saves the images out of the namespace in `archive`.
    pub(crate) fn save(self, task: &Task<'_>, archive: &Path) -> Vec<String> {
        let archive = archive.display().to_string();
        let mut command = match self {
            Self::Ctr => {
                let mut command = task.daemon.ctr_command(task.namespace);
                command.extend(["images", "export", &archive].map(str::to_owned));
                command
            }
            _ => self.ours(task, &["save", "-o", &archive]),
        };
        command.extend(task.references.iter().cloned());
        command
    }

    /// The command that loads the images of the archive into the namespace.
    pub(crate) fn load(self, task: &Task<'_>, files: &Files) -> Vec<String> {
        if self != Self::Ctr {
            return files.read_by(self.ours(task, &["load"]), &["-i"]);
        }
        let (ctr, socket) = (task.daemon.ctr_program(), task.daemon.socket());
        let (ctr, socket) = (ctr.display().to_string(), socket.display().to_string());
        files.one_by_one(&ctr, &socket, task.namespace).unwrap_or_else(|| {
            files.read_by(task.daemon.ctr_command(task.namespace), &["images", "import"])
        })
    }

    /// The command that checks every byte and file of the images in the namespace.
    pub(crate) fn check(self, task: &Task<'_>) -> Vec<String> {
        self.ours(task, &["check", "--deep"])
    }

    /// The command that pushes the image as `target`.
    pub(crate) fn push(self, task: &Task<'_>, target: &str) -> Vec<String> {
        let reference = task.references.first().map_or("", String::as_str);
        match self {
            Self::Ctr => {
                let mut command = task.daemon.ctr_command(task.namespace);
                let words = ["images", "push", "--plain-http", target, reference];
                command.extend(words.map(str::to_owned));
                command
            }
            Self::Skopeo | Self::Crane | Self::Crictl => {
                let layout = task.files.map(Files::layout).unwrap_or_default();
                let target = format!("docker://{target}");
                let words = ["skopeo", "copy", "--dest-tls-verify=false", &layout, &target];
                words.map(str::to_owned).to_vec()
            }
            _ => self.ours(task, &["push", "--plain-http", reference, target]),
        }
    }

    /// The command that copies the image from its registry to `target`.
    pub(crate) fn copy(self, task: &Task<'_>, target: &str) -> Vec<String> {
        let reference = task.references.first().map_or("", String::as_str);
        let (from, to) = (format!("docker://{reference}"), format!("docker://{target}"));
        let crane = program_of_part("crane", "crane");
        let crane = crane.to_str().unwrap_or_default();
        let words = match self {
            Self::Crane => vec![crane, "copy", "--insecure", reference, target],
            Self::Skopeo => {
                let http = ["--src-tls-verify=false", "--dest-tls-verify=false"];
                vec!["skopeo", "copy", http[0], http[1], &from, &to]
            }
            _ => return self.ours(task, &["copy", "--plain-http", &from, &to]),
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// The command that copies the image from the namespace to `other`.
    pub(crate) fn copy_to_namespace(self, task: &Task<'_>, other: &str) -> Vec<String> {
        let Task { daemon, namespace, .. } = *task;
        let reference = task.references.first().map_or("", String::as_str);
        if self == Self::Ctr {
            let ctr = daemon.ctr_program().display().to_string();
            let socket = daemon.socket().display().to_string();
            let shell = ["bash", "-o", "pipefail", "-ec", THROUGH_A_PIPE, "copy"];
            let given = [&ctr, &socket, namespace, other, reference];
            return shell.into_iter().chain(given).map(str::to_owned).collect();
        }
        let [from, to] =
            [namespace, other].map(|namespace| format!("containerd://{namespace}/{reference}"));
        self.ours(task, &["copy", &from, &to])
    }
}

/// crictl, on machines that have it on their `PATH`: Debian does not.
fn crictl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("crictl")).find(|file| file.is_file())
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ctr => "ctr",
            Self::Skopeo => "skopeo",
            Self::Crane => "crane",
            Self::Crictl => "crictl",
            Self::Pullctl => "pullctl",
            Self::Before => "before",
        })
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|contestant| contestant.to_string() == name);
        found.ok_or_else(|| "there are ctr, skopeo, crane, crictl, pullctl and before".to_owned())
    }
}
