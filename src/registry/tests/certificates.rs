//! Certificates that Go's clients take and that TLS libraries are stricter about.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SignatureAlgorithm, date_time_ymd,
};
use tempfile::TempDir;

use super::tls::{fault, resolve, serve_chain};
use crate::config::RegistryHost;
use crate::registry::testing::host;
use crate::registry::{Fault, TlsFault};

const NAME: &str = "registry.example";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority_with(change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    let mut params = named("authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn authority() -> Issuer {
    authority_with(|_| {})
}

fn below(issuer: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    let mut params = named("intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap()
}

fn named(common: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

/// A server's certificate and key, in PEM.
fn leaf(issuer: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> (String, KeyPair) {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key)
}

fn is_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

/// A host that trusts what `ca` holds.
fn trusting(directory: &TempDir, authority: &str, ca: &str) -> RegistryHost {
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    RegistryHost { ca: vec![file], ..host("https", authority) }
}

#[tokio::test]
async fn a_server_that_is_an_authority_too_is_trusted_for_who_signed_it() {
    let directory = TempDir::new().unwrap();
    let root = authority();
    let middle = below(&root, |_| {});
    let short = below(&root, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let no_authority = below(&root, |params| params.is_ca = IsCa::NoCa);
    let expired = below(&root, |params| params.not_after = date_time_ymd(2020, 1, 1));
    let by_client = |params: &mut CertificateParams| {
        is_authority(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let by_server = |params: &mut CertificateParams| {
        is_authority(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let deep = below(&middle, |params| params.distinguished_name.push(DnType::CommonName, "deep"));
    let under_short = below(&short, |params| {
        params.distinguished_name.push(DnType::CommonName, "under short");
    });
    for (name, certificate, chain, trusted) in [
        ("directly", leaf(&root, is_authority), vec![], true),
        ("for servers", leaf(&root, by_server), vec![], true),
        ("for clients", leaf(&root, by_client), vec![], false),
        ("below another", leaf(&middle, is_authority), vec![middle.pem()], true),
        ("that is not sent", leaf(&middle, is_authority), vec![], false),
        ("below two", leaf(&deep, is_authority), vec![deep.pem(), middle.pem()], true),
        ("in any order", leaf(&deep, is_authority), vec![middle.pem(), deep.pem()], true),
        ("below the last", leaf(&short, is_authority), vec![short.pem()], true),
        (
            "below what may sign servers only",
            leaf(&under_short, is_authority),
            vec![under_short.pem(), short.pem()],
            false,
        ),
        ("below a server", leaf(&no_authority, is_authority), vec![no_authority.pem()], false),
        ("below an expired one", leaf(&expired, is_authority), vec![expired.pem()], false),
        ("by nobody known", leaf(&authority(), is_authority), vec![], false),
    ] {
        let served = serve_chain(certificate, &chain);
        let resolved = resolve(trusting(&directory, &served, &root.pem())).await;
        assert_eq!(resolved.is_ok(), trusted, "{name}: {resolved:?}");
    }
}

#[tokio::test]
async fn a_servers_own_certificate_is_trusted_where_it_is_given() {
    let directory = TempDir::new().unwrap();
    let root = authority();
    let (certificate, key) = leaf(&root, |_| {});
    let other = leaf(&root, |_| {}).0;
    let served = serve_chain((certificate.clone(), key), &[]);
    resolve(trusting(&directory, &served, &certificate)).await.unwrap();
    let (unknown, _) = fault(trusting(&directory, &served, &other)).await;
    assert_eq!(unknown, Fault::Tls(TlsFault::UnknownIssuer));

    let expired = leaf(&root, |params| params.not_after = date_time_ymd(2020, 1, 1));
    let (own, served) = (expired.0.clone(), serve_chain(expired, &[]));
    let (refused, _) = fault(trusting(&directory, &served, &own)).await;
    assert_eq!(refused, Fault::Tls(TlsFault::Expired));
}

#[tokio::test]
async fn keys_and_signatures_that_gos_clients_take_are_taken() {
    let directory = TempDir::new().unwrap();
    let kinds: [(&str, &'static SignatureAlgorithm); 5] = [
        ("P-521 and SHA-512", &rcgen::PKCS_ECDSA_P521_SHA512),
        ("P-521 and SHA-256", &rcgen::PKCS_ECDSA_P521_SHA256),
        ("P-384 and SHA-384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("P-256 and SHA-256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("Ed25519", &rcgen::PKCS_ED25519),
    ];
    for (name, algorithm) in kinds {
        let mut params = named("authority");
        is_authority(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let root = CertifiedIssuer::self_signed(params, key).unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &root).unwrap().pem();
        let served = serve_chain((certificate, key), &[]);
        let resolved = resolve(trusting(&directory, &served, &root.pem())).await;
        assert!(resolved.is_ok(), "{name}: {resolved:?}");
    }
}

#[tokio::test]
async fn a_bundle_may_hold_what_is_no_certificate() {
    let directory = TempDir::new().unwrap();
    let root = authority();
    let served = serve_chain(leaf(&root, |_| {}), &[]);
    let block = |label: &str, text: &str| {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    for junk in [
        block("CERTIFICATE", "bm8gY2VydGlmaWNhdGU="),
        block("CERTIFICATE", "!!!!"),
        block("DH PARAMETERS", "AAAA"),
        "# a comment\n".to_owned(),
    ] {
        for bundle in [format!("{junk}{}", root.pem()), format!("{}{junk}", root.pem())] {
            let resolved = resolve(trusting(&directory, &served, &bundle)).await;
            assert!(resolved.is_ok(), "{junk}: {resolved:?}");
        }
        let alone = trusting(&directory, &served, &junk);
        assert!(
            matches!(resolve(alone).await, Err(crate::registry::Error::Setup { .. })),
            "{junk}"
        );
    }
}

#[tokio::test]
async fn a_name_that_is_only_common_is_said_to_be_that() {
    let directory = TempDir::new().unwrap();
    let root = authority();
    let common = leaf(&root, |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, NAME);
    });
    let served = serve_chain(common, &[]);
    let (refused, hint) = fault(trusting(&directory, &served, &root.pem())).await;
    assert_eq!(refused, Fault::Tls(TlsFault::NoNames));
    assert!(hint.contains("subjectAltName"), "{hint}");
}
