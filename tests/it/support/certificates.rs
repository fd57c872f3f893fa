//! A private certificate authority for the tests' TLS servers.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Now,
    Expired,
}

/// PEM files of one authority and one server certificate.
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Writes a new authority's certificate and one that it issued for `names` into `directory`.
    pub(crate) fn issue(directory: &Path, names: &[&str], validity: Validity) -> Self {
        let authority_key = KeyPair::generate().expect("a key can be made");
        let mut authority = CertificateParams::default();
        // With the name that the server's certificate has, that one would look self-signed.
        authority.distinguished_name.push(DnType::CommonName, "test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signed = authority.self_signed(&authority_key).expect("the authority signs itself");
        let issuer = Issuer::new(authority, &authority_key);

        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().expect("a key can be made");
        let mut server = CertificateParams::new(names).expect("the names are DNS names or IPs");
        if validity == Validity::Expired {
            server.not_before = date_time_ymd(2020, 1, 1);
            server.not_after = date_time_ymd(2021, 1, 1);
        }
        let server = server.signed_by(&key, &issuer).expect("the authority signs");

        let write = |name: &str, pem: String| {
            let path = directory.join(name);
            std::fs::write(&path, pem).expect("the certificate can be written");
            path
        };
        Self {
            authority: write("ca.crt", signed.pem()),
            certificate: write("server.crt", server.pem()),
            key: write("server.key", key.serialize_pem()),
        }
    }
}
