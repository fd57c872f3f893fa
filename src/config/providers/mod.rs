//! The kubelet's logins: credential provider plugins, programs that get one from their cloud when an
//! image is pulled.
//!
//! | file | owns |
//! |---|---|
//! | `answers` | [`Providers`]: whom to ask for an image, and what they have answered |
//! | `places` | where nodes have the configuration and the programs |
//! | `settings` | CredentialProviderConfig, read |
//! | `pattern` | which images a pattern is for |
//! | `plugin` | running a program, within bounds |
//! | `protocol` | what is said to it, and what it answers |
//!
//! See <https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/>.

mod answers;
mod pattern;
mod places;
mod plugin;
mod protocol;
mod settings;

pub use answers::Providers;
pub use places::Place;
pub(super) use places::find as find_place;
