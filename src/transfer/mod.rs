//! The recipe: from an image in a [`Source`] to a named image in a [`Sink`].
//!
//! | file | owns |
//! |---|---|
//! | `run` | the order of things for each image of a run: resolve, plan, blobs, names |
//! | `sequence` | the same where one image goes after the other, all known before |
//! | `request`, `plan` | what is wanted; what it consists of |
//! | `selection` | what of it is told where only that may be told which is there |
//! | `planner`, `documents` | finding that out, from documents read where they are nearest |
//! | `blobs`, `once`, `ahead` | layers' blobs, several at a time, each once a run, small ones before their turn |
//! | `source`, `sources` | where images come from: registries, containerd, layouts |
//! | `sink`, `sinks` | where they go: containerd, layouts, archives, registries |
//! | `error` | why an image did not get there |
//!
//! Knows nothing of terminals or files of settings.

mod ahead;
mod blobs;
mod documents;
mod error;
mod once;
mod plan;
mod planner;
mod request;
mod run;
mod selection;
mod sequence;
mod sink;
mod sinks;
mod source;
mod sources;
#[cfg(test)]
mod tests;

pub use crate::images::PlatformChoice;
pub use error::Error;
pub use plan::{Document, Layer, Plan, PlatformImage};
pub use request::{Names, Request};
pub use run::{run, survey};
pub use sink::{Announced, Ingest, Opened, Outcome, Sink};
pub use sinks::{ArchiveSink, ContainerdSink, LayoutSink, RegistrySink, Staging, UnpackOptions};
pub use source::{BlobStream, DocumentKind, Origin, Resolved, Source};
pub use sources::{
    ArchiveSource, ContainerdSource, Intake, LayoutSource, PassingSource, RegistrySource,
};
