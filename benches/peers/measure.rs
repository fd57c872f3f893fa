//! One run, measured, and what has to be so before and after it.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::archive::Files;
use crate::cases::{Act, Case, Limit};
use crate::contestant::{Contestant, Programs, Task};
use crate::daemon::Daemon;
use crate::floor;
use crate::memory;
use crate::network::{Front, Network};
use crate::origin::Origin;
use crate::process;
use crate::publish::Published;
use crate::results::Sample;
use crate::sender::{self, Place, Sent};
use crate::steps;
use crate::support::containerd::KUBERNETES;
use crate::support::unique;
use crate::traffic::Traffic;

/// Connections over which a large blob comes from far away, as many as pullctl opens at most.
const CONNECTIONS: u64 = 16;

/// What an archive is called while it is there.
const ARCHIVE: &str = "images.tar";

/// What a list is called while it is there.
const LIST: &str = "images.txt";

/// A case on one daemon.
pub(crate) struct Race<'a> {
    pub(crate) case: &'a Case,
    pub(crate) images: &'a [Published],
    pub(crate) front: &'a Front<'a>,
    pub(crate) daemon: &'a Daemon,
    pub(crate) programs: &'a Programs,
    /// Where the case takes from files what others pull.
    pub(crate) files: Option<&'a Files>,
}

