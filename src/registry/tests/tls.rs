//! TLS: which certificates are taken, and what is said of the others.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;

use crate::config::{ClientCertificate, RegistryHost, Source as ConfigSource};
use crate::failure::{Diagnose as _, Failure};
use crate::registry::testing::{Reply, Server, Setup, dead_authority, host, loopback};
use crate::registry::{Error, Fault, TlsFault};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\
    Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\
    Docker-Content-Digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\r\n";

/// A private authority, its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for `name`, and its key, in PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key)
    }
}

/// Serves a manifest's head over TLS to every connection; the thread ends with the process.
fn serve(certificate: (String, KeyPair), clients: Option<&Authority>) -> String {
    serve_with(certificate, &[], clients)
}

/// The same, with the certificates of authorities sent along.
pub(super) fn serve_chain(certificate: (String, KeyPair), chain: &[String]) -> String {
    serve_with(certificate, chain, None)
}

fn serve_with(
    certificate: (String, KeyPair),
    chain: &[String],
    clients: Option<&Authority>,
) -> String {
    use rustls_pki_types::pem::PemObject as _;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let (pem, key) = certificate;
    let chain = std::iter::once(&pem)
        .chain(chain)
        .map(|pem| rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            // A client that refuses the certificate ends the handshake here.
            if tls.read(&mut head).is_ok() {
                let _ = tls.write_all(ANSWER.as_bytes());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    format!("registry.example:{port}")
}

fn trusting(authority: &str, ca: &Authority) -> RegistryHost {
    RegistryHost { ca: vec![ca.file()], ..host("https", authority) }
}

pub(super) async fn resolve(host: RegistryHost) -> Result<(), Error> {
    let setup = Setup::policy(loopback("registry.example"));
    setup.repository(vec![host]).resolve().await.map(drop)
}

pub(super) async fn fault(host: RegistryHost) -> (Fault, String) {
    let error = resolve(host).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Unreachable);
    (error.fault().unwrap().clone(), error.hint().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_private_authority_is_trusted_for_the_host_that_names_it() {
    let ca = Authority::new();
    let authority = serve(ca.issue("registry.example", |_| {}), None);
    resolve(trusting(&authority, &ca)).await.unwrap();

    let (fault, hint) = fault(host("https", &authority)).await;
    assert_eq!(fault, Fault::Tls(TlsFault::UnknownIssuer));
    assert!(hint.contains("/etc/containerd/certs.d/registry.example/hosts.toml"), "{hint}");

    resolve(RegistryHost { skip_verify: true, ..host("https", &authority) }).await.unwrap();
}

#[tokio::test]
async fn the_hint_names_the_file_in_which_the_host_is_configured() {
    let authority = serve(Authority::new().issue("registry.example", |_| {}), None);
    let configured = |source: ConfigSource| RegistryHost {
        ns: Some("quay.io".to_owned()),
        source,
        ..host("https", &authority)
    };
    let at = |path: &str| ConfigSource::File(path.into(), 4);
    let in_config = format!("(ca_file of registry.configs.\"{authority}\".tls)");
    let reference = "quay.io/team/app:v1";
    let path = "write the path of the authority's file into";
    for (source, expected) in [
        (
            at("/certs.d/quay.io/hosts.toml"),
            format!("{path} /certs.d/quay.io/hosts.toml (ca = \"…\")"),
        ),
        (
            at("/certs.d/quay.io/ca.crt"),
            "put the authority's certificate into /certs.d/quay.io (a *.crt)".to_owned(),
        ),
        (at("/etc/config.toml"), format!("{path} /etc/config.toml {in_config}")),
        (
            ConfigSource::Default,
            format!("{path} /etc/containerd/certs.d/quay.io/hosts.toml (ca = \"…\")"),
        ),
    ] {
        let setup = Setup::policy(loopback("registry.example"));
        let repository = setup.repository_of(reference, vec![configured(source)]);
        let hint = repository.resolve().await.unwrap_err().hint().unwrap();
        let begin = format!("{expected}, or");
        assert!(hint.starts_with(&begin), "{hint}");
    }
}

/// As `openssl req -x509` makes it, and as docker's documentation tells admins to.
#[tokio::test]
async fn a_server_that_is_its_own_authority_is_trusted_where_it_is_named() {
    let own = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        let certificate = (issuer.pem(), KeyPair::from_pem(&issuer.key().serialize_pem()).unwrap());
        (Authority { issuer, directory }, certificate)
    };
    let (authority, certificate) = own("registry.example");
    let served = serve(certificate, None);
    resolve(trusting(&served, &authority)).await.unwrap();
    let (other, _) = own("registry.example");
    let (unknown, hint) = fault(trusting(&served, &other)).await;
    assert_eq!(unknown, Fault::Tls(TlsFault::UnknownIssuer));
    assert!(hint.contains("hosts.toml"), "{hint}");

    let (authority, certificate) = own("other.example");
    let (wrong, _) = fault(trusting(&serve(certificate, None), &authority)).await;
    assert!(matches!(wrong, Fault::Tls(TlsFault::WrongName { .. })), "{wrong:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_called_expired() {
    let ca = Authority::new();
    let expired =
        ca.issue("registry.example", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let authority = serve(expired, None);
    let (fault, hint) = fault(trusting(&authority, &ca)).await;
    assert_eq!(fault, Fault::Tls(TlsFault::Expired));
    assert!(hint.contains("clock"), "{hint}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_quoted() {
    let ca = Authority::new();
    let authority = serve(ca.issue("other.example", |_| {}), None);
    let (fault, _) = fault(trusting(&authority, &ca)).await;
    let presented = vec!["other.example".to_owned()];
    assert_eq!(fault, Fault::Tls(TlsFault::WrongName { presented }));
    assert_eq!(fault.to_string(), "certificate is not for this name but for other.example");
}

#[tokio::test]
async fn plain_http_is_recognised_where_tls_was_expected() {
    let server = Server::start(|_, _| Reply::status(404)).await;
    let https = host("https", &server.authority());
    let (fault, hint) = fault(https.clone()).await;
    assert_eq!(fault, Fault::Tls(TlsFault::PlainHttp));
    assert!(hint.contains("--plain-http"), "{hint}");

    let fallback = RegistryHost { http_fallback: true, ..https };
    let error = resolve(fallback).await.unwrap_err();
    assert!(matches!(error.fault(), Some(Fault::NotFound { .. })), "{error:?}");
}

#[tokio::test]
async fn requests_that_went_out_together_all_fall_back() {
    let server = Server::start(|_, _| Reply::status(404)).await;
    let fallback = RegistryHost { http_fallback: true, ..host("https", &server.authority()) };
    let repository = Setup::policy(loopback("registry.example")).repository(vec![fallback]);
    let resolves = [(); 8].map(|()| repository.resolve());
    for resolved in futures_util::future::join_all(resolves).await {
        let error = resolved.unwrap_err();
        assert!(matches!(error.fault(), Some(Fault::NotFound { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn skipping_verification_never_turns_https_into_http() {
    let server = Server::start(|_, _| Reply::status(404)).await;
    let (fault, _) =
        fault(RegistryHost { skip_verify: true, ..host("https", &server.authority()) }).await;
    assert_eq!(fault, Fault::Tls(TlsFault::PlainHttp));
    let dead = dead_authority();
    let fallback = RegistryHost { http_fallback: true, ..host("https", &dead) };
    let error = resolve(fallback).await.unwrap_err();
    assert_eq!(error.fault(), Some(&Fault::Refused), "a port that is written is the only one");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_host_that_asks() {
    let ca = Authority::new();
    let authority = serve(ca.issue("registry.example", |_| {}), Some(&ca));
    let (fault, hint) = fault(trusting(&authority, &ca)).await;
    assert!(matches!(fault, Fault::Tls(TlsFault::ClientCertificate(_))), "{fault:?}");
    assert!(hint.contains("client ="), "{hint}");

    let (certificate, key) = ca.issue("client", |_| {});
    let write = |name: &str, content: &str| {
        let path = ca.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let cert = write("client.pem", &certificate);
    let pair = ClientCertificate { cert, key: Some(write("client.key", &key.serialize_pem())) };
    resolve(RegistryHost { client: vec![pair], ..trusting(&authority, &ca) }).await.unwrap();
    let both = write("both.pem", &format!("{certificate}{}", key.serialize_pem()));
    let pair = ClientCertificate { cert: both, key: None };
    resolve(RegistryHost { client: vec![pair], ..trusting(&authority, &ca) }).await.unwrap();
}

#[tokio::test]
async fn unusable_files_are_named_and_nobody_is_asked() {
    let server = Server::start(|_, _| Reply::status(404)).await;
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for file in [Path::new("/nonexistent/ca.pem"), &empty] {
        let broken = RegistryHost { ca: vec![file.to_owned()], ..host("https", "a.example") };
        let repository = Setup::default().repository(vec![broken, server.host()]);
        let error = repository.resolve().await.unwrap_err();
        let Error::Setup { host, source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(host, "a.example");
        assert!(source.to_string().contains(&*file.to_string_lossy()), "{source}");
    }
    assert!(server.requests().is_empty());
}
