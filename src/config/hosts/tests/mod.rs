//! What each folder of `fixtures/hosts` yields, one row a rule of containerd's `hosts.toml`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::load_domain;
use super::*;
use crate::config::Error;

mod broken;

const NO_FLAGS: HostOptions = HostOptions { plain_http: false, skip_verify: false };
const SKIP_VERIFY: HostOptions = HostOptions { plain_http: false, skip_verify: true };
const PLAIN_HTTP: HostOptions = HostOptions { plain_http: true, skip_verify: false };

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts")
}

fn load_fixtures(
    folders: &[&str],
    domain: &str,
    options: HostOptions,
) -> Result<HostsConfig, Error> {
    let roots: Vec<PathBuf> = folders.iter().map(|folder| fixtures().join(folder)).collect();
    load_domain(&roots, domain, &options)
}

/// One line a host: its URL, and what differs from the defaults.
fn describe(folder: &str, host: &RegistryHost) -> String {
    let relative = |path: &Path| {
        let base = fixtures().join(folder);
        path.strip_prefix(base).unwrap_or(path).display().to_string()
    };
    let mut line = format!("{}://{}{}", host.scheme, host.authority, host.path);
    if host.capabilities != Capabilities::ALL {
        line += &format!(" {}", names(host.capabilities).join("+"));
    }
    for ca in &host.ca {
        line += &format!(" ca={}", relative(ca));
    }
    for ClientCertificate { cert, key } in &host.client {
        let key = key.as_deref().map_or("-".to_owned(), relative);
        line += &format!(" client={}:{key}", relative(cert));
    }
    for (name, values) in &host.headers {
        line += &format!(" {name}={}", values.join("|"));
    }
    if let Some(timeout) = host.dial_timeout {
        line += &format!(" dial={timeout:?}");
    }
    let flags = [
        (host.skip_verify, "skip-verify"),
        (host.http_fallback, "http-fallback"),
        (host.override_path, "override-path"),
    ];
    for (_, flag) in flags.iter().filter(|(set, _)| *set) {
        line += &format!(" {flag}");
    }
    for rewrite in &host.rewrites {
        line += &format!(" {rewrite:?}");
    }
    for realm in &host.header_realms {
        line += &format!(" realm={realm}");
    }
    if let Some(ns) = &host.ns {
        line += &format!(" ns={ns}");
    }
    if let Source::File(path, number) = &host.source {
        line += &format!(" @{}:{number}", relative(path));
    }
    line
}

fn names(capabilities: Capabilities) -> Vec<&'static str> {
    let Capabilities { pull, resolve, push, referrers } = capabilities;
    [(pull, "pull"), (resolve, "resolve"), (push, "push"), (referrers, "referrers")]
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect()
}

/// Loads and compares; `expected` leaves out what follows `@`, where the row is not about it.
fn check(folder: &str, domain: &str, options: HostOptions, expected: &[&str]) {
    let config = load_fixtures(&[folder], domain, options).unwrap();
    let found: Vec<String> = config.hosts.iter().map(|host| describe(folder, host)).collect();
    let compared: Vec<&str> = found
        .iter()
        .zip(expected.iter().chain(std::iter::repeat(&"")))
        .map(|(line, wanted)| match line.split_once(" @") {
            Some((line, _)) if !wanted.contains('@') => line,
            _ => line.as_str(),
        })
        .collect();
    assert_eq!(compared, expected, "{folder} for {domain}");
}

