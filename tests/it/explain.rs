//! `pullctl explain`: what a pull would do, without doing it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::each_version;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;

/// `explain` where no daemon answers.
pub(crate) const EXPLAIN: [&str; 5] =
    ["explain", "-a", "/nowhere.sock", "--platform", "linux/arm64"];

/// The folder of the fixtures.
pub(crate) fn fixtures() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").display().to_string()
}

/// `pullctl explain` with `flags`, where `{}` is the folder of the fixtures; no daemon answers.
pub(crate) fn explain(flags: &str) -> Outcome {
    let flags = flags.replace("{}", &fixtures());
    Pullctl::new().args(EXPLAIN).args(flags.split_whitespace()).run()
}

/// What was printed, as JSON.
pub(crate) fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).expect("standard output is JSON")
}

#[test]
fn json_tells_all_that_a_pull_goes_by() {
    let flags = "-o json --ignore-containerd-config --hosts-dir {}/hosts/order \
                 --auth-file {}/docker-config/docker/config.json busybox:1.36";
    let document = json_of(&explain(flags).succeeded());
    assert_eq!(
        document["reference"],
        json!({
            "input": "busybox:1.36", "name": "docker.io/library/busybox", "domain": "docker.io",
            "repository": "library/busybox", "tag": "1.36", "digest": null,
        })
    );
    assert_eq!(document["platform"], "linux/arm64");
    assert_eq!(document["containerd"], Value::Null);
    let hosts = document["hosts"].as_array().unwrap();
    let urls: Vec<&str> = hosts.iter().filter_map(|host| host["url"].as_str()).collect();
    let mirrors = ["https://z.example/v2", "https://a.example/v2", "https://m.example/v2"];
    assert_eq!(urls[..3], mirrors);
    assert_eq!(urls[3..], ["https://registry-1.docker.io/v2"]);
    assert_eq!(
        hosts[2],
        json!({
            "url": "https://m.example/v2", "capabilities": ["pull", "resolve"], "ca": [],
            "client": [], "skip_verify": false, "headers": {"x-one": ["1"]},
            "override_path": false, "dial_timeout_ms": null, "http_fallback": false,
            "ns": "docker.io",
            "source": format!("{}/hosts/order/docker.io/hosts.toml:5", fixtures()),
            "credentials": null,
        })
    );
    assert_eq!(hosts[3]["source"], "default");
    assert_eq!(hosts[3]["credentials"]["username"], "hub");
    let source = hosts[3]["credentials"]["source"].as_str().unwrap();
    assert!(source.ends_with("/docker-config/docker/config.json"), "{source}");
    let warnings = document["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 5);
    assert_eq!(warnings[0]["code"], "unusable-login");
    assert_eq!(warnings[0]["line"], 46);
}

#[test]
fn text_is_for_people() {
    let flags = "--ignore-containerd-config --hosts-dir {}/hosts/order -u me busybox";
    let text = explain(flags).succeeded().stdout.replace(&fixtures(), "…");
    let expected = "\
docker.io/library/busybox:latest for linux/arm64

1. https://z.example/v2
   from    …/hosts/order/docker.io/hosts.toml:1
   login   none
   ns      docker.io
";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("   login   me, from command line\n"), "{text}");
    assert!(text.ends_with("no containerd answers\n"), "{text}");
}

#[test]
fn errors_take_the_form_that_was_asked_for() {
    let flags = "-o json --ignore-containerd-config";
    let refused = explain(&format!("{flags} Upper/Case")).ended_with(2);
    let expected = json!({"error": {
        "code": "usage",
        "message": "invalid reference \"Upper/Case\": repository \"Case\" must be lower case",
        "hint": "did you mean Upper/case?",
    }});
    assert_eq!(json_of(&refused), expected);

    let hosts = tempfile::tempdir().unwrap();
    let own = hosts.path().join("quay.io");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("hosts.toml"), "\nserver = \"ftp://x\"\n").unwrap();
    let directory = hosts.path().display();
    let broken = explain(&format!("{flags} --hosts-dir {directory} quay.io/a")).ended_with(12);
    let file = own.join("hosts.toml").display().to_string();
    let problem = "`server` has a scheme other than https and http";
    let expected = json!({"error": {
        "code": "configuration",
        "message": format!("{file}:2:10: {problem}"),
        "hint": "the line reads `server = \"ftp://x\"`; expected a URL such as \
                 \"https://mirror.example:5000\"",
        "file": file,
        "line": 2,
    }});
    assert_eq!(json_of(&broken), expected);
    let outcome = explain(&format!("--hosts-dir {directory} quay.io/a")).ended_with(12);
    outcome.says(&format!("hosts.toml:2:10: {problem}"));
}

