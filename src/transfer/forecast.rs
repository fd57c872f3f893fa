//! How much room images will take where they go, as far as that can be told before.

use std::path::PathBuf;

/// What images will take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Of each image, in order. What an earlier one brings counts as there for the later ones.
    pub needs: Vec<Need>,
    /// The file systems that it is taken from, as far as they are within reach.
    pub filesystems: Vec<FileSystem>,
}

/// What one image will take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Bytes of blobs to be fetched.
    pub fetched_bytes: u64,
    /// Bytes of blobs that are there, or that unpacked layers stand for.
    pub present_bytes: u64,
    /// Bytes that layers will be, unpacked. An estimate.
    pub unpacked_bytes: u64,
}

/// A file system, and what is to come to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// A directory on it.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Bytes that are free for the daemon.
    pub free_bytes: u64,
    /// Bytes of them that are to stay free.
    pub reserved_bytes: u64,
    /// Why so many.
    pub reserved_for: String,
    /// Bytes that are to come.
    pub needed_bytes: u64,
}

impl FileSystem {
    /// Whether what is to come has room.
    pub fn fits(&self) -> bool {
        self.needed_bytes == 0
            || self.needed_bytes.saturating_add(self.reserved_bytes) <= self.free_bytes
    }
}

impl Forecast {
    /// The file systems that are too small for what is to come.
    pub fn short(&self) -> Vec<FileSystem> {
        self.filesystems.iter().filter(|found| !found.fits()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filesystem(free_bytes: u64, needed_bytes: u64) -> FileSystem {
        FileSystem {
            path: "/var/lib/containerd".into(),
            size_bytes: 1000,
            free_bytes,
            reserved_bytes: 50,
            reserved_for: String::new(),
            needed_bytes,
        }
    }

    #[test]
    fn the_reserve_stays_free_and_what_needs_nothing_always_fits() {
        for (free, needed, fits) in [
            (100, 50, true),
            (100, 51, false),
            (10, 0, true),
            (10, 1, false),
            (1000, u64::MAX, false),
        ] {
            assert_eq!(filesystem(free, needed).fits(), fits, "{needed} into {free}");
        }
        let filesystems = vec![filesystem(100, 50), filesystem(100, 60)];
        let forecast = Forecast { needs: Vec::new(), filesystems };
        assert_eq!(forecast.short(), [filesystem(100, 60)]);
    }
}
