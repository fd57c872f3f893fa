//! Files that others read while they are written anew.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Mode of such a file: whoever reads it may be anybody.
const MODE: u32 = 0o644;

/// Puts `text` in the place of what `path` is: readers see the old file or the new one, whole, a loss of
/// power included. What is no file, as a device or a pipe, is written to and stays what it is; what a link
/// leads to is replaced, and not the link.
///
/// # Errors
/// When the directory can't be written.
pub fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return fs::File::options().write(true).open(path)?.write_all(text.as_bytes());
        }
        _ => {}
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Its words name a file that nobody knows.
    let unnamed = |error: io::Error| io::Error::from(error.kind());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(unnamed)?;
    file.as_file_mut().write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(MODE))?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_everybody_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for text in ["a longer text", "text"] {
            replace_file(&path, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_one_and_a_pipe_is_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| directory.path().join(name));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_file(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(link.is_symlink());

        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        // Opened for both, it waits for nobody.
        let reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        replace_file(&pipe, "text").unwrap();
        let mut read = [0; 4];
        std::io::Read::read_exact(&mut &reader, &mut read).unwrap();
        assert_eq!(&read, b"text");
    }

    #[test]
    fn what_can_not_be_written_is_told_by_its_reason_alone() {
        let directory = tempfile::tempdir().unwrap();
        for (path, kind) in [
            (directory.path().to_owned(), io::ErrorKind::IsADirectory),
            (directory.path().join("none/file"), io::ErrorKind::NotFound),
        ] {
            let error = replace_file(&path, "text").unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(!error.to_string().contains(".tmp"), "{error}");
        }
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }
}
