//! What was measured, as it is kept in `results.json`.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::contestant::Contestant;
use crate::traffic::Traffic;

/// What stands for the daemon where none takes part.
pub(crate) const NO_DAEMON: &str = "none";

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The whole process, from its start to its end.
    pub(crate) wall_seconds: f64,
    pub(crate) client_cpu_seconds: f64,
    /// The daemon's, from the client's start to its end.
    pub(crate) daemon_cpu_seconds: f64,
    pub(crate) client_peak_bytes: u64,
    pub(crate) daemon_peak_bytes: u64,
    pub(crate) traffic: Traffic,
}

/// All contestants on one daemon, run in turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Duel {
    pub(crate) daemon: String,
    /// When it began, in UTC.
    pub(crate) date: String,
    /// Share of the processors' time that other tenants of the hardware took meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stolen_percent: Option<f64>,
    /// What no client gets around, where the case has that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) floor_seconds: Vec<f64>,
    /// The layers through `curl | igzip -d | tar x`, or `cp` of the archive, where the case has that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) limit_seconds: Vec<f64>,
    pub(crate) ctr: Vec<Sample>,
    /// Clients without a daemon, where the case has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skopeo: Vec<Sample>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) crane: Vec<Sample>,
    /// By the daemon's CRI, where the case has that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) crictl: Vec<Sample>,
    pub(crate) pullctl: Vec<Sample>,
    /// Another build of pullctl, where one was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<Sample>,
}

/// One case on all its daemons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) case: String,
    pub(crate) title: String,
    /// How busy the machine was with something else, just before.
    pub(crate) busy_percent: f64,
    /// All distinct layers, as they are served.
    pub(crate) layer_bytes: u64,
    pub(crate) duels: Vec<Duel>,
}

/// All cases, and the machine that they ran on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Results {
    /// What an earlier run left; nothing if there was none.
    pub(crate) fn load(file: &Path) -> Self {
        let read = fs::read(file).ok();
        let kept = read.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let outcomes = kept.map(|results| results.outcomes).unwrap_or_default();
        Self { machine: machine(), outcomes }
    }

    /// Puts `outcome` in the place of what the same case came to on the same daemons.
    pub(crate) fn put(&mut self, mut outcome: Outcome) {
        let kept = self.outcomes.iter().position(|kept| kept.case == outcome.case);
        if let Some(kept) = kept.map(|position| self.outcomes.remove(position)) {
            let is_new = |daemon: &str| outcome.duels.iter().any(|duel| duel.daemon == daemon);
            let others: Vec<Duel> =
                kept.duels.into_iter().filter(|duel| !is_new(&duel.daemon)).collect();
            outcome.duels.extend(others);
            outcome.duels.sort_by(|one, other| one.daemon.cmp(&other.daemon));
        }
        self.outcomes.push(outcome);
    }

    /// Puts the cases in the order of the report, with the titles that they have now.
    pub(crate) fn arrange(&mut self, cases: &[Case]) {
        let place = |outcome: &Outcome| cases.iter().position(|case| case.name == outcome.case);
        self.outcomes.sort_by_key(|outcome| place(outcome).unwrap_or(cases.len()));
        for outcome in &mut self.outcomes {
            if let Some(case) = cases.iter().find(|case| case.name == outcome.case) {
                case.title.clone_into(&mut outcome.title);
            }
        }
    }

    pub(crate) fn save(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Duel {
    /// The runs of `contestant`.
    pub(crate) fn runs_of(&mut self, contestant: Contestant) -> &mut Vec<Sample> {
        match contestant {
            Contestant::Ctr => &mut self.ctr,
            Contestant::Skopeo => &mut self.skopeo,
            Contestant::Crane => &mut self.crane,
            Contestant::Crictl => &mut self.crictl,
            Contestant::Pullctl => &mut self.pullctl,
            Contestant::Before => &mut self.before,
        }
    }

    /// Those beside pullctl that ran, with the median of their times in seconds.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let peers = [
            ("ctr", &self.ctr),
            ("skopeo", &self.skopeo),
            ("crane", &self.crane),
            ("crictl", &self.crictl),
        ];
        peers.into_iter().filter_map(|(name, samples)| Some((name, wall(samples)?)))
    }

    /// How many times faster pullctl was than the build before, by the median of the pairs' ratios;
    /// `None` unless both ran.
    pub(crate) fn gain(&self) -> Option<f64> {
        let pairs = self.before.iter().zip(&self.pullctl);
        median(pairs.map(|(before, ours)| before.wall_seconds / ours.wall_seconds))
    }
}

/// Median of the wall time, in seconds.
pub(crate) fn wall(samples: &[Sample]) -> Option<f64> {
    median(samples.iter().map(|sample| sample.wall_seconds))
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().checked_sub(1)? / 2;
    Some((values.get(lower)? + values.get(upper)?) / 2.0)
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split_once(": ").map(|(_, model)| model))
        .collect();
    let meminfo = read("/proc/meminfo");
    let kibibytes = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let gibibytes = kibibytes.unwrap_or(0) >> 20;
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.split(['-', '\n']).next().unwrap_or_default();
    let model = models.first().copied().unwrap_or("unknown processor");
    format!("{} × {model}, {gibibytes} GiB, Linux {kernel}", models.len())
}
