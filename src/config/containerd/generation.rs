//! Which of a file's sections count: each generation of the daemon takes others for the CRI's.

use crate::config::document::Table;
use crate::config::error::Error;

/// A section of the CRI plugin, by the names that it had in the course of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `[plugins.cri]`, of version 1.
    Short,
    /// `[plugins."io.containerd.grpc.v1.cri"]`, of version 2.
    Long,
    /// `[plugins."io.containerd.cri.v1.images"]`, of version 3.
    Images,
}

impl Section {
    /// Every section that may say something of pulling.
    pub(super) const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Images];

    /// Its key in the table `plugins`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Short => "cri",
            Self::Long => "io.containerd.grpc.v1.cri",
            Self::Images => "io.containerd.cri.v1.images",
        }
    }
}

/// The daemon that reads a file.
///
/// What `containerd config dump` of 1.6.20, 1.7.24 and 2.1.9 takes out of a file of a version:
///
/// | section | 1.6, 1.7 | 2.x |
/// |---|---|---|
/// | `cri` | of version 1 or none | never |
/// | `io.containerd.grpc.v1.cri` | from version 2 on | of version 2; its `snapshotter` only beside a table `containerd.runtimes` |
/// | `io.containerd.cri.v1.images` | never | always; what the section above it says wins |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Generation {
    /// None answers: what any of them reads counts.
    #[default]
    Unknown,
    /// containerd 1.x.
    One,
    /// containerd 2.x.
    Two,
}

impl Generation {
    /// The sections that it reads in a file of `version`; what a later one says wins.
    pub(super) fn sections(self, version: Option<u64>) -> &'static [Section] {
        use Section::{Images, Long, Short};
        match (self, version.unwrap_or(1)) {
            (Self::Unknown, _) => &Section::ALL,
            (Self::One, ..=1) => &[Short],
            (Self::One, _) => &[Long],
            (Self::Two, 2) => &[Images, Long],
            (Self::Two, _) => &[Images],
        }
    }

    /// Whether the `snapshotter` in the table `containerd` of [`Section::Long`] is read.
    ///
    /// # Errors
    /// When `runtimes` is no table.
    pub(super) fn reads_snapshotter(self, containerd: &Table<'_>) -> Result<bool, Error> {
        Ok(self != Self::Two || containerd.descend(&["runtimes"])?.is_some())
    }

    /// The first section of `plugins` that it passes over, in a file of `version` in which there is
    /// none that it reads.
    pub(super) fn passed_over(self, version: Option<u64>, plugins: &Table<'_>) -> Option<Section> {
        let is_there = |section: &Section| plugins.get(section.name()).is_some();
        let read = self.sections(version);
        if read.iter().any(is_there) {
            return None;
        }
        Section::ALL.into_iter().find(is_there)
    }

    /// What it is called: `containerd 2.x`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "containerd",
            Self::One => "containerd 1.x",
            Self::Two => "containerd 2.x",
        }
    }

    /// What to write where it passes a section over.
    pub(super) fn remedy(self, section: Section, version: Option<u64>) -> &'static str {
        match (self, section) {
            (Self::One, Section::Long) if version.unwrap_or(1) < 2 => {
                "write `version = 2` at the top of the file"
            }
            (Self::Two, _) => {
                "call it [plugins.\"io.containerd.cri.v1.images\"], write `version = 3` at the top \
                 of the file, and restart containerd"
            }
            _ => {
                "call it [plugins.\"io.containerd.grpc.v1.cri\"], write `version = 2` at the top \
                 of the file, and restart containerd"
            }
        }
    }
}
