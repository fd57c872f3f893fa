//! One run, measured, and what has to be so before and after it.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::archive::Archive;
use crate::cases::Case;
use crate::contestant::{Contestant, Programs};
use crate::daemon::Daemon;
use crate::floor;
use crate::network::Front;
use crate::process;
use crate::publish::Published;
use crate::results::Sample;
use crate::support::unique;

/// What an archive is called while it is there.
const ARCHIVE: &str = "images.tar";

/// A case on one daemon.
pub(crate) struct Race<'a> {
    pub(crate) case: &'a Case,
    pub(crate) images: &'a [Published],
    pub(crate) front: &'a Front<'a>,
    pub(crate) daemon: &'a Daemon,
    pub(crate) programs: &'a Programs,
    /// Where the case loads what others pull.
    pub(crate) archive: Option<&'a Archive>,
}

impl Race<'_> {
    /// Lets `contestant` pull once into a daemon that has nothing of it (or all of it, where the
    /// case says so), and makes the daemon forget it.
    pub(crate) fn run(&self, contestant: Contestant) -> Result<Sample, String> {
        let namespace = unique("bench");
        let references: Vec<String> =
            self.images.iter().map(|image| image.reference(self.front.authority())).collect();
        let (daemon, programs) = (self.daemon, self.programs);
        let command = match self.archive {
            Some(archive) => contestant.load_command(daemon, &namespace, archive, programs),
            None => contestant.command(daemon, &namespace, &references, programs),
        };
        let home = self.scratch()?;
        if self.case.again || self.case.save {
            process::run(&command, home.path())?;
        }
        let sample = match self.case.save {
            true => self.save(contestant, &namespace, &references, home.path()),
            false => self.measure(&command, home.path()),
        };
        let checked = self.daemon.check(&namespace, &references);
        self.daemon.forget(&namespace)?;
        checked.map_err(|error| format!("{contestant}: {error}"))?;
        sample
    }

    /// Lets `contestant` save what is in `namespace`, from memory into memory: what was pulled just now
    /// is in the page cache.
    fn save(
        &self,
        contestant: Contestant,
        namespace: &str,
        references: &[String],
        home: &Path,
    ) -> Result<Sample, String> {
        let archive = home.join(ARCHIVE);
        let programs = self.programs;
        let command =
            contestant.save_command(self.daemon, namespace, references, &archive, programs);
        let sample = self.measure(&command, home)?;
        let length = std::fs::metadata(&archive).map_or(0, |found| found.len());
        let layers: u64 =
            self.images.iter().flat_map(|image| &image.layers).map(|(_, bytes)| bytes).sum();
        match length > layers {
            true => Ok(sample),
            false => Err(format!("{contestant} saved {length} bytes of {layers}")),
        }
    }

    /// How long `cp` of the archive takes that `save` makes.
    fn copy(&self) -> Result<Duration, String> {
        let namespace = unique("bench");
        let references: Vec<String> =
            self.images.iter().map(|image| image.reference(self.front.authority())).collect();
        let home = self.scratch()?;
        let ours = Contestant::Pullctl;
        let pull = ours.command(self.daemon, &namespace, &references, self.programs);
        process::run(&pull, home.path())?;
        let archive = home.path().join(ARCHIVE);
        let programs = self.programs;
        let save = ours.save_command(self.daemon, &namespace, &references, &archive, programs);
        process::run(&save, home.path())?;
        self.daemon.forget(&namespace)?;
        rustix::fs::sync();
        let archive = archive.display().to_string();
        let copy = ["cp".to_owned(), archive.clone(), format!("{archive}.copy")];
        Ok(process::run(&copy, home.path())?.wall)
    }

    fn measure(&self, command: &[String], home: &Path) -> Result<Sample, String> {
        let daemon = self.daemon.process;
        // What earlier runs wrote and removed is not this one's business.
        rustix::fs::sync();
        self.front.begin();
        daemon.forget_peak().map_err(|error| format!("clear_refs: {error}"))?;
        let (cpu, traffic) = (daemon.cpu(), self.front.traffic());
        let costs = process::run(command, home)?;
        Ok(Sample {
            wall_seconds: costs.wall.as_secs_f64(),
            client_cpu_seconds: costs.cpu.as_secs_f64(),
            daemon_cpu_seconds: daemon.cpu().saturating_sub(cpu).as_secs_f64(),
            client_peak_bytes: costs.peak_bytes,
            daemon_peak_bytes: daemon.peak_bytes(),
            traffic: self.front.traffic() - traffic,
        })
    }

    /// Takes every layer of the case, each once, through `curl | igzip -d | tar x` on the daemon's
    /// disk; as many at a time as there are processors.
    pub(crate) fn limit(&self) -> Result<Duration, String> {
        let target = self.scratch()?;
        let home = self.scratch()?;
        let script = r#"printf '%s\0' "$@" | xargs -0 -n 2 -P "$(nproc)" bash -o pipefail -c '
            mkdir "$2" && curl -sSf "$1" | igzip -d -c | tar x -C "$2"' layer"#;
        let mut command =
            ["bash", "-o", "pipefail", "-c", script, "layers"].map(str::to_owned).to_vec();
        for (digest, url) in self.layer_urls() {
            command.extend([url, target.path().join(digest).display().to_string()]);
        }
        rustix::fs::sync();
        let started = Instant::now();
        process::run(&command, home.path())?;
        let elapsed = started.elapsed();
        self.daemon.attic().take(target.path())?;
        Ok(elapsed)
    }

    /// Does once what no client gets around, and less than any does.
    pub(crate) fn floor(&self) -> Result<Option<Duration>, String> {
        if self.case.save {
            return self.copy().map(Some);
        }
        let folder = self.scratch()?;
        let elapsed =
            floor::measure(self.daemon, folder.path(), self.front.authority(), self.images);
        self.daemon.attic().take(folder.path())?;
        elapsed
    }

    /// Digest and address of each layer, in the order in which the images have them.
    fn layer_urls(&self) -> impl Iterator<Item = (&str, String)> {
        let authority = self.front.authority();
        let mut seen = HashSet::new();
        self.images
            .iter()
            .flat_map(|image| image.layers.iter().map(move |(digest, _)| (image, digest.as_str())))
            .filter(move |(_, digest)| seen.insert(*digest))
            .map(move |(image, digest)| (digest, image.blob_url(authority, digest)))
    }

    /// A folder that is gone with the daemon, if not before.
    fn scratch(&self) -> Result<TempDir, String> {
        let directory = self.daemon.directory();
        tempfile::tempdir_in(directory).map_err(|error| format!("{}: {error}", directory.display()))
    }
}
