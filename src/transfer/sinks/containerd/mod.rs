//! containerd as a sink: content, snapshots and names, as the kubelet's own pulls leave them.
//!
//! | file | owns |
//! |---|---|
//! | `sink` | the order of things |
//! | `blobs` | what the content store has, and where a layer's blob goes into it |
//! | `ingests` | blobs on their way there, and into files at the same time |
//! | `absent` | blobs of which there was nothing a moment ago |
//! | `sources` | where blobs can be had again |
//! | `staging` | blobs that come before anybody knows what they belong to |
//! | `storing` | small blobs of which the daemon is told while they are unpacked already |
//! | `turns` | which of several pulls fetches a small blob |
//! | `unpacking` | layers that become snapshots, and how many of them need nothing |
//! | `listed` | what the namespace has, listed as a whole |
//! | `room`, `estimate`, `reclaim` | what images will take, how layers grow, and what could be freed for them |
//! | `witness` | whether the kubelet finds what was brought |
//! | `naming` | labels and names of what is complete |
//! | `lease`, `belongings` | what holds that which has no name yet; what that is |

mod absent;
mod belongings;
mod blobs;
mod estimate;
mod ingests;
mod lease;
mod listed;
mod naming;
mod reclaim;
mod room;
mod sink;
mod sources;
mod staging;
mod storing;
mod turns;
mod unpacking;
mod witness;

pub use sink::{ContainerdSink, NodeRules};
pub(in crate::transfer) use staging::StagedBlob;
pub use staging::Staging;
pub use unpacking::UnpackOptions;
