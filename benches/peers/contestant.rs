//! Who races: the command lines of ctr, pullctl and an earlier pullctl.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::archive::Archive;
use crate::daemon::Daemon;

/// Pulls one image after the other, as a script of an admin does.
const LOOP: &str = r#"
ctr=$1 address=$2 namespace=$3
shift 3
for reference; do
    "$ctr" --address "$address" --namespace "$namespace" images pull --plain-http "$reference"
done
"#;

/// A program that pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// `ctr images pull` of the daemon's own release.
    Ctr,
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
    /// Further arguments for both builds of pullctl.
    pub(crate) arguments: Vec<String>,
}

impl Contestant {
    pub(crate) const ALL: [Self; 3] = [Self::Ctr, Self::Pullctl, Self::Before];
    pub(crate) const DEFAULT: [Self; 2] = [Self::Ctr, Self::Pullctl];

    /// The command that pulls `references` into `namespace`.
    pub(crate) fn command(
        self,
        daemon: &Daemon,
        namespace: &str,
        references: &[String],
        programs: &Programs,
    ) -> Vec<String> {
        let socket = daemon.socket().display().to_string();
        let mut command: Vec<String> = match self {
            Self::Ctr if references.len() == 1 => {
                let mut command = daemon.ctr_command(namespace);
                command.extend(["images", "pull", "--plain-http"].map(str::to_owned));
                command
            }
            Self::Ctr => {
                let ctr = daemon.ctr_program().display().to_string();
                ["sh", "-ec", LOOP, "sh", &ctr, &socket, namespace].map(str::to_owned).to_vec()
            }
            Self::Pullctl => programs.pull(&programs.pullctl, &socket, namespace),
            Self::Before => {
                let program = programs.before.as_ref().unwrap_or(&programs.pullctl);
                programs.pull(program, &socket, namespace)
            }
        };
        command.extend(references.iter().cloned());
        command
    }
}

impl Contestant {
    /// The command that saves `references` out of `namespace` in `archive`.
    pub(crate) fn save_command(
        self,
        daemon: &Daemon,
        namespace: &str,
        references: &[String],
        archive: &Path,
        programs: &Programs,
    ) -> Vec<String> {
        let (socket, archive) =
            (daemon.socket().display().to_string(), archive.display().to_string());
        let ours = |program: &Path| {
            let program = program.display().to_string();
            let words =
                [&program, "-a", &socket, "-n", namespace, "save", "--progress", "none", "-o"];
            words.map(str::to_owned).to_vec()
        };
        let mut command = match self {
            Self::Ctr => {
                let mut command = daemon.ctr_command(namespace);
                command.extend(["images", "export"].map(str::to_owned));
                command
            }
            Self::Pullctl => ours(&programs.pullctl),
            Self::Before => ours(programs.before.as_ref().unwrap_or(&programs.pullctl)),
        };
        command.push(archive);
        command.extend(references.iter().cloned());
        command
    }

    /// The command that loads the images of `archive` into `namespace`.
    pub(crate) fn load_command(
        self,
        daemon: &Daemon,
        namespace: &str,
        archive: &Archive,
        programs: &Programs,
    ) -> Vec<String> {
        let socket = daemon.socket().display().to_string();
        let program = match self {
            Self::Ctr => {
                let command = daemon.ctr_command(namespace);
                return archive.read_by(command, &["images", "import"]);
            }
            Self::Pullctl => &programs.pullctl,
            Self::Before => programs.before.as_ref().unwrap_or(&programs.pullctl),
        };
        let program = program.display().to_string();
        let words = [&program, "-a", &socket, "-n", namespace, "load", "--progress", "none"];
        archive.read_by(words.map(str::to_owned).to_vec(), &["-i"])
    }
}

impl Programs {
    fn pull(&self, program: &Path, socket: &str, namespace: &str) -> Vec<String> {
        let program = program.display().to_string();
        let words = [&program, "-a", socket, "-n", namespace, "pull", "--plain-http"];
        let quiet = ["--progress", "none"];
        let words = words.into_iter().chain(quiet).map(str::to_owned);
        words.chain(self.arguments.iter().cloned()).collect()
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ctr => "ctr",
            Self::Pullctl => "pullctl",
            Self::Before => "before",
        })
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|contestant| contestant.to_string() == name);
        found.ok_or_else(|| "there are ctr, pullctl and before".to_owned())
    }
}
