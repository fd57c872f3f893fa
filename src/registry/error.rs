//! What an operation came to when no host gave what was asked for.

use std::fmt;
use std::time::Duration;

use crate::config::Source;
use crate::failure::{Diagnose, Failure};
use crate::progress::HostAttempt;
use crate::registry::fault::Fault;
use crate::registry::place::SettingsPlace;

/// What requests for blobs are told with, `GET blobs/sha256:…`.
pub(crate) const BLOB: &str = "blobs/";

/// An operation on a repository failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The configuration allows no host to be asked.
    #[error("cannot {what}: no configured host may be asked")]
    NoHost {
        /// `resolve docker.io/library/busybox:latest`.
        what: String,
    },
    /// The configuration allows no host to be pushed to.
    #[error("cannot push to {name}: no configured host may be pushed to")]
    NoPushHost {
        /// `harbor.example.net/team/app`.
        name: String,
    },
    /// The environment can't be used.
    #[error("cannot use the environment's proxy settings")]
    Environment(#[source] SetupError),
    /// A host's settings can't be used, so that nobody is asked: going on silently with the next
    /// host would defeat them.
    #[error("cannot use the settings of {host}")]
    Setup {
        /// Whose settings.
        host: String,
        /// Where they stand.
        settings: Source,
        /// What is wrong with them.
        source: SetupError,
    },
    /// Every host that may be asked failed.
    #[error("cannot {what}")]
    AllHostsFailed {
        /// `resolve docker.io/library/busybox:latest`.
        what: String,
        /// One entry a host: its last fault, and how often and how long it was tried.
        attempts: Vec<HostAttempt>,
        /// The same with the faults themselves.
        #[source]
        failures: HostFailures,
    },
}

/// Why a host's settings can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub(crate) String);

/// The hosts that failed, in the order they were asked; never empty.
#[derive(Debug, Clone)]
pub struct HostFailures(pub(crate) Vec<HostFailure>);

/// What one host came to.
#[derive(Debug, Clone)]
pub(crate) struct HostFailure {
    pub(crate) host: String,
    /// Where the host's settings are changed.
    pub(crate) place: SettingsPlace,
    pub(crate) fault: Fault,
    pub(crate) tries: u32,
    pub(crate) duration: Duration,
}

impl HostFailure {
    fn outcome(&self) -> String {
        if self.tries > 1 {
            format!("{} after {} attempts", self.fault, self.tries)
        } else {
            self.fault.to_string()
        }
    }
}

impl fmt::Display for HostFailures {
    /// A line for each host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.0.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            write!(f, "{separator}{}: {}", failure.host, failure.outcome())?;
            if failure.tries > 1 {
                write!(f, " ({:.1} s)", failure.duration.as_secs_f64())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for HostFailures {}

impl HostFailures {
    /// The one that decides the operation's kind: that of the host where the request got furthest. Of
    /// several, the last host is the registry itself, and knows best whether the image exists and who
    /// may have it.
    fn decisive(&self) -> Option<&HostFailure> {
        let last = self.0.len().saturating_sub(1);
        let ranked = self.0.iter().enumerate();
        ranked.max_by_key(|(index, failure)| failure.fault.reach(*index == last)).map(|(_, f)| f)
    }
}

impl Error {
    pub(crate) fn all_hosts_failed(
        what: String,
        request: &str,
        failures: Vec<HostFailure>,
    ) -> Self {
        let attempts = failures
            .iter()
            .map(|failure| HostAttempt {
                host: failure.host.clone(),
                request: request.to_owned(),
                outcome: failure.outcome(),
                duration: failure.duration,
            })
            .collect();
        Self::AllHostsFailed { what, attempts, failures: HostFailures(failures) }
    }

    /// Whether reading a manifest failed because its descriptor has another size than the content of
    /// its digest. Then it is the descriptor's origin that is wrong, whoever was asked.
    pub fn is_misdescribed(&self) -> bool {
        let Self::AllHostsFailed { failures, .. } = self else { return false };
        failures.0.iter().any(|failure| matches!(failure.fault, Fault::SizeMismatch { .. }))
    }

    /// The fault that decides the operation's kind.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::AllHostsFailed { failures, .. } => {
                failures.decisive().map(|failure| &failure.fault)
            }
            Self::NoHost { .. }
            | Self::NoPushHost { .. }
            | Self::Setup { .. }
            | Self::Environment(_) => None,
        }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Setup { .. } => Failure::Configuration,
            _ => self.fault().map_or(Failure::Other, Fault::failure),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoHost { .. } => {
                Some("give one host in hosts.toml the capabilities pull and resolve, and referrers where what refers to an image is wanted".to_owned())
            }
            Self::NoPushHost { .. } => {
                Some("give one host in hosts.toml the capability push".to_owned())
            }
            Self::Environment(_) => Some(
                "write proxies as http://host:port, https://host:port or socks5://host:port".into(),
            ),
            Self::Setup { settings: Source::File(path, line), .. } => {
                Some(format!("correct the file, or what names it in {}:{line}", path.display()))
            }
            Self::Setup { settings: Source::Default, .. } => None,
            Self::AllHostsFailed { failures, attempts, .. } => {
                let HostFailure { host, place, fault, .. } = failures.decisive()?;
                let is_of_blob = attempts.iter().any(|attempt| attempt.request.contains(BLOB));
                Some(match is_of_blob {
                    true => fault.hint_within(host, place),
                    false => fault.hint(host, place),
                })
            }
        }
    }
}
