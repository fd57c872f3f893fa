//! A containerd daemon as a destination: one file a service of its gRPC API, and the rules by which
//! images are stored there.
//!
//! | file | owns |
//! |---|---|
//! | `address` | which socket |
//! | `client` | the channel, namespace and lease of every call, and noticing a daemon that is gone |
//! | `content`, `ingest` | blobs: looking, reading, writing with resume and verification |
//! | `write_stream`, `content_file` with `appender`, `blob_file` | the ways that a blob's bytes take: gRPC, or the daemon's own files |
//! | `images`, `leases`, `snapshots`, `diff`, `introspection`, `cri` | one service each |
//! | `labels` | the names by which containerd's garbage collector, the kubelet and other tools find things |
//!
//! Knows nothing of registries: it is handed bytes and descriptors. Nor does it decide what an image
//! needs; the pull does. See <https://github.com/containerd/containerd/tree/main/api/services>.

mod address;
mod appender;
mod blob_file;
mod client;
mod content;
mod content_file;
mod cri;
mod diff;
mod error;
mod images;
mod ingest;
mod introspection;
mod labelling;
pub mod labels;
mod leases;
mod snapshots;
mod write_stream;

pub use address::find_address;
pub use client::Client;
pub use content::{ContentStore, Info, IngestStatus, Opened, ingest_reference};
pub use cri::{Cri, CriStatus};
pub use diff::Diff;
pub use error::{Error, Reply};
pub use images::{Image, Images};
pub use ingest::Ingest;
pub use introspection::{Introspection, Plugin};
pub use labels::Labels;
pub use leases::{Lease, Leases};
pub use snapshots::{
    Committed, Mount, Prepared, SnapshotInfo, SnapshotKind, Snapshots, Usage, may_fetch,
};
