//! What each file of `fixtures/containerd-config` yields.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::authority::RegistryKey;
use crate::config::{Credential, HostOptions, Source};
use crate::failure::Diagnose;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containerd-config").join(name)
}

fn read(name: &str) -> ContainerdConfig {
    read_by(Generation::Unknown, &fixture(name))
}

fn read_by(generation: Generation, path: &Path) -> ContainerdConfig {
    ContainerdConfig::read(path, generation).unwrap().unwrap()
}

/// One line a host, `None` where the file says nothing about `domain`.
fn hosts(config: &ContainerdConfig, domain: &str) -> Option<Vec<String>> {
    let relative = |path: &Path| path.strip_prefix(fixture("")).unwrap().display().to_string();
    let describe = |host: &RegistryHost| {
        let mut line = format!("{}://{}{}", host.scheme, host.authority, host.path);
        for ca in &host.ca {
            line += &format!(" ca={}", relative(ca));
        }
        for client in &host.client {
            let key = client.key.as_deref().map(relative).unwrap_or_default();
            line += &format!(" client={}:{key}", relative(&client.cert));
        }
        if host.skip_verify {
            line += " skip-verify";
        }
        if host.http_fallback {
            line += " http-fallback";
        }
        line
    };
    let hosts = config.hosts(domain, &HostOptions::default()).unwrap()?;
    Some(hosts.iter().map(describe).collect())
}

