//! Certificates and keys in files.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ClientCertificate;
use crate::registry::error::SetupError;

/// Most blocks of a file that are looked at; the system's own bundle has some hundred.
const MAX_BLOCKS: usize = 10_000;

/// The certificates of a file. Blocks that can't be read are passed over, as in Go.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let content = std::fs::read(path)
        .map_err(|error| SetupError(format!("certificate file {}: {error}", path.display())))?;
    let blocks = CertificateDer::pem_slice_iter(&content).take(MAX_BLOCKS);
    let certificates: Vec<_> = blocks.filter_map(Result::ok).collect();
    if certificates.is_empty() {
        return Err(SetupError(format!("{} holds no PEM certificate", path.display())));
    }
    Ok(certificates)
}

/// A client's certificates, its own first, and its key.
pub(super) fn client_pair(
    pair: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SetupError> {
    let key_file = pair.key.as_deref().unwrap_or(&pair.cert);
    let refused = |words: &dyn std::fmt::Display| {
        SetupError(format!("key file {}: {words}", key_file.display()))
    };
    let content = std::fs::read(key_file).map_err(|error| refused(&error))?;
    let is_locked = |marker: &[u8]| content.windows(marker.len()).any(|window| window == marker);
    if is_locked(b"BEGIN ENCRYPTED PRIVATE KEY") || is_locked(b"Proc-Type: 4,ENCRYPTED") {
        return Err(refused(&"it has a passphrase, which nobody is asked for: take it off"));
    }
    let key = PrivateKeyDer::from_pem_slice(&content).map_err(|error| refused(&error))?;
    Ok((certificates(&pair.cert)?, key))
}

/// Why TLS can't use what [`client_pair`] has read.
pub(super) fn unusable_pair(pair: &ClientCertificate, error: &rustls::Error) -> SetupError {
    let key = pair.key.as_deref().unwrap_or(&pair.cert).display();
    let certificate = pair.cert.display();
    SetupError(match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("client certificate {certificate} does not belong to the key in {key}")
        }
        rustls::Error::General(reason) => format!("key file {key}: {reason}"),
        error => format!("client certificate {certificate} with the key in {key}: {error}"),
    })
}
