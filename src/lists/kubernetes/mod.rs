//! Kubernetes manifests: which objects of a stream hold images.
//!
//! | file | owns |
//! |---|---|
//! | `stream` | one object after the other, and what is to be done with each |
//! | `kinds` | where Kubernetes' own kinds have their pod |
//! | `pod` | the images of a pod |
//! | `shape` | images of any other kind, by how what is below it looks |
//! | `written` | images in parts, and in lists, as other kinds and values of charts write them |
//! | `secret` | logins out of Secrets |
//! | `found` | what was found, and the rules for one image |

mod found;
mod kinds;
mod pod;
mod secret;
mod shape;
mod stream;
mod written;

pub(super) use stream::Reader;