impl Race<'_> {
    /// Lets `contestant` do once what the case is about, in a daemon that has nothing of it (or all
    /// of it, where the case says so), and makes the daemon forget it.
    pub(crate) fn run(&self, contestant: Contestant) -> Result<Sample, String> {
        let (references, home) = (self.references(), self.scratch()?);
        let namespace = match self.case.act {
            // The CRI knows no other.
            Act::Ensure => KUBERNETES.to_owned(),
            _ => unique("bench"),
        };
        let other = unique("bench-other");
        let task = self.task(&namespace, &references);
        let sample = self.act(contestant, &task, &other, home.path());
        let (there, used): (_, &[&str]) = match self.case.act {
            Act::Copy => (None, &[]),
            Act::CopyNamespaces => (Some(&other), &[&namespace, &other]),
            _ => (Some(&namespace), &[&namespace]),
        };
        let checked = match there {
            Some(namespace) if sample.is_ok() => self.daemon.check(namespace, &references),
            _ => Ok(()),
        };
        self.daemon.forget(used)?;
        checked.map_err(|error| format!("{contestant}: {error}"))?;
        sample
    }

    fn act(
        &self,
        contestant: Contestant,
        task: &Task<'_>,
        other: &str,
        home: &Path,
    ) -> Result<Sample, String> {
        let pull = contestant.pull(task);
        match (self.case.act, self.files) {
            (Act::Pull, _) => self.measure(&pull, home, || self.front.traffic()),
            (Act::Load(_), Some(files)) => {
                let load = contestant.load(task, files);
                self.measure(&load, home, || self.front.traffic())
            }
            (Act::PullAgain, _) => {
                process::run(&pull, home)?;
                self.measure(&pull, home, || self.front.traffic())
            }
            (Act::Ensure, _) => {
                self.fill(task, home)?;
                let list = home.join(LIST);
                std::fs::write(&list, task.references.join("\n"))
                    .map_err(|error| format!("{}: {error}", list.display()))?;
                let ensure = contestant.ensure(task, &list);
                let sample = self.measure(&ensure, home, || self.front.traffic())?;
                match (contestant, sample.traffic.requests) {
                    (Contestant::Crictl, _) | (_, 0) => Ok(sample),
                    (_, asked) => Err(format!("{contestant} asked {asked} times")),
                }
            }
            (Act::Save, _) => {
                process::run(&pull, home)?;
                self.save(contestant, task, home)
            }
            (Act::CopyNamespaces, _) => {
                self.fill(task, home)?;
                let copy = contestant.copy_to_namespace(task, other);
                self.measure(&copy, home, || self.front.traffic())
            }
            (Act::Check, _) => {
                self.fill(task, home)?;
                self.check(contestant, task, home)
            }
            (Act::Push | Act::PushAgain, _) => {
                self.fill(task, home)?;
                self.send(home, |target| contestant.push(task, target))
            }
            (Act::Copy, _) => self.send(home, |target| contestant.copy(task, target)),
            (Act::Load(_), None) => Err("there is no archive".to_owned()),
        }
    }

    /// Has the images in the namespace, put there by pullctl, whoever goes on with them.
    fn fill(&self, task: &Task<'_>, home: &Path) -> Result<(), String> {
        process::run(&Contestant::Pullctl.pull(task), home).map(drop)
    }

    /// Measures what `command` takes to bring the image to an empty registry, or to one that has it
    /// already. Its requests are those that count.
    fn send(&self, home: &Path, command: impl Fn(&str) -> Vec<String>) -> Result<Sample, String> {
        let target = Origin::start(None);
        let [image] = self.images else { return Err("one image is sent".to_owned()) };
        let command = command(&image.reference(target.authority()));
        if self.case.act == Act::PushAgain {
            process::run(&command, home)?;
        }
        let sample = self.measure(&command, home, || target.traffic())?;
        match image.is_at(target.authority()) {
            true => Ok(sample),
            false => Err(format!("not all of it came: {}", command.join(" "))),
        }
    }

    fn references(&self) -> Vec<String> {
        self.images.iter().map(|image| image.reference(self.front.authority())).collect()
    }

    fn task<'a>(&'a self, namespace: &'a str, references: &'a [String]) -> Task<'a> {
        let Self { daemon, files, programs, .. } = *self;
        Task { daemon, namespace, references, files, programs }
    }

    /// Lets `contestant` save what is in the namespace, from memory into memory: what was pulled just
    /// now is in the page cache.
    fn save(&self, contestant: Contestant, task: &Task<'_>, home: &Path) -> Result<Sample, String> {
        let archive = home.join(ARCHIVE);
        let command = contestant.save(task, &archive);
        let sample = self.measure(&command, home, || self.front.traffic())?;
        let length = std::fs::metadata(&archive).map_or(0, |found| found.len());
        let layers: u64 =
            self.images.iter().flat_map(|image| &image.layers).map(|(_, bytes)| bytes).sum();
        match length > layers {
            true => Ok(sample),
            false => Err(format!("{contestant} saved {length} bytes of {layers}")),
        }
    }

    /// Lets `contestant` check what is in the namespace, all of which is right.
    fn check(
        &self,
        contestant: Contestant,
        task: &Task<'_>,
        home: &Path,
    ) -> Result<Sample, String> {
        let sample = self.measure(&contestant.check(task), home, || self.front.traffic())?;
        let said = process::printed(home);
        match said.contains("nothing is wrong") && !said.contains("not compared") {
            true => Ok(sample),
            false => Err(format!("{contestant} did not compare all: {said}")),
        }
    }

    /// How long `sha256sum` of the blobs and `igzip -d | tar d` of the layers take, as many layers at a
    /// time as there are processors.
    fn compare_files(&self) -> Result<Duration, String> {
        let (namespace, references, home) = (unique("bench"), self.references(), self.scratch()?);
        self.fill(&self.task(&namespace, &references), home.path())?;
        let [image] = self.images else { return Err("one image is checked".to_owned()) };
        let directories = self.daemon.layers(&namespace)?;
        let script = r#"printf '%s\0' "$@" | xargs -0 -n 2 -P "$(nproc)" bash -o pipefail -c '
            sha256sum "$1" >/dev/null && igzip -d -c <"$1" | tar d -C "$2"' layer"#;
        let mut command =
            ["bash", "-o", "pipefail", "-c", script, "layers"].map(str::to_owned).to_vec();
        for ((digest, _), directory) in image.layers.iter().zip(&directories) {
            let blob = self.daemon.blob(digest);
            command.extend([&blob, directory].map(|path| path.display().to_string()));
        }
        rustix::fs::sync();
        let compared = process::run(&command, home.path());
        self.daemon.forget(&[&namespace])?;
        match directories.len() == image.layers.len() {
            true => Ok(compared?.wall),
            false => Err(format!("{} directories of layers", directories.len())),
        }
    }

    /// How long `cp` of the archive takes that `save` makes.
    fn copy(&self) -> Result<Duration, String> {
        let (namespace, references, home) = (unique("bench"), self.references(), self.scratch()?);
        let task = self.task(&namespace, &references);
        self.fill(&task, home.path())?;
        let archive = home.path().join(ARCHIVE);
        process::run(&Contestant::Pullctl.save(&task, &archive), home.path())?;
        self.daemon.forget(&[&namespace])?;
        rustix::fs::sync();
        let archive = archive.display().to_string();
        let copy = ["cp".to_owned(), archive.clone(), format!("{archive}.copy")];
        Ok(process::run(&copy, home.path())?.wall)
    }

    /// How long `cp` and `openssl dgst -sha256` of the layers' blobs take side by side, as many of each at a
    /// time as there are processors.
    fn copy_and_hash(&self) -> Result<Duration, String> {
        let (namespace, references, home) = (unique("bench"), self.references(), self.scratch()?);
        self.fill(&self.task(&namespace, &references), home.path())?;
        let script = r#"target=$1; shift
            printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" openssl dgst -sha256 >/dev/null & hashing=$!
            printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" cp -t "$target"
            wait $hashing"#;
        let mut command =
            ["bash", "-o", "pipefail", "-ec", script, "blobs"].map(str::to_owned).to_vec();
        command.push(home.path().display().to_string());
        let layers = self.images.iter().flat_map(|image| &image.layers);
        command.extend(layers.map(|(digest, _)| self.daemon.blob(digest).display().to_string()));
        rustix::fs::sync();
        let done = process::run(&command, home.path());
        self.daemon.forget(&[&namespace])?;
        Ok(done?.wall)
    }

    /// How long the plainest sender takes to bring the image to an empty registry.
    fn send_plainly(&self) -> Result<Duration, String> {
        let [image] = self.images else { return Err("one image is sent".to_owned()) };
        let (namespace, references, home) = (unique("bench"), self.references(), self.scratch()?);
        let is_push = self.case.act == Act::Push;
        if is_push {
            self.fill(&self.task(&namespace, &references), home.path())?;
        }
        let authority = self.front.authority();
        let place = |digest: &str| match is_push {
            true => Place::File(self.daemon.blob(digest)),
            false => Place::Registry(image.blob_url(authority, digest)),
        };
        let manifest = image.document(authority)?;
        let blobs = manifest.blobs()?;
        let blobs = blobs.into_iter().map(|(digest, size)| {
            let place = place(&digest);
            Sent { digest, size, place }
        });
        let target = Origin::start(None);
        rustix::fs::sync();
        let sent = sender::measure(target.authority(), image, blobs.collect(), manifest.bytes);
        if is_push {
            self.daemon.forget(&[&namespace])?;
        }
        match image.is_at(target.authority()) {
            true => sent,
            false => Err(format!("not all of it came: {sent:?}")),
        }
    }

    /// How long `cp -a` of the layers' files takes, as many layers at a time as there are processors.
    fn copy_files(&self) -> Result<Duration, String> {
        let (namespace, references, home) = (unique("bench"), self.references(), self.scratch()?);
        self.fill(&self.task(&namespace, &references), home.path())?;
        let target = self.scratch()?;
        rustix::fs::sync();
        let script =
            r#"printf '%s\0' "$1"/* | xargs -0 -n 1 -P "$(nproc)" cp -a --reflink=never -t "$2""#;
        let (from, to) = (self.daemon.snapshots(), target.path());
        let given = [&from, to].map(|path| path.display().to_string());
        let shell = ["bash", "-c", script, "copy"].map(str::to_owned);
        let copied = process::run(&[&shell[..], &given[..]].concat(), home.path());
        self.daemon.forget(&[&namespace])?;
        self.daemon.attic().take(target.path())?;
        Ok(copied?.wall)
    }

    /// Runs `command`; `seen` is what the server that counts has seen so far.
    fn measure(
        &self,
        command: &[String],
        home: &Path,
        seen: impl Fn() -> Traffic,
    ) -> Result<Sample, String> {
        let daemon = self.daemon.process;
        // What earlier runs wrote and removed is not this one's business.
        rustix::fs::sync();
        memory::fetch();
        self.front.begin();
        daemon.forget_peak().map_err(|error| format!("clear_refs: {error}"))?;
        let (cpu, traffic) = (daemon.cpu(), seen());
        let costs = process::run(command, home)?;
        Ok(Sample {
            wall_seconds: costs.wall.as_secs_f64(),
            client_cpu_seconds: costs.cpu.as_secs_f64(),
            daemon_cpu_seconds: daemon.cpu().saturating_sub(cpu).as_secs_f64(),
            client_peak_bytes: costs.peak_bytes,
            daemon_peak_bytes: daemon.peak_bytes(),
            traffic: seen() - traffic,
        })
    }

    /// Does what the case's [yardstick](Limit) is. Of most, every layer, each once, goes through `curl | igzip -d | tar x` on the daemon's disk; as many at a time as there are
    /// processors.
    pub(crate) fn limit(&self) -> Result<Duration, String> {
        match self.case.limit {
            Some(Limit::Copy) => return self.copy(),
            Some(Limit::Steps) => return self.steps(),
            Some(Limit::Unpack) | None => {}
        }
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
        memory::fetch();
        let started = Instant::now();
        process::run(&command, home.path())?;
        let elapsed = started.elapsed();
        self.daemon.attic().take(target.path())?;
        Ok(elapsed)
    }

    /// Does once what no client gets around, and less than any does.
    pub(crate) fn floor(&self) -> Result<Duration, String> {
        match self.case.act {
            Act::Save => return self.copy_and_hash(),
            Act::Push | Act::Copy => return self.send_plainly(),
            Act::CopyNamespaces => return self.copy_files(),
            Act::Check => return self.compare_files(),
            _ => {}
        }
        let folder = self.scratch()?;
        let connections = match self.case.network {
            Network::Direct => 1,
            _ => CONNECTIONS,
        };
        let authority = self.front.authority();
        let elapsed =
            floor::measure(self.daemon, folder.path(), authority, self.images, connections);
        self.daemon.attic().take(folder.path())?;
        elapsed
    }

    /// How long everything takes that the pull of the image waits for.
    fn steps(&self) -> Result<Duration, String> {
        let [image] = self.images else { return Err("one image is pulled".to_owned()) };
        let folder = self.scratch()?;
        let elapsed = steps::measure(self.daemon, folder.path(), self.front.authority(), image);
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
