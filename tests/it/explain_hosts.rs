//! `pullctl explain` and the hosts of an image: every setting, in the order in which a pull asks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::explain::{EXPLAIN, explain, fixtures, json_of};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Fault, FaultyRegistry};
use crate::support::image::Image;
use crate::support::unique;

/// A host as a file has it: its URL, the line in `hosts.toml` that it comes from (0: none), and what
/// is said of it beyond that. `{}` is the directory of the file.
type Row = (&'static str, usize, Value);

/// The hosts that `explain -o json` showed.
fn hosts_of(outcome: Outcome) -> Vec<Value> {
    json_of(&outcome.succeeded())["hosts"].as_array().unwrap().clone()
}

/// Compares the hosts of `domain/a` by `fixtures/hosts/FOLDER` and `flags`.
fn check(folder: &str, domain: &str, flags: &str, expected: &[Row]) {
    let flags = format!("{flags} --hosts-dir {{}}/hosts/{folder} {domain}/a");
    let shown = hosts_of(explain(&format!("-o json --ignore-containerd-config {flags}")));
    assert_eq!(shown, members(folder, domain, expected), "{flags}");
}

/// All that is shown of `rows`.
fn members(folder: &str, domain: &str, rows: &[Row]) -> Vec<Value> {
    let directory = format!("{}/hosts/{folder}/{domain}", fixtures());
    let shown = |(url, line, said): &Row| {
        let source = match line {
            0 => "default".to_owned(),
            line => format!("{directory}/hosts.toml:{line}"),
        };
        let mut shown = json!({
            "url": url, "capabilities": ["pull", "resolve", "push", "referrers"], "ca": [],
            "client": [], "skip_verify": false, "headers": {}, "override_path": false,
            "dial_timeout_ms": null, "http_fallback": false, "ns": domain, "source": source,
            "credentials": null,
        });
        let said: Value =
            serde_json::from_str(&said.to_string().replace("{}/", &format!("{directory}/")))
                .unwrap();
        shown.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        shown
    };
    rows.iter().map(shown).collect()
}

/// The hosts of `fixtures/hosts/ca`.
fn with_authorities() -> [Row; 3] {
    [
        ("https://one.example/v2", 1, json!({"ca": ["{}/ca.pem"]})),
        ("https://two.example/v2", 4, json!({"ca": ["{}/ca.pem", "{}/../shared/other.pem"]})),
        ("https://reg.example/v2", 0, json!({"ns": null})),
    ]
}

#[test]
fn every_setting_of_a_host_is_shown() {
    let nothing = || json!({});
    let own = || json!({"ns": null});
    let unverified = || json!({"skip_verify": true});
    check("ca", "reg.example", "", &with_authorities());
    check(
        "capabilities",
        "reg.example",
        "",
        &[
            ("https://absent.example/v2", 1, nothing()),
            ("https://empty.example/v2", 3, nothing()),
            ("https://pull.example/v2", 6, json!({"capabilities": ["pull"]})),
            ("https://resolve.example/v2", 9, json!({"capabilities": ["resolve"]})),
            ("https://all.example/v2", 12, nothing()),
            ("https://reg.example/v2", 0, own()),
        ],
    );
    let (both, pair) = (["{}/both.pem", ""], ["{}/cert.pem", "{}/key.pem"]);
    check(
        "client",
        "reg.example",
        "",
        &[
            ("https://string.example/v2", 1, json!({"client": [both]})),
            ("https://array.example/v2", 4, json!({"client": [both, ["{}/other.pem", ""]]})),
            ("https://pairs.example/v2", 7, json!({"client": [pair, both]})),
            ("https://mixed.example/v2", 10, json!({"client": [both, pair]})),
            ("https://reg.example/v2", 0, own()),
        ],
    );
    let headers = json!({"headers": {"x-string": ["one"], "X-Array": ["two", "three"]}});
    check(
        "header",
        "reg.example",
        "",
        &[
            ("https://a.example/v2", 1, headers),
            ("https://b.example/v2", 3, nothing()),
            ("https://reg.example/v2", 0, own()),
        ],
    );
    let overridden = || json!({"override_path": true});
    check(
        "override-path",
        "docker.io",
        "",
        &[
            ("https://appended.example/prefix/v2", 5, nothing()),
            ("https://ends-in-v2.example/prefix/v2", 7, nothing()),
            ("https://harbor.example/v2/proxy", 9, overridden()),
            ("https://bare.example", 12, overridden()),
            ("https://harbor.example/v2/hub", 2, overridden()),
        ],
    );
    check(
        "dial-timeout",
        "reg.example",
        "",
        &[
            ("https://seconds.example/v2", 3, json!({"dial_timeout_ms": 3000})),
            ("https://milliseconds.example/v2", 6, json!({"dial_timeout_ms": 250})),
            ("https://absent.example/v2", 9, nothing()),
            ("https://empty.example/v2", 11, nothing()),
            ("https://reg.example/v2", 1, json!({"dial_timeout_ms": 90_000, "ns": null})),
        ],
    );
    let fallback = json!({"ca": ["{}/ca.pem"], "http_fallback": true});
    check(
        "http-with-tls",
        "reg.example",
        "",
        &[
            ("http://plain.example:5000/v2", 1, nothing()),
            (
                "https://skip.example:5000/v2",
                3,
                json!({"skip_verify": true, "http_fallback": true}),
            ),
            ("https://verified.example:5000/v2", 6, json!({"http_fallback": true})),
            ("https://ca.example/v2", 9, fallback),
            ("http://port80.example:80/v2", 12, json!({"ca": ["{}/ca.pem"]})),
            ("https://tls.example:5000/v2", 15, unverified()),
            ("https://reg.example/v2", 0, own()),
        ],
    );
    let loopback =
        json!({"ca": ["{}/ca.pem"], "skip_verify": true, "http_fallback": true, "ns": null});
    check("loopback", "localhost:5000", "", &[("https://localhost:5000/v2", 1, loopback)]);
    let verified = json!({"http_fallback": true, "ns": null});
    check("loopback", "localhost:5001", "", &[("https://localhost:5001/v2", 1, verified)]);
}

#[test]
fn a_relative_hosts_directory_is_shown_as_an_absolute_one() {
    let folder = Path::new(&fixtures()).join("hosts");
    for directory in ["ca", "./ca"] {
        let flags = ["-o", "json", "--ignore-containerd-config", "--hosts-dir", directory];
        let explain = Pullctl::new().args(EXPLAIN).args(flags).args(["reg.example/a"]);
        let shown = hosts_of(explain.below(&folder).run());
        assert_eq!(shown, members("ca", "reg.example", &with_authorities()), "{directory}");
    }
}

#[test]
fn the_flags_show_in_the_hosts_that_they_are_for() {
    let none = || json!({});
    let unverified = || json!({"skip_verify": true});
    let own = || json!({"skip_verify": true, "ns": null});
    let with_login = json!({
        "skip_verify": true, "ns": null,
        "credentials": {"source": "command line", "username": "me"},
    });
    let rows = |[absent, yes, no]: [Value; 3], url: &'static str, own: Value| {
        [
            ("https://absent.example/v2", 3, absent),
            ("https://yes.example/v2", 5, yes),
            ("https://no.example/v2", 8, no),
            (url, 1, own),
        ]
    };
    let https = "https://reg.example/v2";
    for (flags, expected) in [
        ("", rows([none(), unverified(), none()], https, own())),
        ("--skip-verify", rows([unverified(), unverified(), none()], https, own())),
        ("--plain-http", rows([none(), unverified(), none()], "http://reg.example/v2", own())),
        ("-u me:secret", rows([none(), unverified(), none()], https, with_login)),
    ] {
        check("skip-verify", "reg.example", flags, &expected);
    }
    let tried = json!({"skip_verify": true, "http_fallback": true, "ns": null});
    check("loopback", "localhost:7", "", &[("https://localhost:7/v2", 0, tried)]);
    let plain = ("http://localhost:7/v2", 0, json!({"ns": null}));
    check("loopback", "localhost:7", "--plain-http", &[plain]);
}

