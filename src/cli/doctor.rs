//! `pullctl doctor`: the node's health, each finding with its exact fix.

use std::fmt;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::groups::{HostsArgs, ProbeArgs};
use super::{Error, Session};
use crate::config::{Environment, Generation, Keychain, Kubelet, Locations, NodeConfig};
use crate::containerd::{Client, Error as Unreachable};
use crate::doctor::{self, Finding, Node, Severity};
use crate::failure::Failure;
use crate::images;
use crate::output::{Form, document};

const DOCTOR_EXAMPLES: &str = "\
Examples:
  What is wrong with this node:
    pullctl doctor

  With every registry that it is configured for, asked over the network:
    pullctl doctor --probe

  Free what pulls that ended early have left, of pullctl's own:
    pullctl doctor --clean

The exit code is 1 where there is an error, 0 otherwise.";

/// `pullctl doctor`.
#[derive(Debug, Args)]
#[command(after_long_help = DOCTOR_EXAMPLES)]
pub struct DoctorArgs {
    /// Form of the findings
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: DoctorForm,

    /// End what pulls of pullctl that ended early hold, before anything is looked at
    #[arg(long)]
    pub clean: bool,

    /// Where hosts are configured.
    #[command(flatten)]
    pub hosts: HostsArgs,

    /// Whether the network is looked at.
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// Forms of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DoctorForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The daemon's socket; `null` where none answers.
    address: Option<String>,
    /// Its version.
    containerd: Option<String>,
    /// The first line of `runc --version`.
    runc: Option<String>,
    /// The file that was read as its configuration.
    config: Option<String>,
    /// How many leftovers were ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleaned: Option<usize>,
    findings: Vec<Finding>,
}

/// Prints what is wrong with the node.
///
/// # Errors
/// A daemon that accepts connections and never answers; [`Error::AlreadyTold`] where there is an error.
pub(super) async fn run(args: &DoctorArgs, session: &Session<'_>) -> Result<(), Error> {
    let daemon = match session.connect().await {
        Err(silent @ Unreachable::Unresponsive { .. }) => return Err(silent.into()),
        connected => connected,
    };
    let cleaned = match (&daemon, args.clean) {
        (Ok(client), true) => Some(clean(client).await?),
        _ => None,
    };
    let locations = locations(args, daemon.as_ref().ok(), session).await;
    let environment = Environment::of_process();
    let read = || NodeConfig::salvage(Kubelet::find(&environment), &locations, &environment);
    let node = Node::look(daemon, read(), &environment).await;
    let mut findings = doctor::examine(&node).await;
    if args.probe.probe {
        let keychain = Arc::new(read().0.with_logins(Keychain::default()));
        let policy = args.probe.policy();
        let visited = doctor::visit_network(&node, keychain, &policy);
        findings.extend(session.patiently("the registries", visited).await);
        doctor::sort(&mut findings);
    }
    let report = Report {
        address: node.address(),
        containerd: node.version().map(str::to_owned),
        runc: doctor::runc_version(&node).await,
        config: node.config_file().map(|path| path.display().to_string()),
        cleaned,
        findings,
    };
    let form = match args.output {
        DoctorForm::Text => Form::Text,
        DoctorForm::Json => Form::JsonLine,
    };
    session.printer.out(&document(&report, form))?;
    match report.count(Severity::Error) {
        0 => Ok(()),
        _ => Err(Error::AlreadyTold(Failure::Other)),
    }
}

/// Where to look: at the file with which the daemon was started, unless another is named.
async fn locations(args: &DoctorArgs, daemon: Option<&Client>, session: &Session<'_>) -> Locations {
    let mut locations = args.hosts.locations(None);
    locations.generation = match daemon.and_then(Client::major_version) {
        None => Generation::Unknown,
        Some(..=1) => Generation::One,
        Some(_) => Generation::Two,
    };
    if locations.containerd_config.is_none() && !locations.ignore_containerd_config {
        locations.containerd_config = doctor::file_of_daemon(session.global.address()).await;
    }
    locations
}

/// Ends what pulls of ours that ended early hold; answers how many there were.
async fn clean(client: &Client) -> Result<usize, Error> {
    let left = images::leftovers(client).await?;
    images::end(client, &left).await?;
    Ok(left.len())
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.containerd) {
            (Some(address), Some(version)) => writeln!(f, "containerd {version} at {address}")?,
            (Some(address), None) => writeln!(f, "containerd at {address}")?,
            (None, _) => writeln!(f, "no containerd answers")?,
        }
        if let Some(runc) = &self.runc {
            writeln!(f, "{runc}")?;
        }
        if let Some(config) = &self.config {
            writeln!(f, "configuration {config}")?;
        }
        if let Some(count) = self.cleaned {
            writeln!(f, "{count} leftovers ended")?;
        }
        for finding in &self.findings {
            writeln!(f, "\n{finding}")?;
        }
        let counted = |severity: Severity| {
            let count = self.count(severity);
            format!("{count} {}{}", severity.label(), if count == 1 { "" } else { "s" })
        };
        let all = [Severity::Error, Severity::Warning, Severity::Note].map(counted);
        write!(f, "\n{}", all.join(", "))
    }
}
