//! Replacing a file of logins in one step, so that whoever is killed in the middle leaves no copies of
//! it behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};

/// Links that are followed before they count as a circle, as the kernel has it.
const MAX_LINKS: usize = 40;

/// The new file's mode until it has the old one's: readable for its owner only.
const PRIVATE: u32 = 0o600;

/// Puts `content` in the place of the file at `path`, with its owner and mode. The caller holds the lock
/// of its directory.
///
/// The new file has no name while it is written. It gets one, always the same, for the moment before
/// it takes the place of the old one: at most one copy can be left behind, until the next login.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    let between = between(path);
    remove_if_there(&between)?;
    let mut file = match unnamed(directory) {
        Ok(file) => file,
        // NFS and old overlayfs have no files without a name.
        Err(_) => named(&between)?,
    };
    let written = write(&mut file, path, content).and_then(|()| {
        if !between.exists() {
            name(&file, &between)?;
        }
        fs::rename(&between, path)
    });
    if written.is_err() {
        // The error tells more than one of clearing up would.
        let _ = remove_if_there(&between);
    }
    written?;
    File::open(directory)?.sync_all()
}

/// What the new file is called for a moment: `.config.json.pullctl-new`.
fn between(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory_of(path).join(format!(".{name}.pullctl-new"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unnamed(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, directory, flags, Mode::from_raw_mode(PRIVATE))?.into())
}

fn named(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)
}

/// Gives a file without a name one.
fn name(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn write(file: &mut File, old: &Path, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    match fs::metadata(old) {
        Ok(old) => {
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&*file, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(old.permissions())?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.sync_all()
}

/// What `path` stands for: the end of the links, whether there is a file or not.
pub(super) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = directory_of(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_a_killed_login_left_is_cleared_up_and_nothing_new_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(between(&path), "of a killed one").unwrap();
        replace(&path, b"new").unwrap();
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["config.json"]);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_file_is_replaced_where_files_have_to_have_names_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let mut file = named(&between(&path)).unwrap();
        write(&mut file, &path, b"new").unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, PRIVATE);
        replace(&path, b"newer").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, PRIVATE);
    }

    #[test]
    fn links_are_followed_to_where_nothing_is_yet() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        symlink("second", at("first")).unwrap();
        symlink(at("kept/config.json"), at("second")).unwrap();
        symlink("circle", at("circle")).unwrap();
        assert_eq!(behind_links(&at("first")).unwrap(), at("kept/config.json"));
        assert_eq!(behind_links(&at("none")).unwrap(), at("none"));
        assert!(behind_links(&at("circle")).is_err());
    }
}
