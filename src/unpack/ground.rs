//! Whether files may be written into a snapshot by us, and where: what the daemon says of its mounts
//! is believed only after the daemon was seen to see what we wrote.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use super::active::ActiveSnapshot;
use super::unsound::Unsound;
use crate::containerd::Mount;

/// The snapshotter whose directories are known to be plain upper directories.
const OVERLAYFS: &str = "overlayfs";

/// Mount options that change owners or attributes on the way to the disk, so that files written to
/// the directory would not be the files that a container sees.
const FOREIGN_OPTIONS: [&str; 4] = ["uidmap=", "gidmap=", "userxattr", "metacopy=on"];

/// A user namespace that maps nothing: every ID to itself.
const IDENTITY_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// How many files and directories a snapshot has that was prepared just now: its own.
const INODES_OF_NONE: u64 = 1;

/// Name of the file by which the daemon and we find out that we mean the same directory.
const MARKER: &str = ".pullctl-marker";

/// Directories of an active snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// Where the layer's files go.
    pub(super) upper: PathBuf,
    /// The layers below, topmost first.
    pub(super) lowers: Vec<PathBuf>,
}

/// What can be known before anything is prepared.
pub(super) fn check_process(snapshotter: &str) -> Result<(), Unsound> {
    if snapshotter != OVERLAYFS {
        return Err(Unsound::Snapshotter(snapshotter.to_owned()));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Unsound::NotRoot);
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if map.split_whitespace().eq(IDENTITY_MAP) { Ok(()) } else { Err(Unsound::UserNamespace) }
}

impl Ground {
    /// Reads the directories out of a snapshot's mounts.
    pub(super) fn of(mounts: &[Mount]) -> Result<Self, Unsound> {
        let unfamiliar = || Unsound::Mounts(format!("{mounts:?}"));
        let mount = familiar(mounts)?;
        let option = |name| option(mount, name);
        match mount.kind.as_str() {
            "bind" => Ok(Self { upper: PathBuf::from(&mount.source), lowers: Vec::new() }),
            "overlay" => {
                let upper = option("upperdir=").ok_or_else(unfamiliar)?;
                let lowers = option("lowerdir=").ok_or_else(unfamiliar)?;
                Ok(Self {
                    upper: PathBuf::from(upper),
                    lowers: lowers.split(':').map(PathBuf::from).collect(),
                })
            }
            _ => Err(unfamiliar()),
        }
    }

    /// Reads out of the mounts of a snapshot that is for looking only where the layers lie that it
    /// shows, topmost first.
    pub(super) fn layers_of(view: &[Mount]) -> Result<Vec<PathBuf>, Unsound> {
        let unfamiliar = || Unsound::Mounts(format!("{view:?}"));
        let mount = familiar(view)?;
        match mount.kind.as_str() {
            "bind" => Ok(vec![PathBuf::from(&mount.source)]),
            "overlay" if option(mount, "upperdir=").is_none() => {
                let lowers = option(mount, "lowerdir=").ok_or_else(unfamiliar)?;
                Ok(lowers.split(':').map(PathBuf::from).collect())
            }
            _ => Err(unfamiliar()),
        }
    }

    /// Shows that the directory that the daemon has prepared just now as `active` is ours: a file that we
    /// make there is one more for the daemon. What is new has no other; where the daemon counts otherwise,
    /// it is asked what it counts without ours.
    pub(super) async fn prove(&self, active: &ActiveSnapshot) -> Result<(), Error> {
        self.check_owner()?;
        let with_marker = self.inodes_with_marker(active).await?;
        if with_marker == INODES_OF_NONE + 1 || with_marker == active.inodes().await? + 1 {
            Ok(())
        } else {
            Err(Unsound::Elsewhere(self.upper.clone()).into())
        }
    }

    async fn inodes_with_marker(&self, active: &ActiveSnapshot) -> Result<u64, Error> {
        let marker = self.upper.join(MARKER);
        fs::File::create_new(&marker).map_err(|source| self.unusable(source))?;
        let inodes = active.inodes().await;
        fs::remove_file(&marker).map_err(|source| self.unusable(source))?;
        inodes
    }

