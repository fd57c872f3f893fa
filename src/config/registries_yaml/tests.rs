//! What k3s's file comes to: the same as the files that k3s makes of it.

use std::path::Path;

use super::*;
use crate::config::hosts;

/// The file with this content, on a node without anything else.
fn read(content: &str) -> Result<(tempfile::TempDir, RegistriesFile), Error> {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("etc/rancher/k3s/registries.yaml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    let node_root = Some(root.path().to_owned());
    let environment = Environment { node_root, ..Environment::default() };
    Ok((root, RegistriesFile::read_first(&environment)?.unwrap()))
}

fn hosts_of(content: &str, domain: &str) -> Option<Vec<String>> {
    let (_root, file) = read(content).unwrap();
    let reference = format!("{domain}/team/app").parse().unwrap();
    let describe = |host: &RegistryHost| {
        let verified = if host.skip_verify { " unverified" } else { "" };
        let path = host.path_of(&reference);
        format!("{}://{}{} {path}{verified}", host.scheme, host.authority, host.path)
    };
    let hosts = file.hosts(domain, &HostOptions::default()).unwrap()?;
    Some(hosts.iter().map(describe).collect())
}

const FILE: &str = r#"
mirrors:
  reg.example:
    endpoint:
      - "https://a.example:5000"
      - https://b.example/v2/proxy
      - localhost:5001
    rewrite:
      "^team/(.*)": "mirrored/$1"
  own.example:
    endpoint: [https://own.example]
  docker.io:
  "*":
    endpoint: https://any.example
configs:
  "a.example:5000":
    auth: {username: ann, password: hunter2}
    tls: {insecure_skip_verify: true}
  "*":
    auth: {username: nobody, password: hunter2}
"#;

#[test]
fn endpoints_come_first_and_the_registry_last_unless_it_is_among_them() {
    for (domain, expected) in [
        (
            "reg.example",
            Some(
                &[
                    "https://a.example:5000/v2 mirrored/app unverified",
                    "https://b.example/v2/proxy mirrored/app",
                    "http://localhost:5001/v2 mirrored/app",
                    "https://reg.example/v2 team/app",
                ][..],
            ),
        ),
        // Of these two k3s makes no file, so that what it makes of "*" counts.
        (
            "own.example",
            Some(&["https://any.example/v2 team/app", "https://own.example/v2 team/app"]),
        ),
        (
            "docker.io",
            Some(&["https://any.example/v2 team/app", "https://registry-1.docker.io/v2 team/app"]),
        ),
        (
            "quay.example",
            Some(&["https://any.example/v2 team/app", "https://quay.example/v2 team/app"]),
        ),
    ] {
        let found = hosts_of(FILE, domain);
        let found: Option<Vec<&str>> =
            found.as_ref().map(|hosts| hosts.iter().map(String::as_str).collect());
        assert_eq!(found.as_deref(), expected, "{domain}");
    }
}

#[tokio::test]
async fn logins_are_those_of_named_hosts() {
    let (_root, file) = read(FILE).unwrap();
    let logins = file.logins().unwrap();
    let keychain = crate::config::Keychain::default().with_files([logins]);
    for (authority, expected) in [("a.example:5000", Some("ann")), ("b.example", None)] {
        let host = own_registry(authority, &HostOptions::default());
        let login = keychain.lookup(&host, "team/app").await;
        let found = login.as_ref().and_then(Credential::username);
        assert_eq!(found, expected, "{authority}");
    }
}

#[test]
fn a_file_of_which_something_was_made_is_not_read() {
    let (root, _) = read(FILE).unwrap();
    let made = root.path().join("var/lib/rancher/k3s/agent/etc/containerd/certs.d");
    std::fs::create_dir_all(made).unwrap();
    let node_root = Some(root.path().to_owned());
    let environment = Environment { node_root, ..Environment::default() };
    assert!(RegistriesFile::read_first(&environment).unwrap().is_none());
}

#[test]
fn a_mistake_is_an_error_with_its_line() {
    for (content, line, problem) in [
        ("- a\n", 1, "no table"),
        ("mirrors: [a]\n", 1, "`mirrors` is no table"),
        ("mirrors:\n  reg.example:\n    endpoint: {a: b}\n", 3, "`endpoint` is no list"),
        ("mirrors:\n  reg.example:\n    endpoint: [ftp://a]\n", 3, "scheme"),
        ("mirrors:\n  reg.example:\n    rewrite: {'(': x}\n", 3, "no regular expression"),
        ("mirrors:\n  reg.example:\n    rewrite: {'a\\.b': x}\n", 3, "has to be doubled"),
        ("mirrors:\n  reg.example:\n    rewrite: {zz: 'x\"'}\n", 3, "has to be doubled"),
        ("configs:\n  reg.example:\n    tls: {ca_file: /none}\n", 3, "/none"),
        ("mirrors: [", 1, "YAML"),
    ] {
        let error = match read(content) {
            Ok((_root, file)) => file.hosts("reg.example", &HostOptions::default()).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(problem), "{content}: {error}");
        assert_eq!(error.location().unwrap().line, line, "{content}: {error}");
    }
    let (_root, file) = read("configs: {a: {auth: {auth: '%'}}}\n").unwrap();
    assert!(file.logins().unwrap_err().to_string().contains("the login for a"));
}

/// Of how many registries the files of k3s are compared: with files, without, and by their ports.
const DOMAINS: [&str; 7] = [
    "docker.io",
    "reg.example:5000",
    "twice.example",
    "quay.example",
    "mirror.example:5000",
    "empty.example",
    "another.example",
];

#[test]
fn the_files_that_k3s_makes_yield_the_same_hosts() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/k3s");
    let content = std::fs::read_to_string(fixtures.join("registries.yaml")).unwrap();
    for (made, settings) in [
        ("certs.d", "data-dir: /var/lib/rancher/k3s\n"),
        ("without-own/certs.d", "disable-default-registry-endpoint: true\n"),
    ] {
        let (root, _) = read(&content).unwrap();
        std::fs::write(root.path().join("etc/rancher/k3s/config.yaml"), settings).unwrap();
        let node_root = Some(root.path().to_owned());
        let environment = Environment { node_root, ..Environment::default() };
        let file = RegistriesFile::read_first(&environment).unwrap().unwrap();
        for domain in DOMAINS {
            let options = HostOptions::default();
            let reference = format!("{domain}/team/app").parse().unwrap();
            let made = hosts::load(&[fixtures.join(made)], &reference, &options).unwrap();
            assert_eq!(made.warnings, [], "{domain}");
            let without_source =
                |host: RegistryHost| RegistryHost { source: Source::Default, ..host };
            let made: Vec<_> = made.hosts.into_iter().map(without_source).collect();
            let read = file.hosts(domain, &options).unwrap().unwrap();
            let read: Vec<_> = read.into_iter().map(without_source).collect();
            assert_eq!(read, made, "{domain}");
        }
    }
}

#[test]
fn a_later_file_of_settings_decides_whether_registries_themselves_are_asked() {
    let content = "mirrors:\n  '*':\n    endpoint: [https://any.example]\n";
    let (root, _) = read(content).unwrap();
    let settings = root.path().join("etc/rancher/k3s/config.yaml");
    let later = settings.with_extension("yaml.d").join("10-later.yaml");
    std::fs::create_dir_all(later.parent().unwrap()).unwrap();
    std::fs::write(&settings, "disable-default-registry-endpoint: true\n").unwrap();
    let count = || {
        let node_root = Some(root.path().to_owned());
        let environment = Environment { node_root, ..Environment::default() };
        let file = RegistriesFile::read_first(&environment).unwrap().unwrap();
        file.hosts("reg.example", &HostOptions::default()).unwrap().unwrap().len()
    };
    assert_eq!(count(), 1);
    std::fs::write(&later, "disable-default-registry-endpoint: false\n").unwrap();
    assert_eq!(count(), 2);
}

#[test]
fn tls_settings_of_every_registry_hold_where_nothing_else_is_said() {
    let content = "configs:\n  '*':\n    tls: {insecure_skip_verify: true}\n  \
                   reg.example:\n    auth: {username: ann, password: hunter2}\n";
    assert_eq!(hosts_of(content, "reg.example").unwrap(), ["https://reg.example/v2 team/app"]);
    assert_eq!(
        hosts_of(content, "other.example").unwrap(),
        ["https://other.example/v2 team/app unverified"]
    );
}
