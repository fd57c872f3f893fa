//! Which socket to talk to.

use std::path::{Path, PathBuf};

use super::Error;

/// Where distributions put containerd's socket, in the order tried: containerd's own packages, k3s
/// and RKE2 (which share a path), MicroK8s, k0s.
const CANDIDATES: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/k0s/containerd.sock",
];

/// The socket `given` (a path, `unix://` accepted), else the first usual one that exists.
///
/// A given socket is not looked at here: connecting says why it does not work.
///
/// # Errors
/// [`Error::NoSocket`] when none is given and none exists; [`Error::Address`] when `given` is of
/// another scheme.
pub fn find_address(given: Option<&str>) -> Result<PathBuf, Error> {
    match given {
        Some(address) => parse(address),
        None => first_existing(&CANDIDATES),
    }
}

/// The usual sockets, in the order tried, whether they exist or not.
pub fn usual_addresses() -> impl Iterator<Item = &'static Path> {
    CANDIDATES.iter().map(Path::new)
}

fn parse(address: &str) -> Result<PathBuf, Error> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    if path.is_empty() || path.contains("://") {
        return Err(Error::Address(address.to_owned()));
    }
    Ok(PathBuf::from(path))
}

fn first_existing(candidates: &[impl AsRef<Path>]) -> Result<PathBuf, Error> {
    candidates
        .iter()
        .map(|candidate| candidate.as_ref().to_owned())
        // A directory that we may not search hides whether the socket exists: connecting will say
        // so, which helps more than to claim that there is none.
        .find(|path| path.try_exists().unwrap_or(true))
        .ok_or_else(|| Error::NoSocket {
            tried: candidates.iter().map(|candidate| candidate.as_ref().to_owned()).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_paths_and_unix_urls() {
        assert_eq!(find_address(Some("/a/b.sock")).unwrap(), Path::new("/a/b.sock"));
        assert_eq!(find_address(Some("unix:///a/b.sock")).unwrap(), Path::new("/a/b.sock"));
        for address in ["", "unix://", "tcp://127.0.0.1:1", "http://host"] {
            assert!(matches!(find_address(Some(address)), Err(Error::Address(_))), "{address}");
        }
    }

    #[test]
    fn prefers_the_first_socket_that_exists_and_names_all_when_none_does() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        let candidates = [&first, &second];
        match first_existing(&candidates) {
            Err(Error::NoSocket { tried }) => assert_eq!(tried, [first.clone(), second.clone()]),
            other => panic!("{other:?}"),
        }
        std::fs::write(&second, "").unwrap();
        assert_eq!(first_existing(&candidates).unwrap(), second);
        std::fs::write(&first, "").unwrap();
        assert_eq!(first_existing(&candidates).unwrap(), first);
    }
}
