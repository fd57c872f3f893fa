//! Whose certificates are taken from a host, as Go's clients take them.
//!
//! webpki decides, but for what it refuses and Go does not: a server whose own certificate is among
//! those trusted, and one whose certificate is also an authority's. `openssl req -x509` makes both at
//! once, and docker's documentation tells admins to use it.

use std::sync::OnceLock;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};

use super::algorithms;
use super::certificate::Certificate;
use super::files::certificates;
use crate::config::RegistryHost;
use crate::registry::error::SetupError;

/// Most authorities between a server that is one itself and one that is trusted.
const MAX_DEPTH: usize = 6;

/// Most signatures that are checked for such a server: a host could send many authorities of one name.
const MAX_CHECKS: usize = 64;

/// The system's authorities and those of a host's `ca`.
#[derive(Debug)]
pub(super) struct Trusted {
    own: Pool,
    /// Both, put together for the first certificate: who speaks plain HTTP never shows one, and
    /// reading the system's takes some milliseconds.
    all: OnceLock<Pool>,
}

#[derive(Debug, Clone)]
struct Pool {
    roots: RootCertStore,
    /// The very certificates, each of which may be a server's.
    named: Vec<CertificateDer<'static>>,
}

impl Pool {
    fn empty() -> Self {
        Self { roots: RootCertStore::empty(), named: Vec::new() }
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> bool {
        let added = self.roots.add(certificate.clone()).is_ok();
        if added {
            self.named.push(certificate);
        }
        added
    }
}

/// The system's authorities, read once. An empty store is no error here: a host may bring its own,
/// or not be verified, or speak plain HTTP.
fn system() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "system certificate left out");
        }
        let mut pool = Pool::empty();
        for certificate in found.certs {
            pool.add(certificate);
        }
        pool
    })
}

/// What one verification is about.
struct Chain<'a> {
    pool: &'a Pool,
    sent: &'a [CertificateDer<'a>],
    now: UnixTime,
    algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
    checks: usize,
}

impl Trusted {
    /// Reads the `ca` of `host`. What is no certificate in them is left out, as in Go.
    ///
    /// # Errors
    /// [`SetupError`] when a file can't be read or holds no certificate at all.
    pub(super) fn by(host: &RegistryHost) -> Result<Self, SetupError> {
        let mut own = Pool::empty();
        for path in &host.ca {
            let found = certificates(path)?;
            let count = found.len();
            let added =
                found.into_iter().map(|found| own.add(found)).filter(|added| *added).count();
            if added == 0 {
                return Err(SetupError(format!("{} holds no usable certificate", path.display())));
            }
            if added < count {
                let left_out = count - added;
                tracing::warn!(
                    "{}: {left_out} of {count} blocks are no certificates",
                    path.display()
                );
            }
        }
        Ok(Self { own, all: OnceLock::new() })
    }

    fn all(&self) -> &Pool {
        self.all.get_or_init(|| {
            let mut all = system().clone();
            all.roots.extend(self.own.roots.roots.iter().cloned());
            all.named.extend(self.own.named.iter().cloned());
            all
        })
    }

    /// Whether `server` is trusted and of this name.
    pub(super) fn verify(
        &self,
        server: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let certificate = ParsedCertificate::try_from(server)?;
        let algorithms = algorithms::for_certificates();
        let pool = self.all();
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &pool.roots,
            sent,
            now,
            algorithms,
        );
        match signed {
            Ok(()) => {}
            // Both are found out after its time was found right.
            Err(error) if is_authority(&error) => {
                let read = Certificate::read(server).ok_or(CertificateError::BadEncoding)?;
                if !read.is_for_servers() {
                    return Err(CertificateError::InvalidPurpose.into());
                }
                let mut chain = Chain { pool, sent, now, algorithms, checks: 0 };
                if !pool.named.contains(server) && !chain.leads_from(&read, 0) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
            }
            Err(error) if is_unknown(&error) && pool.named.contains(server) => {}
            Err(error) => return Err(error),
        }
        verify_server_name(&certificate, name)
    }
}

impl Chain<'_> {
    /// Whether `certificate` is signed by someone trusted, or by an authority that was sent along and
    /// is trusted for that; `between` authorities stand between it and the server.
    ///
    /// Authorities that restrict names are not followed: reading their rules is webpki's business.
    fn leads_from(&mut self, certificate: &Certificate<'_>, between: usize) -> bool {
        let roots = &self.pool.roots.roots;
        for root in roots.iter().filter(|root| root.subject.as_ref() == certificate.issuer) {
            let key = root.subject_public_key_info.as_ref();
            if root.name_constraints.is_none() && self.is_signed_by(certificate, key) {
                return true;
            }
        }
        if between >= MAX_DEPTH {
            return false;
        }
        for sent in self.sent {
            let Some(issuer) = Certificate::read(sent) else { continue };
            if issuer.subject == certificate.issuer
                && issuer.path_length().is_none_or(|length| length >= between)
                && !issuer.constrains_names()
                && self.is_authority_now(sent)
                && self.is_signed_by(certificate, issuer.key())
                && self.leads_from(&issuer, between + 1)
            {
                return true;
            }
        }
        false
    }

    fn is_signed_by(&mut self, certificate: &Certificate<'_>, key: &[u8]) -> bool {
        self.checks += 1;
        self.checks <= MAX_CHECKS && certificate.is_signed_by(key, self.algorithms)
    }

    /// Whether `sent` is an authority's certificate and in its time, which webpki says by refusing it
    /// as a server's.
    fn is_authority_now(&self, sent: &CertificateDer<'_>) -> bool {
        let (roots, now) = (&self.pool.roots, self.now);
        ParsedCertificate::try_from(sent).is_ok_and(|parsed| {
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, &[], now, self.algorithms)
                .is_err_and(|error| is_authority(&error))
        })
    }
}

/// Whether the server's certificate is one of an authority.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Whether nobody was found who signed the certificate.
fn is_unknown(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
}
