//! What a sink has of an image, and what is missing of it.

use std::fmt;

use crate::oci::{Descriptor, Digest};

/// An image that the sink has.
#[derive(Debug, Clone)]
pub struct Held {
    /// What the name stands for.
    pub descriptor: Descriptor,
    /// What the place is called.
    pub place: String,
}

/// Something that is missing of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// This name, or what it stands for is another image.
    Name(String),
    /// This blob.
    Blob(Digest),
    /// All of this platform.
    Platform(String),
    /// The layers for this platform are not unpacked.
    Unpacked(String),
    /// This name is not pinned.
    Pin(String),
    /// This name has not this label.
    Label(String, String),
}

impl Lack {
    /// Whether it is more than a name or a label.
    pub fn is_content(&self) -> bool {
        matches!(self, Self::Blob(_) | Self::Platform(_) | Self::Unpacked(_))
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name {name}"),
            Self::Blob(digest) => write!(f, "the blob {digest}"),
            Self::Platform(platform) => write!(f, "the platform {platform}"),
            Self::Unpacked(platform) => write!(f, "the unpacked layers for {platform}"),
            Self::Pin(name) => write!(f, "the pin of {name}"),
            Self::Label(name, label) => write!(f, "the label {label} of {name}"),
        }
    }
}
