//! Who races: the command lines of ctr and pullctl.

use std::fmt;
use std::str::FromStr;

use crate::daemon::Daemon;
use crate::options::Options;

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
}

impl Contestant {
    pub(crate) const BOTH: [Self; 2] = [Self::Ctr, Self::Pullctl];

    /// The command that pulls `references` into `namespace`.
    pub(crate) fn command(
        self,
        daemon: &Daemon,
        namespace: &str,
        references: &[String],
        options: &Options,
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
            Self::Pullctl => {
                let program = options.pullctl.display().to_string();
                let words = [&program, "-a", &socket, "-n", namespace, "pull", "--plain-http"];
                let quiet = ["--progress", "none"].into_iter();
                let more = quiet.chain(options.pullctl_options.split_whitespace());
                words.into_iter().chain(more).map(str::to_owned).collect()
            }
        };
        command.extend(references.iter().cloned());
        command
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ctr => "ctr",
            Self::Pullctl => "pullctl",
        })
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::BOTH.into_iter().find(|contestant| contestant.to_string() == name);
        found.ok_or_else(|| "there are ctr and pullctl".to_owned())
    }
}