#[test]
fn a_warning_has_a_code_a_place_and_a_hint() {
    let warnings = |folder: &str, reference: &str| {
        let flags = format!("--hosts-dir {{}}/hosts/{folder} {reference}");
        let outcome = explain(&format!("-o json --ignore-containerd-config {flags}"));
        json_of(&outcome.succeeded())["warnings"].clone()
    };
    let file =
        |folder: &str, domain: &str| format!("{}/hosts/{folder}/{domain}/hosts.toml", fixtures());
    let hub = json!([{
        "code": "docker-hub-server",
        "message": "docker.io serves no images; registry-1.docker.io is asked",
        "hint": "write https://registry-1.docker.io",
        "file": file("server-docker-hub", "docker.io"),
        "line": 1,
    }]);
    assert_eq!(warnings("server-docker-hub", "busybox"), hub);
    let unknown = warnings("unknown-settings", "reg.example/a");
    let lines: Vec<Option<u64>> =
        unknown.as_array().unwrap().iter().map(|warning| warning["line"].as_u64()).collect();
    assert_eq!(lines, [Some(1), Some(3), Some(6), Some(8)]);
    for warning in unknown.as_array().unwrap() {
        assert_eq!(warning["code"], "unknown-setting", "{warning}");
        assert_eq!(warning["file"], file("unknown-settings", "reg.example"), "{warning}");
    }
}

#[test]
fn what_keeps_the_cri_from_starting_is_told() {
    let flags = "-o json --containerd-config {}/containerd-config/docker-package.toml busybox";
    let document = json_of(&explain(flags).succeeded());
    assert_eq!(document["warnings"][0]["code"], "cri-will-not-start", "{document}");
    assert_eq!(document["warnings"][0]["line"], 2, "{document}");
}

/// `pullctl explain -o json` of any image, with `daemon` there and its configuration said to be
/// `config`.
fn explain_with(daemon: &Containerd, config: &Path) -> Value {
    let socket = daemon.socket();
    let command = Pullctl::new().args(["explain", "-o", "json", "quay.io/a", "-a"]).args([
        socket.as_os_str(),
        OsStr::new("--containerd-config"),
        config.as_os_str(),
    ]);
    json_of(&command.run().succeeded())
}

each_version! {
    fn the_daemon_that_a_pull_would_import_into_is_described(daemon) {
        let document = explain_with(daemon, &daemon.config_file());
        let containerd = &document["containerd"];
        assert_eq!(containerd["address"], daemon.socket().display().to_string(), "{document}");
        assert_eq!(containerd["namespace"], "k8s.io", "{document}");
        assert_eq!(containerd["snapshotter"], "overlayfs", "{document}");
        assert_eq!(document["warnings"], json!([]), "{document}");
    }

    fn of_a_configuration_that_counts_which_the_daemon_reads(daemon) {
        let is_two = daemon.version().is_two();
        let folder = daemon.scratch("generations");
        let certs = folder.join("certs.d");
        std::fs::create_dir_all(certs.join("quay.io")).unwrap();
        let mirror = "[host.\"https://mirror.example\"]\n";
        std::fs::write(certs.join("quay.io/hosts.toml"), mirror).unwrap();
        let path = folder.join("config.toml");
        let section = |name: &str| {
            format!("[plugins.'{name}'.registry]\nconfig_path = '{}'\n", certs.display())
        };
        for (version, name, is_read) in [
            (1, "cri", !is_two),
            (2, "io.containerd.grpc.v1.cri", true),
            (2, "io.containerd.cri.v1.images", is_two),
        ] {
            std::fs::write(&path, format!("version = {version}\n{}", section(name))).unwrap();
            let document = explain_with(daemon, &path);
            let hosts = document["hosts"].as_array().unwrap();
            assert_eq!(hosts.len(), if is_read { 2 } else { 1 }, "{name}: {document}");
            let warning = &document["warnings"][0];
            assert_eq!(warning["code"] == "ignored-section", !is_read, "{name}: {document}");
            let config = path.to_str().unwrap();
            let flags = ["--containerd-config", config, "--retries", "0", "--stall-timeout", "1s"];
            let pull = Pullctl::new().on(daemon).args(["pull", "quay.io/none/none:1"]).args(flags);
            let said = pull.env("https_proxy", "http://127.0.0.1:1").run().stderr;
            assert_eq!(said.contains("does not read"), !is_read, "{name}: {said}");
            assert_eq!(said.contains("mirror.example"), is_read, "{name}: {said}");
        }
    }

    fn the_configuration_of_another_daemon_is_told_from_its_own(daemon) {
        let path = daemon.scratch("other-config").join("config.toml");
        std::fs::write(&path, "version = 2\nroot = \"/somewhere/else\"\n").unwrap();
        let document = explain_with(daemon, &path);
        let warning = &document["warnings"][0];
        assert_eq!(warning["code"], "other-daemon", "{document}");
        assert_eq!(warning["file"], path.display().to_string(), "{document}");
        let message = warning["message"].as_str().unwrap();
        assert!(message.starts_with("`root` is /somewhere/else, but the daemon"), "{document}");
    }
}

