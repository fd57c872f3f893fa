//! What one transfer is asked to do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::source::Source;
use crate::images::PlatformChoice;
use crate::reference::Reference;

/// One image to bring into a sink.
#[derive(Clone)]
pub struct Request {
    /// Where it comes from.
    pub source: Arc<dyn Source>,
    /// What it is to be called.
    pub names: Arc<Names>,
    /// Which platforms of it.
    pub platforms: PlatformChoice,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What an image is called in a sink, and what is noted beside its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The name that people ask for.
    pub reference: Reference,
    /// Keep the kubelet's image garbage collection away from it.
    pub pin: bool,
    /// Labels for the names.
    pub labels: BTreeMap<String, String>,
}

impl Names {
    /// A name without pin and labels.
    pub fn new(reference: Reference) -> Self {
        Self { reference, pin: false, labels: BTreeMap::new() }
    }
}
