//! `pullctl generate`: files for those that run pullctl: Kubernetes, and `man`.
//!
//! | file | owns |
//! |---|---|
//! | `seed` | the flags by which a seeding is described, and what they come to |
//! | `names` | names, labels, variables and paths as Kubernetes takes them |
//! | `mounts` | which paths of a node the pod has |
//! | `pod` | the pod that seeds a node, as a manifest |
//! | `workload` | what makes such pods: a DaemonSet, a Job, a kustomization |
//! | `man` | manual pages |

mod man;
mod mounts;
mod names;
mod pod;
mod seed;
#[cfg(test)]
mod tests;
mod workload;

use clap::{Args, Command, Subcommand};

use super::{Error, Session};
use man::ManArgs;
use workload::{DaemonSetArgs, JobArgs, KustomizationArgs};

/// `pullctl generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to write.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a DaemonSet that seeds every node of a cluster, and those that come later
    Daemonset(DaemonSetArgs),
    /// Print a Job that seeds one node, or some of those with a label, once
    Job(JobArgs),
    /// Write the DaemonSet as a directory for kustomize, with the list as a file of its own
    Kustomization(KustomizationArgs),
    /// Write manual pages, one a command
    Man(ManArgs),
}

/// Writes what was asked for; `definition` is that of all commands.
///
/// # Errors
/// When the list has a mistake, or the result can't be written.
pub(super) fn run(
    args: &GenerateArgs,
    definition: Command,
    session: &Session<'_>,
) -> Result<(), Error> {
    match &args.what {
        What::Daemonset(args) => session.printer.out(args.manifest(session)?.trim_end())?,
        What::Job(args) => session.printer.out(args.manifest(session)?.trim_end())?,
        What::Kustomization(args) => {
            for path in args.write(session)? {
                session.printer.out(&path.display().to_string())?;
            }
        }
        What::Man(args) => {
            args.write(definition)?;
            session.printer.out(&args.directory.display().to_string())?;
        }
    }
    Ok(())
}