#[test]
fn several_hosts_directories_may_be_given_in_both_ways() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for (directory, domain) in folders.iter().zip(["one.example", "two.example", "one.example"]) {
        let own = directory.path().join(domain);
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("hosts.toml"), "[host.\"https://mirror.example\"]\n").unwrap();
    }
    let [one, two, three] = folders.each_ref().map(|folder| folder.path().display().to_string());
    let source = |flags: &str, reference: &str| {
        let flags = format!("-o json --ignore-containerd-config {flags} {reference}");
        let document = json_of(&explain(&flags).succeeded());
        document["hosts"][0]["source"].as_str().unwrap().to_owned()
    };
    for flags in [
        format!("--hosts-dir {one}:{two}:{three}"),
        format!("--hosts-dir {one} --hosts-dir {two} --hosts-dir {three}"),
        format!("--hosts-dir {one}:{two} --hosts-dir {three}"),
    ] {
        assert_eq!(source(&flags, "one.example/a"), format!("{one}/one.example/hosts.toml:1"));
        assert_eq!(source(&flags, "two.example/a"), format!("{two}/two.example/hosts.toml:1"));
        assert_eq!(source(&flags, "other.example/a"), "default");
    }
    let missing = format!("--ignore-containerd-config --hosts-dir {one}:/no/such/directory a");
    explain(&missing).ended_with(12).says("/no/such/directory").says("hint: check the path");
}

/// What `strace` saw of connections that are not those of UNIX sockets.
fn connections(flags: &[&str]) -> String {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"])
        .arg(trace.path())
        .arg(env!("CARGO_BIN_EXE_pullctl"))
        .args(flags)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{flags:?}");
    let calls = std::fs::read_to_string(trace.path()).unwrap();
    calls.lines().filter(|call| call.contains("AF_INET")).collect()
}

each_version! {
    fn an_explanation_sends_nothing_over_the_network(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        let socket = daemon.socket().display().to_string();
        let config = daemon.config_file().display().to_string();
        let common = ["-a", &socket, "--plain-http", "--containerd-config", &config];
        let flags = |command: &'static str| [&[command], &common[..]].concat();
        let explain = [&flags("explain")[..], &["-u", "me", &reference]].concat();
        assert_eq!(connections(&explain), "");
        assert_eq!(registry.requests(), []);
        // A name that would have to be looked up.
        let explain = [&flags("explain")[..], &["registry.example/team/app"]].concat();
        assert_eq!(connections(&explain), "");
        // The proof can fail: a pull does connect.
        let pull = [&flags("pull")[..], &["--progress", "none", &reference]].concat();
        assert_ne!(connections(&pull), "");
    }
}

/// The TOML files that `page` shows, each with the path in its first line.
fn examples(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("```toml\n# ").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().split_once('\n').unwrap()).collect()
}

#[test]
fn every_file_that_the_documentation_shows_is_understood() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/registries.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples = examples(&page);
    assert_eq!(examples.len(), page.matches("```toml").count());
    assert!(examples.len() >= 7, "{examples:?}");
    for (path, content) in examples {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path.trim_start_matches('/'));
        let directory = file.parent().unwrap();
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(&file, content).unwrap();
        let certificates = Path::new(&fixtures()).join("hosts/client/reg.example");
        for (name, certificate) in
            [("ca.crt", "cert.pem"), ("node.cert", "cert.pem"), ("node.key", "key.pem")]
        {
            std::fs::copy(certificates.join(certificate), directory.join(name)).unwrap();
        }
        let registry = directory.file_name().unwrap().to_str().unwrap();
        let flags = match path.ends_with("config.toml") {
            true => format!("--containerd-config {} busybox", file.display()),
            false => {
                let hosts = directory.parent().unwrap().display();
                let domain = registry.replace("_default", "any.example");
                format!("--ignore-containerd-config --hosts-dir {hosts} {domain}/a")
            }
        };
        let document = json_of(&explain(&format!("-o json {flags}")).succeeded());
        assert_eq!(document["warnings"], json!([]), "{path}: {document}");
        let source = document["hosts"][0]["source"].as_str().unwrap();
        let is_read = source.starts_with(&file.display().to_string());
        assert_eq!(is_read, path.ends_with("hosts.toml"), "{path}: {document}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let folders = [
        "--auth-file {}/docker-config/docker/config.json harbor.example/a",
        "--auth-file {}/docker-config/secret/data.yaml harbor.example/a",
        "--containerd-config {}/containerd-config/logins.toml auth.example/a",
        "-u me:typed-secret harbor.example/a",
    ];
    for flags in folders {
        for form in ["-o json", "-o text -vv"] {
            let outcome = explain(&format!("{form} {flags}")).succeeded();
            let said = outcome.stdout + &outcome.stderr;
            for secret in ["-secret", "pass:with:colons", "cm9ib3Q", "bWU6"] {
                assert!(!said.contains(secret), "{secret} with {flags}: {said}");
            }
        }
    }
}
