//! A containerd daemon as a destination: one file a service of its gRPC API, and the rules by which
//! images are stored there.
//!
//! | file | owns |
//! |---|---|
//! | `address` | which socket |
//! | `channel`, `client` | the connection; namespace and lease of every call, and noticing a daemon that is gone |
//! | `blobs` | content: looking, reading, writing with resume and verification |
//! | `images`, `leases`, `namespaces`, `snapshots` with `snapshot_list`, `containers`, `diff`, `introspection` with `plugin`, `cri` with `cri_images` | one service each |
//! | `services` | the way to them |
//! | `labels` | the names by which containerd's garbage collector, the kubelet and other tools find things |
//!
//! Knows nothing of registries: it is handed bytes and descriptors. Nor does it decide what an image
//! needs; the pull does. See <https://github.com/containerd/containerd/tree/main/api/services>.

mod address;
mod blobs;
mod channel;
mod client;
mod containers;
mod cri;
mod cri_images;
mod diff;
mod error;
mod images;
mod introspection;
pub mod labels;
mod leases;
mod namespaces;
mod owner;
mod peer;
mod plugin;
mod services;
mod snapshot_list;
mod snapshots;

pub use address::{find_address, usual_addresses};
pub use blobs::{
    ContentStore, Info, Ingest, IngestStatus, Opened, Replacement, Unfinished, ingest_reference,
};
pub use client::{Client, KUBERNETES};
pub use containers::Container;
pub use cri::{Cri, CriStatus};
pub use cri_images::SeenImage;
pub use diff::Diff;
pub use error::{Error, Reply};
pub use images::{Image, Images};
pub use introspection::{CONTENT_DIRECTORY, Introspection};
pub use labels::Labels;
pub use leases::{Lease, Leases, Resource};
pub use plugin::Plugin;
pub use snapshots::{
    Committed, Mount, Prepared, SnapshotInfo, SnapshotKind, Snapshots, Usage, may_fetch,
};