#[test]
fn a_digest_is_part_of_the_reference() {
    let digest = format!("sha256:{}", "7e".repeat(32));
    for (tag, suffix) in [(Value::Null, ""), (json!("1.36"), ":1.36")] {
        let input = format!("busybox{suffix}@{digest}");
        let outcome = explain(&format!("-o json --ignore-containerd-config {input}")).succeeded();
        let expected = json!({
            "input": input, "name": "docker.io/library/busybox", "domain": "docker.io",
            "repository": "library/busybox", "tag": tag, "digest": digest,
        });
        assert_eq!(json_of(&outcome)["reference"], expected);
        let text = explain(&format!("--ignore-containerd-config {input}")).succeeded().stdout;
        let title = format!("docker.io/library/busybox{suffix}@{digest} for linux/arm64\n");
        assert!(text.starts_with(&title), "{text}");
    }
}

/// The hosts of `attempt` events, each where it comes first.
fn first_asked(outcome: &Outcome) -> Vec<String> {
    let mut hosts = Vec::new();
    for event in outcome.events().iter().filter(|event| event["event"] == "attempt") {
        let host = event["host"].as_str().unwrap().to_owned();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

#[test]
fn hosts_are_shown_in_the_order_in_which_a_pull_asks_them() {
    let mut registries = [(); 4].map(|()| FaultyRegistry::start());
    // Neither in the order of their names nor in the opposite one.
    registries.sort_by_key(FaultyRegistry::authority);
    registries.swap(0, 2);
    let authorities = registries.each_ref().map(FaultyRegistry::authority);
    let repository = unique("ordered/image");
    registries[3].add(&Image::small(), &repository, "v1");
    registries[1].always("/v2/", Fault::Status(403, Vec::new()));
    registries[2].always("/v2/", Fault::Status(500, Vec::new()));
    let reference = format!("registry.example/{repository}:v1");

    let files = tempfile::tempdir().unwrap();
    let [first, second, third, server] = &authorities;
    let hosts = files.path().join("registry.example/hosts.toml");
    fs::create_dir(hosts.parent().unwrap()).unwrap();
    let tables = [first, second, third].map(|host| format!("[host.\"http://{host}\"]\n")).concat();
    fs::write(&hosts, format!("server = \"http://{server}\"\n{tables}")).unwrap();
    let config = files.path().join("config.toml");
    let endpoints = authorities.each_ref().map(|host| format!("\"http://{host}\"")).join(", ");
    let mirrors = "plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"registry.example\"";
    fs::write(&config, format!("version = 2\n[{mirrors}]\n  endpoint = [{endpoints}]\n")).unwrap();

    let (directory, config) = (files.path().display(), config.display());
    for flags in [
        format!("--ignore-containerd-config --hosts-dir {directory}"),
        format!("--containerd-config {config}"),
    ] {
        let explained = hosts_of(explain(&format!("-o json {flags} {reference}")));
        let urls: Vec<&str> = explained.iter().filter_map(|host| host["url"].as_str()).collect();
        let expected = authorities.each_ref().map(|host| format!("http://{host}/v2"));
        assert_eq!(urls[..4], expected, "{flags}");

        let layout = tempfile::tempdir().unwrap();
        let to = format!("oci:{}", layout.path().join("layout").display());
        let pull = Pullctl::new().args(["pull", "--progress", "json", "--retries", "0"]);
        let pull = pull.args(["--to", &to, &reference]).args(flags.split_whitespace());
        assert_eq!(first_asked(&pull.run().succeeded()), authorities, "{flags}");
    }
}

#[test]
fn a_credential_helper_is_asked_and_its_secret_kept() {
    let files = tempfile::tempdir().unwrap();
    let (config, asked) = (files.path().join("config.json"), files.path().join("asked"));
    fs::write(&config, r#"{"credHelpers": {"reg.example": "told"}}"#).unwrap();
    let helper = files.path().join("docker-credential-told");
    let script = format!(
        "#!/bin/sh\necho \"$1 $(cat)\" >>'{}'\n\
         echo '{{\"Username\": \"me\", \"Secret\": \"hunter2\"}}'\n",
        asked.display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let source = format!("{} (docker-credential-told)", config.display());
    for form in ["json", "text"] {
        let outcome = Pullctl::new()
            .args(EXPLAIN)
            .args(["-vv", "--ignore-containerd-config", "-o", form, "reg.example/a"])
            .env("DOCKER_CONFIG", files.path())
            .env("PATH", format!("{}:/usr/bin:/bin", files.path().display()))
            .env("RUST_LOG", "trace")
            .run()
            .succeeded();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!said.contains("hunter2"), "{said}");
        if form == "json" {
            let login = &json_of(&outcome)["hosts"][0]["credentials"];
            assert_eq!(*login, json!({"source": source, "username": "me"}));
        } else {
            assert!(said.contains(&format!("login   me, from {source}\n")), "{said}");
        }
    }
    // Once a run, for no more than the registry.
    assert_eq!(fs::read_to_string(asked).unwrap(), "get reg.example\n".repeat(2));
}

#[test]
fn the_proxy_of_each_host_is_named_with_its_variable_and_without_its_password() {
    let explain = |form: &str| {
        let flags = ["explain", "--ignore-containerd-config", "-o", form];
        Pullctl::new()
            .args(flags)
            .args(["--hosts-dir", &format!("{}/hosts/order", fixtures()), "busybox:1.36"])
            .env("https_proxy", "http://ann:hunter2@proxy.example:3128")
            .env("NO_PROXY", "m.example")
            .run()
            .succeeded()
    };
    let document = json_of(&explain("json"));
    let by = |url: &str| {
        let hosts = document["hosts"].as_array().unwrap();
        hosts.iter().find(|host| host["url"] == url).unwrap()["proxy"].clone()
    };
    let proxy = json!({"url": "http://proxy.example:3128", "variable": "https_proxy"});
    assert_eq!(by("https://z.example/v2"), proxy);
    assert_eq!(by("https://m.example/v2"), Value::Null);
    let text = explain("text");
    assert!(text.stdout.contains("http://proxy.example:3128, from $https_proxy"), "{text:?}");
    assert!(!text.stdout.contains("hunter2"), "{text:?}");
}
