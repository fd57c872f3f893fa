//! A private certificate authority for the tests' TLS servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Now,
    Expired,
    /// Not for decades yet.
    Later,
}

/// What `openssl req -x509` is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpensslKind {
    /// For `-newkey`: `rsa:4096`, `ec -pkeyopt ec_paramgen_curve:P-384`.
    pub(crate) key: &'static str,
    /// `-sha512`.
    pub(crate) digest: &'static str,
    /// As docker's own guide makes a registry's certificate.
    pub(crate) is_own_authority: bool,
}

/// PEM files of one authority and one server certificate.
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// The same made by openssl, for keys (as `-newkey` has them) and digests that others do not make.
    /// Without an authority of its own, the server is that itself.
    pub(crate) fn by_openssl(directory: &Path, names: &[&str], kind: &OpensslKind) -> Self {
        let file = |name: &str| directory.join(name);
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            let made = command.args(arguments).current_dir(directory).output().expect("it runs");
            assert!(made.status.success(), "{arguments:?}: {made:?}");
        };
        let key: Vec<&str> = kind.key.split(' ').collect();
        let new = |name: &str, more: &[&str]| {
            let (key_file, file) = (format!("{name}.key"), format!("{name}.crt"));
            let subject = format!("/CN=test {name}");
            let own = ["req", "-x509", "-nodes", "-days", "2", "-subj", &subject, "-newkey"];
            let files = ["-keyout", &key_file, "-out", &file];
            openssl(&[&own[..], &key, &files, &[kind.digest], more].concat());
        };
        let names: Vec<String> = names
            .iter()
            .map(|name| match name.parse::<std::net::IpAddr>() {
                Ok(_) => format!("IP:{name}"),
                Err(_) => format!("DNS:{name}"),
            })
            .collect();
        let names = format!("subjectAltName={}", names.join(","));
        if kind.is_own_authority {
            new("server", &["-addext", &names]);
            std::fs::copy(file("server.crt"), file("ca.crt")).expect("it is there");
        } else {
            new("ca", &[]);
            let plain =
                ["-addext", "basicConstraints=CA:FALSE", "-CA", "ca.crt", "-CAkey", "ca.key"];
            new("server", &[&["-addext", &names], &plain[..]].concat());
        }
        Self { authority: file("ca.crt"), certificate: file("server.crt"), key: file("server.key") }
    }

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
        let years = match validity {
            Validity::Now => None,
            Validity::Expired => Some((2020, 2021)),
            Validity::Later => Some((2070, 2071)),
        };
        if let Some((begins, ends)) = years {
            server.not_before = date_time_ymd(begins, 1, 1);
            server.not_after = date_time_ymd(ends, 1, 1);
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
