//! What the command line chooses.

use std::path::PathBuf;

use clap::Parser;

use crate::cases::Case;
use crate::contestant::{Contestant, Programs};
use crate::daemon::Flavour;

/// Races pullctl against ctr, on each containerd, and against skopeo, crane and crictl.
#[derive(Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Options {
    /// Cases by name, comma-joined; all of them otherwise.
    #[arg(long, value_delimiter = ',', value_parser = case)]
    pub(crate) cases: Vec<String>,
    /// Daemons by name, comma-joined; all that are at hand otherwise.
    #[arg(long, value_delimiter = ',', value_parser = flavour)]
    pub(crate) daemons: Vec<Flavour>,
    /// Runs of each contestant, in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    /// Who runs, comma-joined: ctr, skopeo, crane, crictl, pullctl, and before where there is one.
    #[arg(long, value_delimiter = ',', default_values_t = Contestant::DEFAULT)]
    contestants: Vec<Contestant>,
    /// Another pullctl than the one that was built along.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_pullctl"))]
    pullctl: PathBuf,
    /// An earlier pullctl, which runs beside the others.
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// More options for pullctl, as one word to be split at spaces.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pullctl_options: String,
    /// Folder that keeps the registry's storage for the next run.
    #[arg(long)]
    pub(crate) store: Option<PathBuf>,
    /// Folder of `results.json` and `results.svg`; a case that runs again on a daemon
    /// replaces its results there.
    #[arg(long, default_value = "benches")]
    pub(crate) output: PathBuf,
    /// Run nothing: print and draw what `results.json` has.
    #[arg(long)]
    pub(crate) draw: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The chosen cases, in their own order.
    pub(crate) fn chosen_cases(&self) -> Vec<Case> {
        let all = Case::all().into_iter();
        all.filter(|case| self.cases.is_empty() || self.cases.iter().any(|name| name == case.name))
            .collect()
    }

    /// Who runs, in the order of the first round.
    pub(crate) fn contestants(&self) -> Vec<Contestant> {
        let mut contestants = self.contestants.clone();
        if self.against.is_some() && !contestants.contains(&Contestant::Before) {
            contestants.push(Contestant::Before);
        }
        contestants
    }

    /// What they run.
    pub(crate) fn programs(&self) -> Programs {
        Programs {
            pullctl: self.pullctl.clone(),
            before: self.against.clone(),
            arguments: self.pullctl_options.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// The chosen daemons, in their own order.
    pub(crate) fn chosen_daemons(&self) -> Vec<Flavour> {
        let mut chosen = Flavour::ALL.to_vec();
        chosen.retain(|flavour| match self.daemons.is_empty() {
            true => flavour.is_at_hand(),
            false => self.daemons.contains(flavour),
        });
        chosen
    }
}

fn case(name: &str) -> Result<String, String> {
    let names: Vec<&str> = Case::all().iter().map(|case| case.name).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("there are {}", names.join(", ")))
}

fn flavour(name: &str) -> Result<Flavour, String> {
    let found = Flavour::ALL.into_iter().find(|flavour| flavour.name() == name);
    found.ok_or_else(|| format!("there are {}", Flavour::ALL.map(Flavour::name).join(", ")))
}
