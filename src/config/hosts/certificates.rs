//! Docker's layout of a host directory without a hosts.toml: certificates by their file names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::error::Error;
use crate::config::warning::WarningKind;
use crate::failure::Notice;

use super::host::ClientCertificate;
use super::settings::HostSettings;

/// `*.crt` are authorities; a `*.cert` is a client certificate, its key the `*.key` of the same
/// name or, without one, in the same file. In the order of their names.
///
/// # Errors
/// [`Error::Unreadable`] if the directory cannot be listed.
pub(super) fn read(directory: &Path) -> Result<(HostSettings, Vec<Notice>), Error> {
    let mut files = list(directory)
        .map_err(|source| Error::Unreadable { path: directory.to_owned(), source })?;
    files.sort();
    let with_extension = |extension| {
        files.iter().filter(move |file| file.extension().is_some_and(|found| found == extension))
    };
    let key_of = |cert: &Path| {
        let key = cert.with_extension("key");
        files.contains(&key).then_some(key)
    };
    let orphans = with_extension("key")
        .filter(|key| !files.contains(&key.with_extension("cert")))
        .map(|key| orphan_warning(key));
    let settings = HostSettings {
        ca: with_extension("crt").cloned().collect(),
        client: with_extension("cert")
            .map(|cert| ClientCertificate { cert: cert.clone(), key: key_of(cert) })
            .collect(),
        ..HostSettings::default()
    };
    Ok((settings, orphans.collect()))
}

fn orphan_warning(key: &Path) -> Notice {
    let cert = key.with_extension("cert");
    let message = format!("{} has no certificate beside it and is not used", key.display());
    Notice::new(WarningKind::KeyWithoutCertificate, message)
        .at(key.to_owned(), 1)
        .with_hint(format!("name the client certificate {}", cert.display()))
}

/// The files in `directory`, links to files included.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        }
    }
    Ok(files)
}