#[test]
fn every_setting_of_a_hosts_file_reaches_its_host() {
    for (folder, domain, expected) in [
        (
            "order",
            "docker.io",
            &[
                "https://z.example/v2 ns=docker.io @docker.io/hosts.toml:1",
                "https://a.example/v2 ns=docker.io @docker.io/hosts.toml:3",
                "https://m.example/v2 pull+resolve x-one=1 ns=docker.io @docker.io/hosts.toml:5",
                "https://registry-1.docker.io/v2",
            ][..],
        ),
        (
            "subtable-first",
            "reg.example",
            &[
                "https://b.example/v2 pull x-one=1 ns=reg.example",
                "https://a.example/v2 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "inline-tables",
            "reg.example",
            &[
                "https://b.example/v2 pull x-one=1 ns=reg.example",
                "https://a.example/v2 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "server",
            "docker.io",
            &["https://mirror.example/v2 ns=docker.io @docker.io/hosts.toml:1"],
        ),
        (
            "server-with-settings",
            "quay.io",
            &[
                "https://first.example/v2 ns=quay.io",
                "https://mirror.example:5000/v2 pull skip-verify http-fallback ns=quay.io",
            ],
        ),
        ("server-empty", "quay.io", &["https://quay.io/v2"]),
        ("no-host-table", "reg.example", &["https://reg.example/v2"]),
        (
            "capabilities",
            "reg.example",
            &[
                "https://absent.example/v2 ns=reg.example",
                "https://empty.example/v2 ns=reg.example",
                "https://pull.example/v2 pull ns=reg.example",
                "https://resolve.example/v2 resolve ns=reg.example",
                "https://all.example/v2 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "ca",
            "reg.example",
            &[
                "https://one.example/v2 ca=reg.example/ca.pem ns=reg.example",
                "https://two.example/v2 ca=reg.example/ca.pem ca=reg.example/../shared/other.pem \
                 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "client",
            "reg.example",
            &[
                "https://string.example/v2 client=reg.example/both.pem:- ns=reg.example",
                "https://array.example/v2 client=reg.example/both.pem:- \
                 client=reg.example/other.pem:- ns=reg.example",
                "https://pairs.example/v2 client=reg.example/cert.pem:reg.example/key.pem \
                 client=reg.example/both.pem:- ns=reg.example",
                "https://mixed.example/v2 client=reg.example/both.pem:- \
                 client=reg.example/cert.pem:reg.example/key.pem ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "header",
            "reg.example",
            &[
                "https://a.example/v2 x-string=one X-Array=two|three ns=reg.example",
                "https://b.example/v2 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "rewrite",
            "docker.io",
            &[
                "https://mirror.example/v2 \"^library/(.*)\" = \"hub/$1\" \"(.*)\" = \"other/$1\" \
                 ns=docker.io",
                "https://registry-1.docker.io/v2 \"^a\" = \"b\"",
            ],
        ),
        (
            "header-realms",
            "reg.example",
            &[
                "https://one.example/v2 x-one=1 realm=https://auth.example ns=reg.example",
                "https://two.example/v2 realm=https://a.example realm=http://b.example:5000 \
                 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "override-path",
            "docker.io",
            &[
                "https://appended.example/prefix/v2 ns=docker.io",
                "https://ends-in-v2.example/prefix/v2 ns=docker.io",
                "https://harbor.example/v2/proxy override-path ns=docker.io",
                "https://bare.example override-path ns=docker.io",
                "https://harbor.example/v2/hub override-path ns=docker.io",
            ],
        ),
        (
            "dial-timeout",
            "reg.example",
            &[
                "https://seconds.example/v2 dial=3s ns=reg.example",
                "https://milliseconds.example/v2 dial=250ms ns=reg.example",
                "https://absent.example/v2 ns=reg.example",
                "https://empty.example/v2 ns=reg.example",
                "https://reg.example/v2 dial=90s",
            ],
        ),
        (
            "scheme",
            "reg.example",
            &[
                "https://host.example:5000/v2 ns=reg.example",
                "https://httpbin.example/v2 ns=reg.example",
                "https://[fd00::1]:5000/v2 ns=reg.example",
                "http://plain.example:5000/v2 ns=reg.example",
                "https://upper.example/v2 ns=reg.example",
                "https://reg.example/v2",
            ],
        ),
        (
            "root-settings",
            "reg.example",
            &[
                "https://mirror.example/v2 ns=reg.example",
                "https://reg.example/v2 ca=reg.example/ca.pem x-root=1 @reg.example/hosts.toml:2",
            ],
        ),
        (
            "namespace",
            "reg.example",
            &[
                "https://reg.example/v2",
                "https://mirror.example/v2 ns=reg.example",
                "https://reg.example:443/v2 ns=reg.example",
            ],
        ),
        (
            "namespace",
            "docker.io",
            &[
                "https://mirror.example/v2 ns=docker.io",
                "https://registry-1.docker.io/v2",
                "https://index.docker.io/v2 ns=docker.io",
            ],
        ),
    ] {
        check(folder, domain, NO_FLAGS, expected);
    }
}

#[test]
fn a_server_that_has_a_table_as_well_is_one_host() {
    for (domain, expected) in [
        (
            "reg.example",
            &["https://reg.example/v2 ca=reg.example/ca.pem @reg.example/hosts.toml:3"][..],
        ),
        // Without `server` the registry itself is the last; of the settings outside of the tables
        // it gets what its table does not say.
        (
            "quay.io",
            &[
                "https://quay.io/v2 ca=quay.io/ca.pem x-one=table x-two=root \
                 dial=3s @quay.io/hosts.toml:4",
                "https://mirror.example/v2 ns=quay.io",
            ],
        ),
        ("docker.io", &["https://registry-1.docker.io/v2 skip-verify"]),
        // Loopback is not verified and may speak http, however often it is named.
        ("localhost:5000", &["https://localhost:5000/v2 skip-verify http-fallback"]),
        // Another scheme, port or path is another host.
        (
            "other.example",
            &[
                "http://other.example/v2",
                "https://other.example:443/v2 ns=other.example",
                "https://other.example/a/v2",
                "https://other.example/v2",
            ],
        ),
    ] {
        check("server-with-table", domain, NO_FLAGS, expected);
    }
}

#[test]
fn the_flags_say_what_the_files_do_not() {
    let absent = "https://absent.example/v2 ns=reg.example";
    let yes = "https://yes.example/v2 skip-verify ns=reg.example";
    let no = "https://no.example/v2 ns=reg.example";
    let absent_skipped = "https://absent.example/v2 skip-verify ns=reg.example";
    for (options, expected) in [
        (NO_FLAGS, [absent, yes, no, "https://reg.example/v2 skip-verify"]),
        (SKIP_VERIFY, [absent_skipped, yes, no, "https://reg.example/v2 skip-verify"]),
        (PLAIN_HTTP, [absent, yes, no, "http://reg.example/v2 skip-verify"]),
    ] {
        check("skip-verify", "reg.example", options, &expected);
    }
}

#[test]
fn who_speaks_of_certificates_is_asked_over_https_first() {
    let tls = "https://tls.example:5000/v2 skip-verify ns=reg.example";
    let skip = "https://skip.example:5000/v2 skip-verify http-fallback ns=reg.example";
    let verified = "https://verified.example:5000/v2 http-fallback ns=reg.example";
    check(
        "http-with-tls",
        "reg.example",
        NO_FLAGS,
        &[
            "http://plain.example:5000/v2 ns=reg.example",
            skip,
            verified,
            "https://ca.example/v2 ca=reg.example/ca.pem http-fallback ns=reg.example",
            "http://port80.example:80/v2 ca=reg.example/ca.pem ns=reg.example",
            tls,
            "https://reg.example/v2",
        ],
    );
    check(
        "http-with-tls",
        "reg.example",
        SKIP_VERIFY,
        &[
            "https://plain.example:5000/v2 skip-verify http-fallback ns=reg.example",
            skip,
            verified,
            "https://ca.example/v2 ca=reg.example/ca.pem skip-verify http-fallback ns=reg.example",
            "http://port80.example:80/v2 ca=reg.example/ca.pem skip-verify ns=reg.example",
            tls,
            "https://reg.example/v2 skip-verify",
        ],
    );
}

#[test]
fn loopback_is_not_verified_unless_its_file_says_so() {
    for (domain, expected) in [
        (
            "localhost:5000",
            "https://localhost:5000/v2 ca=localhost:5000/ca.pem skip-verify http-fallback",
        ),
        ("localhost:5001", "https://localhost:5001/v2 http-fallback"),
        ("localhost:5002", "https://localhost:5002/v2 skip-verify http-fallback"),
    ] {
        check("loopback", domain, NO_FLAGS, &[expected]);
    }
}

#[test]
fn the_first_directory_that_exists_is_taken() {
    for (folders, domain, expected) in [
        (&["lookup"][..], "reg.example:5000", "underscores.example"),
        (&["lookup"], "reg.example:6000", "colon.example"),
        (&["lookup"], "reg.example:7000", "default.example"),
        (&["lookup"], "reg.example", "without-port.example"),
        (&["lookup"], "[fd00::1]:5000", "ipv6.example"),
        (&["lookup"], "docker.io", "default.example"),
        (&["lookup", "second-root"], "only.second", "default.example"),
        (&["second-root", "lookup"], "reg.example", "second-root.example"),
        (&["second-root", "lookup"], "docker.io", "default.example"),
        (&["without-default", "second-root"], "reg.example", "second-root.example"),
        (&["without-default"], "reg.example", "reg.example"),
        (&["no-such-folder"], "reg.example", "reg.example"),
        (&[], "reg.example", "reg.example"),
    ] {
        let config = load_fixtures(folders, domain, NO_FLAGS).unwrap();
        let authorities: Vec<_> = config.hosts.iter().map(|host| &host.authority).collect();
        assert_eq!(authorities, [expected], "{domain} in {folders:?}");
    }
}

#[test]
fn an_empty_directory_masks_the_default_one() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("reg.example")).unwrap();
    std::fs::create_dir(root.path().join("_default")).unwrap();
    std::fs::write(root.path().join("_default/hosts.toml"), "server = \"https://a.example\"")
        .unwrap();
    let roots = [root.path().to_owned()];
    for (domain, expected) in [("reg.example", "reg.example"), ("quay.io", "a.example")] {
        let config = load_domain(&roots, domain, &NO_FLAGS).unwrap();
        assert_eq!(config.hosts[0].authority, expected, "{domain}");
    }
}

#[test]
fn dockers_certificates_are_used_where_there_is_no_hosts_file() {
    check(
        "docker-layout",
        "reg.example:5000",
        NO_FLAGS,
        &["https://reg.example:5000/v2 ca=reg.example:5000/a.crt ca=reg.example:5000/b.crt \
           client=reg.example:5000/one.cert:reg.example:5000/one.key \
           client=reg.example:5000/two.cert:- @reg.example:5000/a.crt:1"],
    );
    check(
        "docker-layout",
        "empty-file.example",
        NO_FLAGS,
        &["https://empty-file.example/v2 ca=empty-file.example/ca.crt"],
    );
    check("docker-layout", "toml-wins.example", NO_FLAGS, &["https://toml-wins.example/v2"]);
}

#[test]
fn docker_hub_as_a_server_means_its_registry() {
    check(
        "server-docker-hub",
        "docker.io",
        NO_FLAGS,
        &["https://mirror.example/v2 ns=docker.io", "https://registry-1.docker.io/v2"],
    );
}

#[test]
fn a_dial_timeout_of_zero_means_no_limit() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("reg.example")).unwrap();
    std::fs::write(root.path().join("reg.example/hosts.toml"), "dial_timeout = \"0\"").unwrap();
    let config = load_domain(&[root.path().to_owned()], "reg.example", &NO_FLAGS).unwrap();
    assert!(config.hosts[0].dial_timeout > Some(Duration::from_secs(600)));
}

#[test]
fn a_header_is_not_printed_for_debugging() {
    let config = load_fixtures(&["header"], "reg.example", NO_FLAGS).unwrap();
    let printed = format!("{:?}", config.hosts);
    assert!(printed.contains("X-Array") && !printed.contains("three"), "{printed}");
}
