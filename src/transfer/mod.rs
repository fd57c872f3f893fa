//! The recipe: from an image in a [`Source`] to a named image in a [`Sink`].
//!
//! | file | owns |
//! |---|---|
//! | `run` | the images of a run, side by side or in sequence, and the order of things for each: plan, blobs, names |
//! | `recipe`, `outline` | the steps for one image, however its turn comes; what is known of it then |
//! | `manner` | when an image is brought, and what a failure ends |
//! | `held` | what a sink has of an image, and what is missing of it |
//! | `present` | images that the sink has already, found out without asking their sources |
//! | `forecast`, `room` | what images will take where they go; refusing what does not fit |
//! | `preview` | what a run would do, without doing it |
//! | `sequence` | the same where all has one order, and is known before |
//! | `order` | blobs for that, each in its turn |
//! | `provenance` | where an image can be had again |
//! | `request`, `plan` | what is wanted; what it consists of |
//! | `selection` | what of it is told where only that may be told which is there |
//! | `planner`, `documents` | finding that out, from documents read where they are nearest |
//! | `blobs`, `slots`, `once`, `ahead` | layers' blobs, several at a time, each once a run, small ones before their turn or before all is known |
//! | `source`, `sources` | where images come from: registries, containerd, layouts |
//! | `sink`, `sinks` | where they go: containerd, layouts, archives, registries |
//! | `error` | why an image did not get there |
//!
//! Knows nothing of terminals or files of settings.

mod ahead;
mod blobs;
mod documents;
mod error;
mod forecast;
mod held;
mod manner;
mod once;
mod order;
mod outline;
mod plan;
mod planner;
mod present;
mod preview;
mod provenance;
mod recipe;
mod request;
mod room;
mod run;
mod selection;
mod sequence;
mod sink;
mod sinks;
mod slots;
mod source;
mod sources;
#[cfg(test)]
mod tests;

pub use crate::images::PlatformChoice;
pub use error::Error;
pub use forecast::{FileSystem, Forecast, Need};
pub use held::{Held, Lack};
pub use manner::{Manner, Policy};
pub use plan::{Document, Layer, Plan, PlatformImage};
pub use preview::{Found, Preview, Previewed, preview};
pub use provenance::{Origin, Provenance};
pub use request::{Names, Request};
pub use run::{run, survey};
pub use sink::{Announced, Ingest, Opened, Outcome, Sink};
pub use sinks::{
    ArchiveSink, ContainerdSink, LayoutSink, NodeRules, RegistrySink, Staging, UnpackOptions,
};
pub use slots::{BLOB_BYTES, ZSTD_LAYER_BYTES};
pub use source::{BlobStream, DocumentKind, Resolved, Source};
pub use sources::{
    ArchiveSource, ContainerdSource, Intake, LayoutSource, PassingSource, RegistrySource,
};
