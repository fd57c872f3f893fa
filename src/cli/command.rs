//! What can be typed first: the commands, and which of them runs.

use clap::{Parser, Subcommand};

use super::completion::{self, CompletionArgs};
use super::explain::{self, ExplainArgs};
use super::groups::GlobalArgs;
use super::images::{self, ImagesArgs};
use super::login::{self, LoginArgs};
use super::logout::{self, LogoutArgs};
use super::pull::{self, PullArgs};
use super::rm::{self, RmArgs};
use super::{Error, Session};

pub(super) const EXAMPLES: &str = "\
Examples:
  pullctl pull registry.k8s.io/pause:3.6
  kubeadm config images list | pullctl pull --pin -f -
  pullctl pull --to oci:./busybox busybox:1.36
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
#[command(arg_required_else_help = true, propagate_version = false)]
pub struct Cli {
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
    Pull(Box<PullArgs>),
    /// List the images in containerd
    #[command(visible_alias = "ls")]
    Images(ImagesArgs),
    /// Remove images from containerd, under all their names
    Rm(RmArgs),
    /// Log in to a registry, and store the login where docker does
    Login(Box<LoginArgs>),
    /// Forget the login for a registry
    Logout(LogoutArgs),
    /// Show what a pull would ask, and why, without asking it
    Explain(Box<ExplainArgs>),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

impl Command {
    /// Whether the heads of requests and responses are to be shown.
    pub fn http_trace(&self) -> bool {
        match self {
            Self::Pull(args) => args.transport.http_trace,
            Self::Login(args) => args.transport.http_trace,
            Self::Images(_)
            | Self::Rm(_)
            | Self::Logout(_)
            | Self::Explain(_)
            | Self::Completion(_) => false,
        }
    }

    /// Does what was typed.
    ///
    /// # Errors
    /// [`Error`], to be shown unless it is [`Error::AlreadyTold`].
    pub(super) async fn run(&self, session: &Session<'_>) -> Result<(), Error> {
        match self {
            Self::Pull(args) => pull::run(args, session).await,
            Self::Images(args) => images::run(args, session).await,
            Self::Rm(args) => rm::run(args, session).await,
            Self::Login(args) => login::run(args, session).await,
            Self::Logout(args) => logout::run(args, session).await,
            Self::Explain(args) => explain::run(args, session).await,
            Self::Completion(args) => completion::run(args, session),
        }
    }
}
