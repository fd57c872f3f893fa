//! What is different between a layer's files and what extraction makes of it.

use std::fmt;

use crate::tar::EntryName;

/// Differences of one layer that are kept; the others are counted.
const MAX_KEPT: usize = 50;

/// One file that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path in the layer.
    pub path: EntryName,
    /// What is wrong.
    pub kind: DifferenceKind,
    /// How it is, and how it should be.
    pub detail: String,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// It is not there.
    Missing,
    /// Nothing of the layer made it.
    Extra,
    /// It is of another kind: a directory for a file.
    Type,
    /// It is empty and should not be, as after a loss of power.
    Emptied,
    /// It holds nothing but zeros, as after a loss of power.
    Zeroed,
    /// It holds something else.
    Content,
    /// Its permissions are others.
    Mode,
    /// Its owner or group is another.
    Owner,
    /// The symbolic link leads elsewhere.
    Target,
    /// It is a file of its own, and should be another name for one.
    Link,
    /// It is another device.
    Device,
    /// A file of the layers below is to be hidden, and is not.
    Whiteout,
    /// All of a directory of the layers below is to be hidden, and is not; or the other way round.
    Opaque,
    /// An extended attribute is another, missing or too many.
    Attribute,
    /// It can't be read.
    Unreadable,
}

impl DifferenceKind {
    /// What scripts read.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "file-missing",
            Self::Extra => "file-extra",
            Self::Type => "file-type",
            Self::Emptied => "file-emptied",
            Self::Zeroed => "file-zeroed",
            Self::Content => "file-content",
            Self::Mode => "file-mode",
            Self::Owner => "file-owner",
            Self::Target => "link-target",
            Self::Link => "hard-link",
            Self::Device => "device-number",
            Self::Whiteout => "whiteout-lost",
            Self::Opaque => "opaque-directory",
            Self::Attribute => "attribute",
            Self::Unreadable => "file-unreadable",
        }
    }
}

/// What is different in a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first of them.
    pub kept: Vec<Difference>,
    /// How many there are in all.
    pub total: u64,
}

impl Differences {
    pub(super) fn add(&mut self, path: &[u8], kind: DifferenceKind, detail: impl Into<String>) {
        self.total += 1;
        if self.kept.len() < MAX_KEPT {
            let (path, detail) = (EntryName::new(path), detail.into());
            self.kept.push(Difference { path, kind, detail });
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.detail)
    }
}
