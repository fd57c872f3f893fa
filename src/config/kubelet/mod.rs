//! What this node's kubelet is configured with, as plain values.
//!
//! | file | owns |
//! |---|---|
//! | `found` | [`Kubelet`]: all of it put together |
//! | `root` | where the node's root is |
//! | `process` | the kubelet that runs, found in `/proc` |
//! | `flags` | command lines, and the files that hold them while none runs |
//! | `k3s` | the kubelet inside of k3s |
//! | `settings` | KubeletConfiguration and the files dropped in beside it |
//! | `threshold` | when it evicts pods to free a disk |
//! | `verification`, `records` | which images a pod may use that somebody else has pulled |
//!
//! See <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>.

mod flags;
mod found;
mod k3s;
mod process;
mod records;
mod root;
mod settings;
mod threshold;
mod verification;

#[cfg(test)]
mod tests;

pub use flags::RemovedFlag;
pub use found::Kubelet;
pub use records::{Access, ImageRecords, PulledRecord};
pub use threshold::{Limits, Threshold};
pub use verification::{Admission, Verification, VerificationPolicy};
