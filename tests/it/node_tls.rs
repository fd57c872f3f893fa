//! Certificates as the node's files configure them: what `config.toml` of containerd and
//! `hosts.toml` say is what is spoken, at a name that is no loopback name.

use std::fs;

use crate::mirrors::{NAMED, hosts_directory, pull};
use crate::support::certificates::OpensslKind;
use crate::support::cli::{Outcome, Pullctl};
use crate::support::image::Image;
use crate::support::nginx::{Nginx, Tls};
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

/// A registry behind TLS.
struct Secured {
    nginx: Nginx,
    /// `repository:tag` of an image in the registry.
    image: String,
    _registry: Registry,
}

impl Secured {
    fn new(tls: Tls<'_>) -> Self {
        let registry = Registry::start();
        let repository = unique("node/image");
        registry.push(&Image::small(), &repository, "v1");
        let nginx = Nginx::start_with(&Nginx::proxy(registry.authority(), ""), tls);
        Self { nginx, image: format!("{repository}:v1"), _registry: registry }
    }

    /// A pull of the image as one of the registry `domain`, where `registry.example` is this server.
    fn pull(&self, domain: &str, flags: &[&str]) -> Outcome {
        let resolve = format!("{NAMED}:{}", self.nginx.authority());
        let reference = format!("{domain}/{}", self.image);
        pull(&reference, &[&["--resolve", &resolve], flags].concat())
    }
}

#[test]
fn certificates_of_containerds_file_are_those_of_the_registry_and_of_a_mirror() {
    let tls = Tls { asks_for_certificate: true, ..Tls::new(NAMED, Validity::Now) };
    let secured = Secured::new(tls);
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = secured.nginx.client_certificate();
    for (name, file) in [("ca.pem", secured.nginx.ca()), ("node.pem", certificate.clone())] {
        fs::copy(file, files.path().join(name)).unwrap();
    }
    // Relative paths start at the file's directory.
    let (ca, skip) = ("ca_file = \"ca.pem\"\n", "insecure_skip_verify = true\n");
    let shown = format!("cert_file = \"node.pem\"\nkey_file = {key:?}\n");
    let unknown = "certificate signed by an unknown authority";
    let unshown = "400 Bad Request";
    for (version, plugin) in [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.images")]
    {
        for (settings, refusal) in [
            (String::new(), Some(unknown)),
            (shown.clone(), Some(unknown)),
            (ca.to_owned(), Some(unshown)),
            (skip.to_owned(), Some(unshown)),
            (format!("{ca}{shown}"), None),
            (format!("{skip}{shown}"), None),
        ] {
            let path = files.path().join("config.toml");
            let section = format!("plugins.\"{plugin}\".registry");
            let content = format!(
                "version = {version}\n[{section}.mirrors.\"other.example\"]\n\
                 endpoint = [\"https://{NAMED}\"]\n[{section}.configs.\"{NAMED}\".tls]\n{settings}"
            );
            fs::write(&path, content).unwrap();
            let path = path.display().to_string();
            for domain in [NAMED, "other.example"] {
                let outcome = secured.pull(domain, &["--containerd-config", &path]);
                match refusal {
                    Some(refusal) => {
                        outcome.ended_with(5).says(&format!("{NAMED}: ")).says(refusal)
                    }
                    None => outcome.succeeded(),
                };
            }
        }
    }
}

#[test]
fn certificates_beside_each_other_are_used_as_docker_uses_them() {
    let tls = Tls { asks_for_certificate: true, ..Tls::new(NAMED, Validity::Now) };
    let secured = Secured::new(tls);
    let hosts = tempfile::tempdir().unwrap();
    let own = hosts.path().join(NAMED);
    fs::create_dir(&own).unwrap();
    let directory = hosts.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory];
    let (certificate, key) = secured.nginx.client_certificate();
    secured.pull(NAMED, &flags).ended_with(5).says("signed by an unknown authority");
    fs::copy(secured.nginx.ca(), own.join("any.crt")).unwrap();
    secured.pull(NAMED, &flags).ended_with(5).says("400 Bad Request");
    fs::copy(certificate, own.join("node.cert")).unwrap();
    fs::copy(key, own.join("node.key")).unwrap();
    secured.pull(NAMED, &flags).succeeded();
}

