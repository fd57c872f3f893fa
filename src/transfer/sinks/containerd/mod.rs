//! containerd as a sink: content, snapshots and names, as the kubelet's own pulls leave them.
//!
//! | file | owns |
//! |---|---|
//! | `sink` | the order of things |
//! | `blobs` | what the content store has, and where a layer's blob goes into it |
//! | `ingests` | blobs on their way there, and into files at the same time |
//! | `staging` | blobs that come before anybody knows what they belong to |
//! | `turns` | which of several pulls fetches a small blob |
//! | `unpacking` | layers that become snapshots, and how many of them need nothing |
//! | `naming` | labels and names of what is complete |
//! | `lease`, `belongings` | what holds that which has no name yet; what that is |

mod belongings;
mod blobs;
mod ingests;
mod lease;
mod naming;
mod sink;
mod staging;
mod turns;
mod unpacking;

pub use sink::ContainerdSink;
pub(in crate::transfer) use staging::StagedBlob;
pub use staging::Staging;
pub use unpacking::UnpackOptions;
