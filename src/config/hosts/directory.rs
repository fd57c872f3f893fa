//! Which directory configures a registry host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::authority::split_port;
use crate::config::error::Error;

/// The directory that stands for every host without one of its own.
const FALLBACK_DIRECTORY: &str = "_default";

/// The directory for `domain`: the first that exists of `host_port_`, `host:port` and `_default`,
/// in each of `roots` in turn. One that is empty counts too.
///
/// # Errors
/// [`Error::Unreadable`] if one of them cannot be looked at: what it says would be passed over.
pub fn find(roots: &[PathBuf], domain: &str) -> Result<Option<PathBuf>, Error> {
    for candidate in roots.iter().flat_map(|root| candidates(root, domain)) {
        if exists(&candidate)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// A directory that is named as `domain` is, but for the port, where it has one: it does not count.
pub(in crate::config) fn without_port(roots: &[PathBuf], domain: &str) -> Option<PathBuf> {
    let (host, Some(_)) = split_port(domain) else { return None };
    roots.iter().map(|root| root.join(host)).find(|directory| directory.is_dir())
}

fn candidates(root: &Path, domain: &str) -> impl Iterator<Item = PathBuf> {
    let without_colon = match split_port(domain) {
        (host, Some(port)) => Some(root.join(format!("{host}_{port}_"))),
        (_, None) => None,
    };
    without_colon.into_iter().chain([root.join(domain), root.join(FALLBACK_DIRECTORY)])
}

fn exists(directory: &Path) -> Result<bool, Error> {
    match fs::metadata(directory) {
        Ok(_) => Ok(true),
        // A dangling link is no absence: somebody meant to configure this host.
        Err(error) if is_absence(&error) && !directory.is_symlink() => Ok(false),
        Err(source) => Err(Error::Unreadable { path: directory.to_owned(), source }),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound)
}
