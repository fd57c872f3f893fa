//! What can be typed first: the commands, and which of them runs.

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::budget::Budget;
use super::check::{self, CheckArgs};
use super::completion::{self, CompletionArgs};
use super::copy::{self, CopyArgs};
use super::deferred::Deferred;
use super::doctor::{self, DoctorArgs};
use super::explain::{self, ExplainArgs};
use super::generate::{self, GenerateArgs};
use super::groups::GlobalArgs;
use super::images::{self, ImagesArgs};
use super::inspect::{self, InspectArgs};
use super::load::{self, LoadArgs};
use super::lock::{self, LockArgs};
use super::login::{self, LoginArgs};
use super::logout::{self, LogoutArgs};
use super::pin::{self, Change, PinArgs};
use super::pull::{self, PullArgs};
use super::push::{self, PushArgs};
use super::refs::{self, RefsArgs};
use super::rm::{self, RmArgs};
use super::save::{self, SaveArgs};
use super::status::{self, StatusArgs};
use super::tag::{self, TagArgs};
use super::{Error, Session, foreign, version};

pub(super) const EXAMPLES: &str = "\
Examples:
  pullctl pull registry.k8s.io/pause:3.6
  kubeadm config images list | pullctl pull --pin -f -
  pullctl pull --to oci:./busybox busybox:1.36
  pullctl save -o images.tar busybox:1.36 registry.k8s.io/pause:3.6
  pullctl images

Exit codes:
  0 ok; 1 other; 2 usage or bad reference; 3 not found; 4 authentication;
  5 registry unreachable; 6 rate-limited; 7 verification; 8 no such platform;
  9 containerd unreachable or refusing; 10 disk full; 11 part of a batch
  failed; 12 a file of settings has a mistake; 130 interrupted";

/// Puts container images where Kubernetes looks for them.
///
/// Pulls with parallel, verified, resumable downloads and imports into containerd's namespace
/// k8s.io, under the names by which the kubelet asks for an image.
#[derive(Debug, Parser)]
#[command(name = "pullctl", version, max_term_width = 100, after_long_help = EXAMPLES)]
#[command(arg_required_else_help = true, propagate_version = false, disable_version_flag = true)]
pub struct Cli {
    /// Print version, commit and target; with --verbose the libraries, too
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pull images into containerd, or into an OCI image layout
    Pull(Deferred<PullArgs>),
    /// Save images from containerd in an archive that other tools load, too
    Save(Deferred<SaveArgs>),
    /// Push images from containerd to a registry
    Push(Deferred<PushArgs>),
    /// Copy an image from one place to another: registries, containerd, layouts, archives
    Copy(Deferred<CopyArgs>),
    /// Load images from archives and OCI image layouts into containerd
    Load(Deferred<LoadArgs>),
    /// List the images in containerd
    #[command(visible_alias = "ls")]
    Images(Deferred<ImagesArgs>),
    /// Show which images lists and manifests name, and where
    Refs(Deferred<RefsArgs>),
    /// Write down which digests tags stand for, or tell which have moved since
    Lock(Deferred<LockArgs>),
    /// Remove images from containerd, under all their names
    Rm(Deferred<RmArgs>),
    /// Keep the kubelet's image garbage collection away from images in containerd
    Pin(Deferred<PinArgs>),
    /// Let the kubelet's image garbage collection remove images that were pinned
    Unpin(Deferred<PinArgs>),
    /// Give an image in containerd further names
    Tag(Deferred<TagArgs>),
    /// Show what an image consists of, in containerd or in its registry
    Inspect(Deferred<InspectArgs>),
    /// Check whether images in containerd are all there and right, and mend them
    Check(Deferred<CheckArgs>),
    /// Log in to a registry, and store the login where docker does
    Login(Deferred<LoginArgs>),
    /// Forget the login for a registry
    Logout(Deferred<LogoutArgs>),
    /// Show what a pull would ask, and why; with --probe, what it would find
    Explain(Deferred<ExplainArgs>),
    /// Tell what the last round of a seeding did; for probes and monitoring
    Status(Deferred<StatusArgs>),
    /// Write what runs pullctl on a cluster's nodes, and manual pages
    Generate(Box<GenerateArgs>),
    /// Say what is wrong with this node, and how it is mended
    Doctor(Deferred<DoctorArgs>),
    /// Print a completion script for a shell
    Completion(Deferred<CompletionArgs>),
}