#[test]
fn skip_verify_of_a_hosts_file_holds_for_its_host_alone_and_over_the_flag() {
    let own = format!("server = \"https://{NAMED}\"\n");
    let mirror = format!("[host.\"https://{NAMED}\"]\n");
    let elsewhere = "[host.\"https://127.0.0.1:9\"]\n";
    let (skip, verify) = ("skip_verify = true\n", "skip_verify = false\n");
    for validity in [Validity::Now, Validity::Expired] {
        let secured = Secured::new(Tls::new(NAMED, validity));
        for (content, flags, code) in [
            (format!("{own}{skip}"), &[][..], 0),
            (skip.to_owned(), &[], 0),
            (format!("{own}{verify}{mirror}{skip}"), &[], 0),
            (format!("{own}{elsewhere}{skip}"), &[], 5),
            (format!("{own}{verify}"), &[], 5),
            (own.clone(), &[], 5),
            (own.clone(), &["--skip-verify"], 0),
            (format!("{own}{verify}"), &["--skip-verify"], 5),
        ] {
            let hosts = hosts_directory(&content);
            let directory = hosts.path().display().to_string();
            let node = ["--ignore-containerd-config", "--hosts-dir", &directory];
            let outcome = secured.pull(NAMED, &[&node[..], flags].concat());
            assert_eq!(outcome.code, Some(code), "{content}{flags:?}: {outcome:?}");
            assert_eq!(outcome.stderr.contains("certificate"), code != 0, "{content}: {outcome:?}");
        }
    }
}

#[test]
fn certificates_as_openssl_makes_them_are_trusted_where_go_trusts_them() {
    let ec =
        |curve: &'static str, digest| OpensslKind { key: curve, digest, is_own_authority: false };
    let own = |key| OpensslKind { key, digest: "-sha256", is_own_authority: true };
    let unverified = ["--skip-verify"];
    for kind in [
        ec("ec -pkeyopt ec_paramgen_curve:P-256", "-sha384"),
        ec("ec -pkeyopt ec_paramgen_curve:P-256", "-sha512"),
        ec("ec -pkeyopt ec_paramgen_curve:P-384", "-sha512"),
        ec("ec -pkeyopt ec_paramgen_curve:P-521", "-sha256"),
        OpensslKind { key: "rsa:3072", digest: "-sha512", is_own_authority: false },
        own("rsa:2048"),
        own("ec -pkeyopt ec_paramgen_curve:P-384"),
    ] {
        let secured = Secured::new(Tls { openssl: Some(kind), ..Tls::new(NAMED, Validity::Now) });
        let server = format!("server = \"https://{NAMED}\"\nca = {:?}\n", secured.nginx.ca());
        let named = hosts_directory(&server);
        let directory = named.path().display().to_string();
        for flags in [&["--hosts-dir", directory.as_str()][..], &unverified] {
            let outcome = secured.pull(NAMED, flags);
            assert_eq!(outcome.code, Some(0), "{kind:?}: {}", outcome.stderr);
        }
        // In the system's store, where the node's owner has put it, as well.
        let resolve = format!("{NAMED}:{}", secured.nginx.authority());
        let to = format!("oci:{}", named.path().join("layout").display());
        let reference = format!("{NAMED}/{}", secured.image);
        let flags = ["--ignore-containerd-config", "--to", &to, "--resolve", &resolve];
        let pull = Pullctl::new().args(["pull", &reference]).args(flags);
        let outcome = pull.env("SSL_CERT_FILE", secured.nginx.ca()).run();
        assert_eq!(outcome.code, Some(0), "{kind:?}, the system's: {}", outcome.stderr);
    }
}