#[test]
fn image_verifiers_are_those_of_the_daemons_plugin() {
    let with = |settings: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let table = "[plugins.'io.containerd.image-verifier.v1.bindir']";
        std::fs::write(&path, format!("version = 3\n{table}\n{settings}")).unwrap();
        ContainerdConfig::read(&path, Generation::Two).map(|config| config.unwrap().verifiers)
    };
    let ours = VerifierSettings::default();
    assert_eq!(ours.directory, Path::new("/opt/containerd/image-verifier/bin"));
    assert_eq!(with("").unwrap(), ours);
    let told = with("bin_dir = '/x'\nmax_verifiers = -1\nper_verifier_timeout = '1m'\n").unwrap();
    let timeout = std::time::Duration::from_secs(60);
    assert_eq!(told, VerifierSettings { directory: "/x".into(), max: None, timeout });
    assert_eq!(with("max_verifiers = 3\n").unwrap().max, Some(3));
    for wrong in ["max_verifiers = 'a'\n", "per_verifier_timeout = 10\n", "bin_dir = []\n"] {
        assert!(with(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_version_says_the_same_in_its_own_words() {
    for version in 1..=4 {
        let config = read(&format!("version-{version}.toml"));
        assert_eq!(config.root.as_deref(), Some(Path::new("/data/containerd")), "{version}");
        assert_eq!(config.snapshotter.as_deref(), Some("native"), "{version}");
        assert_eq!(config.sandbox_image, Some(format!("pause.example/pause:{version}")));
        assert_eq!(
            hosts(&config, "docker.io").unwrap(),
            [
                "https://mirror.example/v2 ca=ca.pem",
                "http://plain.example:5000/v2/hub",
                "https://registry-1.docker.io/v2"
            ],
            "{version}"
        );
        let key = RegistryKey::of("mirror.example");
        assert!(config.logins().login(&key, "mirror.example", "a").is_some(), "{version}");
        let header = ("x-node".to_owned(), vec!["seven".to_owned(), "eight".to_owned()]);
        assert_eq!(config.headers(), [header], "{version}");
        assert_eq!(config.warnings(), [], "{version}");
    }
}

#[test]
fn the_file_of_another_daemon_is_known_by_its_root() {
    let directory = tempfile::tempdir().unwrap();
    let [real, link] = ["real", "link"].map(|name| directory.path().join(name));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let of_root = |root: &Path| {
        let file = directory.path().join("config.toml");
        std::fs::write(&file, format!("root = {:?}\n", root.display().to_string())).unwrap();
        read_by(Generation::Unknown, &file)
    };
    let content = real.join("io.containerd.content.v1.content");
    for root in [&real, &link, Path::new("")] {
        assert_eq!(of_root(root).of_another_daemon(&content), None, "{root:?}");
    }
    for other in [directory.path().join("rea"), "/nowhere".into()] {
        let warning = of_root(&other).of_another_daemon(&content).expect("a warning");
        assert_eq!(warning.code, "other-daemon", "{other:?}");
    }
}

#[test]
fn the_first_file_that_exists_is_read() {
    let [first, second] = ["version-1.toml", "version-2.toml"].map(fixture);
    let found = |paths: &[PathBuf]| {
        ContainerdConfig::read_first(paths, Generation::Unknown)
            .unwrap()
            .map(|config| config.path().to_owned())
    };
    assert_eq!(found(&[fixture("nowhere.toml"), first.clone(), second]), Some(first));
    assert_eq!(found(&[fixture("nowhere.toml")]), None);
}

#[test]
fn what_the_daemon_writes_by_default_says_nothing_about_registries() {
    let config = read("default-1.6.toml");
    assert_eq!(config.hosts_directories(), [] as [PathBuf; 0]);
    assert_eq!(hosts(&config, "docker.io"), None);
    assert_eq!(config.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.6"));
    assert_eq!(config.warnings(), []);
}

#[test]
fn config_path_may_name_several_directories() {
    let expected = ["/etc/one/certs.d", "/etc/two/certs.d"].map(PathBuf::from);
    assert_eq!(read("config-path.toml").hosts_directories(), expected);
}

#[test]
fn mirrors_are_asked_in_order_and_the_registry_last() {
    let config = read("mirrors.toml");
    for (domain, expected) in [
        (
            "docker.io",
            &[
                "https://a.example/v2 skip-verify",
                "https://b.example:5000/v2 ca=ca.pem client=client.pem:client.key http-fallback",
                "https://c.example/v2/hub",
                "http://127.0.0.1:5000/v2",
                "https://registry-1.docker.io/v2 ca=ca.pem",
            ][..],
        ),
        ("reg.example", &["https://reg.example/v2", "https://a.example/v2 skip-verify"]),
        ("none.example", &["https://none.example/v2"]),
        ("other.example", &["https://any.example/v2", "https://other.example/v2"]),
    ] {
        assert_eq!(hosts(&config, domain).unwrap(), expected, "{domain}");
    }
    let mirrors = config.hosts("docker.io", &HostOptions::default()).unwrap().unwrap();
    assert_eq!(mirrors[0].source, Source::File(fixture("mirrors.toml"), 4));
    assert_eq!(mirrors[0].ns.as_deref(), Some("docker.io"));
    assert!(!mirrors[0].capabilities.push && mirrors[0].capabilities.resolve);
    assert!(mirrors[2].override_path && !mirrors[0].override_path);
}

#[test]
fn tls_settings_hold_for_the_registry_itself_too() {
    let config = read("own-tls.toml");
    let expected = ["https://harbor.example/v2 skip-verify".to_owned()];
    assert_eq!(hosts(&config, "harbor.example").unwrap(), expected);
    assert_eq!(hosts(&config, "docker.io"), None);
}

#[test]
fn a_missing_certificate_stops_only_pulls_from_its_host() {
    let config = read("own-tls.toml");
    let error = config.hosts("missing.example", &HostOptions::default()).unwrap_err();
    let place = format!("{}:7:13: cannot read ca_file file", fixture("own-tls.toml").display());
    assert!(error.to_string().starts_with(&place), "{error}");
}

#[test]
fn logins_come_as_passwords_as_base64_and_as_tokens() {
    let logins = read("logins.toml").logins();
    for (registry, expected) in [
        ("old.example", "Basic { username: \"old\""),
        ("password.example", "Basic { username: \"me\""),
        ("auth.example", "Basic { username: \"me\""),
        ("token.example", "IdentityToken"),
        ("empty.example", "None"),
    ] {
        let found: Option<&Credential> = logins.login(&RegistryKey::of(registry), registry, "a/b");
        let printed = found.map_or("None".to_owned(), |credential| format!("{credential:?}"));
        assert!(printed.starts_with(expected), "{registry}: {printed}");
        assert!(!printed.contains("secret"), "{registry}: {printed}");
    }
}

#[test]
fn what_keeps_the_cri_from_starting_is_warned_about() {
    for (name, line, message) in [
        (
            "both.toml",
            6,
            "`mirrors` and `config_path` are both set: containerd's CRI plugin does not start",
        ),
        (
            "docker-package.toml",
            2,
            "`disabled_plugins` holds \"cri\": containerd's CRI plugin does not start",
        ),
        (
            "unversioned.toml",
            1,
            "containerd 1.x does not read \"io.containerd.grpc.v1.cri\" in a file of version 1",
        ),
    ] {
        let warnings = read(name).warnings();
        let found: Vec<_> =
            warnings.iter().map(|warning| (warning.line, warning.message.as_str())).collect();
        assert_eq!(found, [(Some(line), message)], "{name}");
        assert!(warnings[0].hint.is_some(), "{name}");
    }
}

#[test]
fn headers_are_merged_and_those_that_no_registry_should_get_are_left_out() {
    let config = read("headers.toml");
    let sent: Vec<_> =
        config.headers().iter().map(|(name, values)| (name.as_str(), values.join(","))).collect();
    assert_eq!(sent, [("X-Zone", "a".to_owned()), ("x-node", "two,three".to_owned())]);
    let warnings: Vec<_> = config
        .warnings()
        .into_iter()
        .map(|warning| (warning.line.unwrap(), warning.message))
        .collect();
    let expected = [
        (
            10,
            "`Authorization` of `registry.headers` is not sent: every registry and mirror would get it",
        ),
        (11, "`range` of `registry.headers` is not sent: each request has its own"),
    ];
    assert_eq!(warnings, expected.map(|(line, message)| (line, message.to_owned())));
    let printed = format!("{config:?}");
    assert!(!printed.contains("aHVudGVyMg") && !printed.contains("two"), "{printed}");
}

#[test]
fn imports_are_read_over_the_file_that_names_them() {
    let config = read("imports/config.toml");
    assert_eq!(config.root.as_deref(), Some(Path::new("/data/main")));
    assert_eq!(config.sandbox_image.as_deref(), Some("pause.example/extra"));
    let first = |domain| hosts(&config, domain).unwrap().remove(0);
    assert_eq!(first("docker.io"), "https://drop-in.example/v2");
    assert_eq!(first("quay.io"), "https://quay.example/v2");
}

#[test]
fn a_broken_file_is_refused_with_its_place() {
    for (name, expected) in [
        ("syntax.toml", "syntax.toml:2:9: unclosed table"),
        ("missing-import.toml", "cannot read"),
        ("version.toml", "version.toml:1:11: `version` is a string"),
        ("disabled.toml", "disabled.toml:1:20: `disabled_plugins` is a string"),
        ("endpoint.toml", "endpoint.toml:2:15: `endpoint` has a scheme other than"),
        ("endpoint-text.toml", "endpoint-text.toml:2:14: `endpoint` is a string"),
        ("header-name.toml", "header-name.toml:2:58: `x y` is no name of a header"),
        ("header-value.toml", "header-value.toml:2:67: the value of header `x-key` cannot be sent"),
        ("auth.toml", "auth.toml:1:31: the login for a.example has an `auth` that is not base64"),
    ] {
        let error =
            ContainerdConfig::read(&fixture("broken").join(name), Generation::Unknown).unwrap_err();
        let everything = format!("{error} {:?} {error:?}", error.hint());
        assert!(error.to_string().contains(expected), "{name}: {everything}");
        assert!(!everything.contains("hunter2"), "{name}: {everything}");
    }
}

#[test]
fn a_node_without_the_file_is_told_nothing() {
    assert!(
        ContainerdConfig::read(&fixture("no-such-file"), Generation::Unknown).unwrap().is_none()
    );
}

/// What the three daemons' own `config dump` takes out of these files; `None` where it has its default.
#[test]
fn each_daemon_is_believed_what_it_reads() {
    use Generation::{One, Two, Unknown};
    let section = |name: &str, runtimes: &str| match name {
        "io.containerd.cri.v1.images" => format!(
            "[plugins.'{name}']\nsnapshotter = 'native'\n\
             [plugins.'{name}'.pinned_images]\nsandbox = 'x/pause:1'\n\
             [plugins.'{name}'.registry]\nconfig_path = '/etc/one'\n"
        ),
        _ => format!(
            "[plugins.'{name}']\nsandbox_image = 'x/pause:1'\n\
             [plugins.'{name}'.containerd]\nsnapshotter = 'native'\n{runtimes}\n\
             [plugins.'{name}'.registry]\nconfig_path = '/etc/one'\n"
        ),
    };
    let (short, long, images) = ("cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images");
    let with = "runtimes.runc.runtime_type = 'io.containerd.runc.v2'";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    for (version, name, runtimes, generation, is_read, has_snapshotter) in [
        (1, short, "", One, true, true),
        (1, short, "", Two, false, false),
        (1, short, "", Unknown, true, true),
        (1, long, "", One, false, false),
        (1, long, "", Two, false, false),
        (1, images, "", Two, true, true),
        (2, long, "", One, true, true),
        (2, long, "", Two, true, false),
        (2, long, "", Unknown, true, true),
        (2, long, with, Two, true, true),
        (2, images, "", One, false, false),
        (2, images, "", Two, true, true),
        (3, images, "", Two, true, true),
        (3, long, "", One, true, true),
        (3, long, "", Two, false, false),
    ] {
        let text = format!("version = {version}\n{}", section(name, runtimes));
        std::fs::write(&file, text).unwrap();
        let config = read_by(generation, &file);
        let case = format!("version {version}, {name}, {generation:?}");
        assert_eq!(config.sandbox_image.is_some(), is_read, "{case}");
        assert_eq!(!config.hosts_directories().is_empty(), is_read, "{case}");
        assert_eq!(config.snapshotter.is_some(), has_snapshotter, "{case}");
        let codes: Vec<_> = config.warnings().iter().map(|warning| warning.code).collect();
        let expected = (!has_snapshotter).then_some("ignored-section");
        assert_eq!(codes, Vec::from_iter(expected), "{case}");
    }
}

#[test]
fn a_file_for_both_generations_is_no_mistake() {
    let text = "version = 2\n\
        [plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'\n\
        [plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'overlayfs'\nruntimes = {}\n";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    for generation in [Generation::One, Generation::Two] {
        let config = read_by(generation, &file);
        assert_eq!(config.snapshotter.as_deref(), Some("overlayfs"), "{generation:?}");
        assert_eq!(config.warnings(), [], "{generation:?}");
    }
}
