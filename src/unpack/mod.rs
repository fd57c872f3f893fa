//! Layers into snapshots. Each way of doing it leaves a snapshot committed under the layer's chain
//! ID, with containerd's labels.
//!
//! | file | owns |
//! |---|---|
//! | `daemon` | containerd's own way: stored content, applied by its diff service |
//! | `direct`, `extraction` | our way: the files are written by us while the blob streams in; one layer on it |
//! | `layer` | a layer, and where it belongs |
//! | `inflating` | how many threads inflate a layer |
//! | `handle` | such a layer, handed over once, from its blob to its snapshot |
//! | `ground`, `unsound` | whether, and where, files may be written by us |
//! | `remarks` | what is to be said of layers that others would not unpack |
//! | `room` | whether a file system is full, and how much of it may be taken |
//! | `measure` | how much a layer is, unpacked, where the user bounds that and containerd unpacks |
//! | `twins` | layers that another namespace has unpacked, to be copied |
//! | `unpacker` | the choice between them |
//! | `sink`, `target` | a layer's blob on its way in, and where its bytes go |
//! | `known`, `held` | what is known of each layer in a run; those that wait in memory for those below |
//! | `sight`, `compare`, `difference` | layers that are there already, against what extraction makes of them |
//! | `stage` | a place in memory for such a rehearsal |
//! | `active` | snapshots that are being filled, by either |
//! | [`extract`], [`inflate`] | a stream of bytes into files, beneath one directory |
//! | `spare` | decoders, used again |
//!
//! Knows nothing of registries and of images' names.

mod active;
mod blocking;
mod compare;
mod daemon;
mod difference;
mod direct;
mod error;
pub mod extract;
mod extraction;
mod ground;
mod handle;
mod held;
pub mod inflate;
mod inflating;
mod known;
mod layer;
mod measure;
mod remarks;
mod room;
mod sight;
mod sink;
mod spare;
mod stage;
mod target;
mod twins;
mod unpacker;
mod unsound;

pub use difference::{Difference, DifferenceKind, Differences};
pub use error::Error;
pub use handle::Handle;
pub use inflating::Inflating;
pub use layer::Layer;
pub use room::Allowance;
pub use sight::{Compared, Sight};
pub use sink::LayerSink;
pub use unpacker::{Storing, Unpacker, Way};
pub use unsound::Unsound;
