//! How a pull goes about its images.

use clap::{Args, ValueEnum};

use crate::transfer::{Manner, Policy};

/// How a pull goes about its images.
#[derive(Debug, Args)]
pub struct CourseArgs {
    /// When an image is pulled
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub policy: PullPolicy,

    /// End the run with the first image that fails; what the others have fetched is kept for the next
    #[arg(long)]
    pub fail_fast: bool,

    /// Say what would be pulled from where and whether it has room, and write nothing
    #[arg(long, conflicts_with = "interval")]
    pub dry_run: bool,

    /// Form in which --dry-run tells it
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORM", default_value_t)]
    #[arg(requires = "dry_run")]
    pub form: PreviewForm,
}

impl CourseArgs {
    /// The same for a run that works on `concurrency` blobs at a time; with `check_room`, no blob before
    /// all have room.
    pub(in crate::cli) fn manner(&self, concurrency: usize, check_room: bool) -> Manner {
        let (policy, fail_fast) = (self.policy.into(), self.fail_fast);
        Manner { policy, fail_fast, check_room, ..Manner::of_blobs(concurrency) }
    }

    /// The first of these flags that was given which are about what a namespace has.
    pub(in crate::cli) fn of_namespaces(&self) -> Option<&'static str> {
        let given = [("--policy", self.policy != PullPolicy::Always), ("--dry-run", self.dry_run)];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PullPolicy {
    /// Its registry is asked what it is now
    #[default]
    Always,
    /// It is not complete here: of one that is, no registry is asked
    Missing,
    /// Never: one that is not complete here is an error (3)
    Never,
}

impl From<PullPolicy> for Policy {
    fn from(policy: PullPolicy) -> Self {
        match policy {
            PullPolicy::Always => Self::Always,
            PullPolicy::Missing => Self::Missing,
            PullPolicy::Never => Self::Never,
        }
    }
}

/// Forms of what a pull would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PreviewForm {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON object.
    Json,
}
