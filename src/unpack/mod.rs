//! Layers into snapshots. Each way of doing it leaves a snapshot committed under the layer's chain
//! ID, with containerd's labels.
//!
//! | file | owns |
//! |---|---|
//! | `daemon` | containerd's own way: stored content, applied by its diff service |
//! | `direct` | our way: the files are written by us while the blob streams in |
//! | `layer` | a layer, and where it belongs |
//! | `ground`, `unsound` | whether, and where, files may be written by us |
//! | `learnt` | what unpacking tells of layers besides their files |
//! | `room` | whether a file system is full, and how much of it may be taken |
//! | `measure` | how much a layer is, unpacked, where the user bounds that and containerd unpacks |
//! | `places` | where the layers of this run lie |
//! | `unpacker` | the choice between them |
//! | `sink`, `target` | a layer's blob on its way in, and where its bytes go |
//! | `known`, `held` | layers that wait for those below; those of them that wait in memory |
//! | `active` | snapshots that are being filled, by either |
//! | [`extract`], [`inflate`] | a stream of bytes into files, beneath one directory |
//!
//! Knows nothing of registries and of images' names.

mod active;
mod daemon;
mod direct;
mod error;
pub mod extract;
mod ground;
mod held;
pub mod inflate;
mod known;
mod layer;
mod learnt;
mod measure;
mod places;
mod room;
mod sink;
mod target;
mod unpacker;
mod unsound;

pub use error::Error;
pub use layer::{Layer, Unpacked};
pub use room::Allowance;
pub use sink::LayerSink;
pub use unpacker::{Unpacker, Way};
pub use unsound::Unsound;
