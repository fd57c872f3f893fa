//! What one pull is asked to do, as plain values.

use std::collections::BTreeMap;

use crate::config::RegistryHost;
use crate::platform::Platform;
use crate::reference::Reference;

/// One image to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image.
    pub reference: Reference,
    /// The hosts to ask, in the order of preference.
    pub hosts: Vec<RegistryHost>,
    /// Which platforms of it.
    pub platforms: PlatformChoice,
    /// Keep the kubelet's image garbage collection away from it.
    pub pin: bool,
    /// Labels for the image's names.
    pub labels: BTreeMap<String, String>,
}

/// Which platforms of an image are wanted.
#[derive(Debug, Clone)]
pub enum PlatformChoice {
    /// The one that fits this host best, as the CRI chooses.
    Host(Platform),
    /// Each of these and nothing like it. The first gives the image its ID.
    Strict(Vec<Platform>),
    /// Everything that the index lists, attestations included; the host's is unpacked.
    All {
        /// This machine's platform.
        host: Platform,
    },
}
