//! Lists of images as people have them: what is in a file is told by its content, not by its name.
//!
//! | file | owns |
//! |---|---|
//! | `file` | one list, read whole, and which kind it is |
//! | `listed` | an image of a list: where it stands, and what is to be done about it |
//! | `text` | bytes as text, or what they are instead |
//! | `plain` | a reference a line, with options |
//! | `yaml`, `json` | documents in which each value knows its line |
//! | `kubernetes` | manifests: which objects hold images, and where in them |
//! | `kubeadm` | images of a cluster's configuration, named by kubeadm |
//! | `lock` | digests that tags stood for |
//! | `error` | why a list can't be read |
//!
//! Asks nobody but kubeadm, and fetches nothing. Content of Secrets leaves as a secret.

mod error;
mod file;
mod json;
mod kubeadm;
mod kubernetes;
mod listed;
mod lock;
mod plain;
mod text;
mod yaml;

pub use error::{Error, Place};
pub use file::{is_standard_input, read};
pub use listed::{List, Listed, Origin, PodLogins, PullSecret};
pub use lock::{Lock, LockedImage, LockedManifest};
