//! The registry that every byte of the benchmark comes from: Debian's docker-registry with its
//! storage on the disk that the daemons use as well.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::support::supervisor::{Supervised, fresh_directory};
use crate::support::unique;
use crate::traffic::Traffic;

/// A running docker-registry.
pub(crate) struct Origin {
    daemon: Supervised,
    storage: PathBuf,
    authority: String,
}

impl Origin {
    /// Starts a registry whose storage is `kept` after it, or goes with it.
    pub(crate) fn start(kept: Option<&Path>) -> Self {
        let directory = fresh_directory("origin");
        let storage = kept.map_or_else(|| directory.join("storage"), Path::to_owned);
        let config = format!(
            "version: 0.1\n\
             log:\n  level: info\n  accesslog:\n    disabled: true\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n  secret: only-for-uploads\n",
            storage.display()
        );
        let path = directory.join("config.yml");
        std::fs::write(&path, config).expect("the config can be written");
        let path = path.to_str().expect("temporary paths are UTF-8").to_owned();
        let daemon = Supervised::start(directory, &["docker-registry", "serve", &path]);
        let authority = daemon.wait_until("readiness of docker-registry", || {
            let log = daemon.log();
            let (_, rest) = log.split_once("listening on ")?;
            let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())?;
            rest.get(..end).map(str::to_owned)
        });
        Self { daemon, storage, authority }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A folder that goes with the registry.
    pub(crate) fn directory(&self) -> &Path {
        self.daemon.directory()
    }

    /// The folder that holds the blobs, as `ab/abcd…/data`.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.storage.join("docker/registry/v2/blobs/sha256")
    }

    /// Everything that was asked for so far.
    pub(crate) fn traffic(&self) -> Traffic {
        // A request's line is written after its answer: when that of this request is there, so are
        // those of all that were answered before it.
        let marker = format!("/v2/{}/tags/list", unique("marker"));
        // An error status is as good as any.
        let _ = ureq::get(format!("http://{}{marker}", self.authority)).call();
        let log = self.daemon.wait_until("the registry's log", || {
            let log = self.daemon.log();
            log.contains(&marker).then_some(log)
        });
        counted(&log)
    }
}

fn counted(log: &str) -> Traffic {
    let mut clients = HashSet::new();
    let mut traffic = Traffic::default();
    let answers = log.lines().filter(|line| line.contains("msg=\"response completed"));
    for line in answers.filter(|line| !line.contains("/v2/marker-")) {
        clients.extend(member(line, "http.request.remoteaddr="));
        traffic.requests += 1;
        let written = member(line, "http.response.written=").and_then(|text| text.parse().ok());
        traffic.bytes += written.unwrap_or(0);
    }
    traffic.connections = clients.len() as u64;
    traffic
}

/// The value of `name` in a line of `name=value` pairs.
fn member<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(name)?;
    rest.split_whitespace().next().map(|value| value.trim_matches('"'))
}