    /// What the daemon makes for itself belongs to root, unless its root is another one than ours.
    fn check_owner(&self) -> Result<(), Unsound> {
        let upper = fs::metadata(&self.upper).map_err(|source| self.unusable(source))?;
        match upper.uid() {
            0 => Ok(()),
            owner => Err(Unsound::Owned { path: self.upper.clone(), owner }),
        }
    }

    fn unusable(&self, source: io::Error) -> Unsound {
        match source.kind() {
            io::ErrorKind::NotFound => Unsound::Elsewhere(self.upper.clone()),
            _ => Unsound::Io { path: self.upper.clone(), source },
        }
    }
}

/// The one mount of a snapshot whose files are what a container sees.
fn familiar(mounts: &[Mount]) -> Result<&Mount, Unsound> {
    let is_foreign =
        |option: &String| FOREIGN_OPTIONS.iter().any(|foreign| option.starts_with(foreign));
    match mounts {
        [mount] if !mount.options.iter().any(is_foreign) => Ok(mount),
        _ => Err(Unsound::Mounts(format!("{mounts:?}"))),
    }
}

fn option<'a>(mount: &'a Mount, name: &str) -> Option<&'a str> {
    mount.options.iter().find_map(|option| option.strip_prefix(name))
}

/// Opens a directory for what works beneath it by descriptor.
pub(super) fn open_directory(path: &Path) -> Result<std::os::fd::OwnedFd, Unsound> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Unsound::Io { path: path.to_owned(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.to_owned(),
            source: source.to_owned(),
            target: String::new(),
            options: options.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn reads_the_directories_of_base_and_stacked_snapshots() {
        let base = Ground::of(&[mount("bind", "/s/1/fs", &["rw", "rbind"])]).unwrap();
        assert_eq!(base, Ground { upper: "/s/1/fs".into(), lowers: Vec::new() });
        let options =
            ["index=off", "workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"];
        let stacked = Ground::of(&[mount("overlay", "overlay", &options)]).unwrap();
        assert_eq!(stacked.upper, Path::new("/s/3/fs"));
        assert_eq!(stacked.lowers, [Path::new("/s/2/fs"), Path::new("/s/1/fs")]);
    }

    #[test]
    fn reads_where_layers_lie_out_of_a_view() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let one = Ground::layers_of(&[mount("bind", "/s/1/fs", &["ro", "rbind"])]).unwrap();
        assert_eq!(one, paths(&["/s/1/fs"]));
        let stacked = mount("overlay", "overlay", &["index=off", "lowerdir=/s/2/fs:/s/1/fs"]);
        assert_eq!(Ground::layers_of(&[stacked]).unwrap(), paths(&["/s/2/fs", "/s/1/fs"]));
        let active = ["upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs"];
        assert!(Ground::layers_of(&[mount("overlay", "overlay", &active)]).is_err());
    }

    #[test]
    fn keeps_away_from_mounts_that_it_does_not_know() {
        for mounts in [
            vec![],
            vec![mount("bind", "/a", &[]), mount("bind", "/b", &[])],
            vec![mount("erofs", "/a", &[])],
            vec![mount("overlay", "overlay", &["upperdir=/a"])],
            vec![mount("bind", "/a", &["rbind", "uidmap=0:1000:65536"])],
            vec![mount("overlay", "overlay", &["upperdir=/a", "lowerdir=/b", "userxattr"])],
        ] {
            assert!(matches!(Ground::of(&mounts), Err(Unsound::Mounts(_))), "{mounts:?}");
        }
    }

    #[test]
    fn keeps_away_from_a_daemon_whose_root_is_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let ground = Ground { upper: directory.path().to_owned(), lowers: Vec::new() };
        let owner = |uid| std::os::unix::fs::chown(directory.path(), Some(uid), None);
        // Who is not root has no directory of root's at hand.
        if owner(0).is_ok() {
            assert!(ground.check_owner().is_ok());
            owner(100_000).unwrap();
        }
        let said = ground.check_owner().unwrap_err();
        assert!(matches!(said, Unsound::Owned { .. }), "{said:?}");
    }

    #[test]
    fn only_overlayfs_is_ground_to_write_on() {
        assert!(matches!(check_process("native"), Err(Unsound::Snapshotter(_))));
    }
}