/// Reads what was typed.
///
/// # Errors
/// What clap has against it, with a word about flags that other tools have.
pub(super) fn parse<T: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = T>,
) -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    // Help and errors tell of other commands, too, which are defined for them alone.
    let matches = Cli::command().try_get_matches_from(&arguments).or_else(|_| {
        let definition = definition().version(version::version(&arguments));
        definition.try_get_matches_from(arguments).map_err(foreign::explained)
    })?;
    Cli::from_arg_matches(&matches)
}

/// The commands, each with the usage that it has while nothing is typed. The usage that clap makes up
/// for an error names every flag that has a value, one out of a variable too, as though it were
/// required: `pullctl rm --address <ADDRESS> <REF>...`.
fn definition() -> clap::Command {
    let mut definition = Cli::command();
    definition.build();
    let usages: Vec<(String, String)> = definition
        .get_subcommands_mut()
        .map(|command| (command.get_name().to_owned(), command.render_usage().to_string()))
        .collect();
    for (name, usage) in usages {
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        definition = definition.mut_subcommand(name, |command| command.override_usage(usage));
    }
    definition
}

impl Command {
    /// Whether the heads of requests and responses are to be shown.
    pub fn http_trace(&self) -> bool {
        match self {
            Self::Pull(args) => args.access.transport.http_trace,
            Self::Save(args) => args.access.transport.http_trace,
            Self::Push(args) => args.access.transport.http_trace,
            Self::Copy(args) => args.access.transport.http_trace,
            Self::Inspect(args) => args.access.transport.http_trace,
            Self::Lock(args) => args.access.transport.http_trace,
            Self::Check(args) => args.access.transport.http_trace,
            Self::Login(args) => args.transport.http_trace,
            Self::Explain(args) => args.probe.http_trace,
            Self::Doctor(args) => args.probe.http_trace,
            Self::Load(_)
            | Self::Images(_)
            | Self::Refs(_)
            | Self::Rm(_)
            | Self::Pin(_)
            | Self::Unpin(_)
            | Self::Tag(_)
            | Self::Logout(_)
            | Self::Status(_)
            | Self::Generate(_)
            | Self::Completion(_) => false,
        }
    }

    /// Whether it is to stand behind everybody else's work.
    pub fn is_background(&self) -> bool {
        match self {
            Self::Pull(args) => args.background,
            Self::Load(args) => args.background,
            _ => false,
        }
    }

    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        match self {
            Self::Pull(args) => args.budget(),
            Self::Save(args) => args.budget(),
            Self::Push(args) => args.budget(),
            Self::Copy(args) => args.budget(),
            Self::Load(args) => args.budget(),
            Self::Check(args) => args.budget(),
            _ => Budget::default(),
        }
    }

    /// Does what was typed.
    ///
    /// # Errors
    /// [`Error`], to be shown unless it is [`Error::AlreadyTold`].
    pub(super) async fn run(&self, session: &Session<'_>) -> Result<(), Error> {
        match self {
            Self::Pull(args) => pull::run(args, session).await,
            Self::Save(args) => save::run(args, session).await,
            Self::Push(args) => push::run(args, session).await,
            Self::Copy(args) => copy::run(args, session).await,
            Self::Load(args) => load::run(args, session).await,
            Self::Images(args) => images::run(args, session).await,
            Self::Lock(args) => lock::run(args, session).await,
            Self::Refs(args) => refs::run(args, session).await,
            Self::Rm(args) => rm::run(args, session).await,
            Self::Pin(args) => pin::run(args, Change::Pin, session).await,
            Self::Unpin(args) => pin::run(args, Change::Unpin, session).await,
            Self::Tag(args) => tag::run(args, session).await,
            Self::Inspect(args) => inspect::run(args, session).await,
            Self::Check(args) => check::run(args, session).await,
            Self::Login(args) => login::run(args, session).await,
            Self::Logout(args) => logout::run(args, session).await,
            Self::Explain(args) => explain::run(args, session).await,
            Self::Status(args) => status::run(args, session),
            Self::Generate(args) => generate::run(args, Cli::command(), session),
            Self::Doctor(args) => doctor::run(args, session).await,
            Self::Completion(args) => completion::run(args, Cli::command(), session),
        }
    }
}
