//! Which paths of a node the pod has, and that none is in the way of its own.

use std::path::{Path, PathBuf};

use crate::cli::SeedingError;

/// Where the list is mounted.
pub(super) const LIST_DIRECTORY: &str = "/etc/pullctl/list";
/// Where the logins are mounted.
pub(super) const LOGINS: &str = "/etc/pullctl/logins";
/// The one directory that pullctl can write, in memory.
pub(super) const STATE: &str = "/run/pullctl";
/// The program in its image.
pub(super) const PROGRAM: &str = "/pullctl";
/// What pullctl reads on a node: mirrors and authorities, and the daemon's configuration.
const SETTINGS: &str = "/etc/containerd";
/// Where a node trusts the authorities that its owner added.
const AUTHORITIES: &str = "/etc/ssl/certs";

/// A path of the node, mounted at the same path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NodePath {
    /// Its volume's name.
    pub(super) name: String,
    /// Where it is, here and there.
    pub(super) path: PathBuf,
    /// Whether the pod only reads it.
    pub(super) is_read_only: bool,
    /// Whether the node may not have it.
    pub(super) is_made: bool,
}

/// The directories of the socket and of settings, `further` ones, and, to be written, containerd's `root`,
/// each once.
///
/// # Errors
/// [`SeedingError::InTheWay`] when one would hide what the pod has itself.
pub(super) fn of_node(
    socket: &Path,
    further: &[PathBuf],
    root: Option<&Path>,
) -> Result<Vec<NodePath>, SeedingError> {
    let mut paths: Vec<NodePath> = Vec::new();
    let mut add = |name: String, path: &Path, is_read_only: bool| {
        let own = [LIST_DIRECTORY, LOGINS, STATE, PROGRAM].into_iter();
        if let Some(own) = own.filter(|own| Path::new(own).starts_with(path)).min() {
            return Err(SeedingError::InTheWay { path: path.to_owned(), own });
        }
        match paths.iter_mut().find(|known| known.path == path) {
            Some(known) => known.is_read_only &= is_read_only,
            None => {
                let (path, is_made) = (path.to_owned(), name == "settings");
                paths.push(NodePath { name, path, is_read_only, is_made });
            }
        }
        Ok(())
    };
    add("socket".to_owned(), socket.parent().unwrap_or(socket), true)?;
    add("settings".to_owned(), Path::new(SETTINGS), true)?;
    add("authorities".to_owned(), Path::new(AUTHORITIES), true)?;
    for (position, path) in further.iter().enumerate() {
        add(format!("host-{position}"), path, true)?;
    }
    root.map_or(Ok(()), |root| add("root".to_owned(), root, false))?;
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "/run/containerd/containerd.sock";

    fn paths(socket: &str, further: &[&str], root: Option<&str>) -> Result<Vec<NodePath>, String> {
        let further: Vec<PathBuf> = further.iter().map(PathBuf::from).collect();
        of_node(Path::new(socket), &further, root.map(Path::new)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_mounted_once_and_can_be_written_where_anybody_has_to() {
        let root = Some("/run/containerd");
        let further = ["/etc/pki", "/etc/containerd", "/etc/pki"];
        let mounted: Vec<_> = paths(SOCKET, &further, root)
            .unwrap()
            .into_iter()
            .map(|path| (path.path.display().to_string(), path.is_read_only))
            .collect();
        let expected = [
            ("/run/containerd", false),
            ("/etc/containerd", true),
            ("/etc/ssl/certs", true),
            ("/etc/pki", true),
        ];
        assert_eq!(mounted, expected.map(|(path, is_read_only)| (path.to_owned(), is_read_only)));
    }

    #[test]
    fn what_would_hide_the_pods_own_is_refused() {
        for (socket, further, root, path, own) in [
            ("/run/containerd.sock", None, None, "/run", "/run/pullctl"),
            ("/containerd.sock", None, None, "/", "/etc/pullctl/list"),
            (SOCKET, Some("/etc"), None, "/etc", "/etc/pullctl/list"),
            (
                SOCKET,
                Some("/etc/pullctl/logins"),
                None,
                "/etc/pullctl/logins",
                "/etc/pullctl/logins",
            ),
            (SOCKET, None, Some("/run/pullctl"), "/run/pullctl", "/run/pullctl"),
            (SOCKET, Some("/pullctl"), None, "/pullctl", "/pullctl"),
        ] {
            let told = paths(socket, further.as_slice(), root).unwrap_err();
            assert_eq!(told, format!("{path} of the node would hide {own} of the pod"));
        }
        assert!(paths(SOCKET, &["/run/pullctl-of-others", "/etc/pullctl.d"], None).is_ok());
    }
}
