//! Moving an extracted layer to another directory of the same file system, by renaming what lies at
//! its top.

use std::os::fd::OwnedFd;

use rustix::fs::{Dir, XattrFlags};
use rustix::io::Errno;

use super::error::ExtractError;

/// The only attribute that extraction gives the root itself: nothing of the layers below shows.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Moves everything in `from` to `to`, which must be empty and on the same file system.
///
/// # Errors
/// [`ExtractError::File`]; what was moved until then stays moved.
pub fn move_tree(from: OwnedFd, to: OwnedFd) -> Result<(), ExtractError> {
    let entries = Dir::read_from(&from).map_err(ExtractError::file("list", b"/"))?;
    for entry in entries {
        let entry = entry.map_err(ExtractError::file("list", b"/"))?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            rustix::fs::renameat(&from, name, &to, name)
                .map_err(ExtractError::file("move", name.to_bytes()))?;
        }
    }
    copy_opaque(&from, &to).map_err(ExtractError::file("copy the attributes of", b"/"))
}

fn copy_opaque(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let mut value = [0; 8];
    match rustix::fs::fgetxattr(from, OPAQUE, &mut value[..]) {
        Ok(length) => {
            let value = value.get(..length).unwrap_or_default();
            rustix::fs::fsetxattr(to, OPAQUE, value, XattrFlags::empty())
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn moves_all_that_lies_at_the_top() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", from.join("link")).unwrap();
        let open = |path| OwnedFd::from(fs::File::open(path).unwrap());
        move_tree(open(&from), open(&to)).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "x");
        assert!(fs::symlink_metadata(to.join("link")).is_ok());
        assert_eq!(fs::read_dir(&from).unwrap().count(), 0);
    }
}
