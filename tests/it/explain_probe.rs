//! `pullctl explain --probe`: every host, step by step, and what a pull would come to.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::explain::json_of;
use crate::mirrors::{NAMED, hosts_directory};
use crate::support::certificates::OpensslKind;
use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Fault, FaultyRegistry, Login, dead_authority};
use crate::support::harbor::{Harbor, NAME, ROBOT, STRANGER};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::nginx::{Nginx, Tls};
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

/// `pullctl explain --probe -o json` without a daemon, with the settings in `hosts`.
pub(crate) fn probe(reference: &str, hosts: &Path, flags: &[&str]) -> Outcome {
    probe_by(Pullctl::new(), reference, hosts, flags)
}

/// The same by `pullctl`, which has no arguments yet.
pub(crate) fn probe_by(pullctl: Pullctl, reference: &str, hosts: &Path, flags: &[&str]) -> Outcome {
    pullctl
        .args(["explain", "--probe", "-o", "json", "-a", "/nowhere.sock", reference])
        .args(["--ignore-containerd-config", "--hosts-dir"])
        .arg(hosts)
        .args(flags)
        .run()
}

impl Pullctl {
    fn arg(self, argument: &Path) -> Self {
        self.args([argument])
    }
}

pub(crate) fn host(document: &Value, index: usize) -> &Value {
    &document["probe"]["hosts"][index]
}

pub(crate) fn step<'a>(host: &'a Value, name: &str) -> &'a Value {
    let steps = host["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no {name}: {host}"))
}

fn remarks(host: &Value) -> Vec<&str> {
    let remarks = host["remarks"].as_array().unwrap();
    remarks.iter().map(|remark| remark["code"].as_str().unwrap()).collect()
}

/// A docker configuration with logins.
fn logins(logins: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let entries: Vec<String> = logins
        .iter()
        .map(|(host, basic)| format!("\"{host}\": {{\"auth\": \"{basic}\"}}"))
        .collect();
    let content = format!("{{\"auths\": {{{}}}}}", entries.join(", "));
    fs::write(directory.path().join("config.json"), content).unwrap();
    directory
}

#[test]
fn a_private_registry_is_told_step_by_step_with_what_the_token_is_good_for() {
    let harbor = Harbor::start();
    let repository = format!("team/{}", unique("probed"));
    let reference = harbor.push(&Image::small(), &repository);
    let hosts = tempfile::tempdir().unwrap();
    let own = hosts.path().join(NAME);
    fs::create_dir(&own).unwrap();
    let ca = harbor.ca().display().to_string();
    fs::write(own.join("hosts.toml"), format!("server = \"https://{NAME}\"\nca = {ca:?}\n"))
        .unwrap();
    let resolve = harbor.resolve();
    let probe = |account: Option<&str>| {
        let home = logins(&account.map(|basic| (NAME, basic)).into_iter().collect::<Vec<_>>());
        let pullctl = Pullctl::new().env("DOCKER_CONFIG", home.path());
        probe_by(pullctl, &reference, hosts.path(), &["--resolve", &resolve])
    };

    let outcome = probe(Some(&ROBOT.basic())).succeeded();
    let document = json_of(&outcome);
    let found = host(&document, 0);
    let kinds: Vec<&str> = found["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    let expected =
        ["proxy", "dns", "tcp", "tls", "api", "challenge", "token", "head", "manifest", "layer"];
    assert_eq!(kinds, expected, "{found}");
    assert!(found["ok"] == true && found.get("problem").is_none(), "{found}");
    for timed in ["tcp", "tls", "api", "token", "head", "manifest", "layer"] {
        assert!(step(found, timed)["ms"].as_f64().unwrap() >= 0.0, "{timed}: {found}");
    }
    let tls = &step(found, "tls")["details"];
    assert_eq!(tls["version"], "TLS 1.3");
    let names = tls["chain"][0]["names"].as_array().unwrap();
    assert!(names.contains(&NAME.into()), "{tls}");
    assert!(tls["chain"][0]["not_after"].is_string(), "{tls}");
    assert_eq!(step(found, "challenge")["details"]["login"]["username"], ROBOT.name);
    let granted = &step(found, "token")["details"]["granted"];
    assert_eq!(granted[0], format!("repository:{repository}:pull"), "{granted}");
    assert_eq!(document["probe"]["verdict"]["code"], "pull-works");
    assert_eq!(document["probe"]["verdict"]["host"], NAME);

    let refused = probe(Some(&STRANGER.basic())).ended_with(4);
    let document = json_of(&refused);
    assert_eq!(step(host(&document, 0), "token")["details"]["granted"], serde_json::json!([]));
    assert_eq!(document["probe"]["verdict"]["code"], "access-denied", "{document}");
    let unknown = json_of(&probe(None).ended_with(4));
    assert_eq!(unknown["probe"]["verdict"]["code"], "login-required", "{unknown}");
    let secrets = [ROBOT, STRANGER].map(|account| [account.basic(), account.password.to_owned()]);
    for secret in secrets.into_iter().flatten().chain(harbor.tokens()) {
        for said in [&outcome, &refused] {
            assert!(!said.stdout.contains(&secret) && !said.stderr.contains(&secret), "{secret}");
        }
    }
}

#[test]
fn a_login_page_a_wrong_certificate_and_an_html_error_are_told_from_a_mirror_that_is_down() {
    let registry = Registry::start();
    let (image, repository) = (Image::small(), unique("mirrored/image"));
    registry.push(&image, &repository, "v1");
    let portal = Nginx::start(
        "location / { default_type text/html; return 200 '<html><title>Sign in</title></html>'; }",
    );
    let broken = Nginx::start(
        "location / { default_type text/html; return 502 '<html><title>Bad Gateway</title></html>'; }",
    );
    let private = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let expired =
        Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Expired);
    let wrong = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let down = dead_authority();
    // Another name than those of the certificate, at the same address.
    let (_, wrong_port) = wrong.authority().split_once(':').unwrap();
    let other_name = format!("other.example:{wrong_port}");
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n\
         [host.\"http://{}\"]\n[host.\"http://{}\"]\n[host.\"http://{down}\"]\n\
         [host.\"https://{}\"]\nskip_verify = false\n\
         [host.\"https://{}\"]\nca = {:?}\n[host.\"https://{other_name}\"]\nca = {:?}\n",
        registry.authority(),
        portal.authority(),
        broken.authority(),
        private.authority(),
        expired.authority(),
        expired.ca(),
        wrong.ca(),
    ));
    let reference = format!("{NAMED}/{repository}:v1");
    let resolve = format!("other.example:{}", wrong.authority());
    let outcome = probe(&reference, hosts.path(), &["--resolve", &resolve]).succeeded();
    let document = json_of(&outcome);
    let codes: Vec<&Value> =
        (0..7).map(|index| host(&document, index).get("code").unwrap_or(&Value::Null)).collect();
    let expected = [
        "web-page",
        "status",
        "connection-refused",
        "unknown-authority",
        "certificate-expired",
        "wrong-name",
    ];
    assert_eq!(codes[..6], expected, "{document}");
    assert_eq!(*codes[6], Value::Null, "{document}");
    assert_eq!(step(host(&document, 0), "api")["details"]["is_web_page"], true);
    let said = host(&document, 1)["problem"].as_str().unwrap();
    assert!(said.contains("502 Bad Gateway"), "{said}");
    let tls = step(host(&document, 3), "tls");
    assert_eq!(tls["details"]["missing_authority"], "CN=test authority", "{tls}");
    let file = hosts.path().join(NAMED).join("hosts.toml").display().to_string();
    assert!(tls["text"].as_str().unwrap().contains(&file), "{tls}");
    let presented = host(&document, 5)["problem"].as_str().unwrap();
    assert!(presented.contains(NAMED), "{presented}");
    let verdict = &document["probe"]["verdict"];
    assert_eq!(verdict["host"], registry.authority(), "{verdict}");
    // The chain of a certificate that is not believed is shown, with its dates.
    assert!(
        step(host(&document, 4), "tls")["details"]["chain"][0]["not_after"]
            .as_str()
            .unwrap()
            .starts_with("2021-01-01")
    );
}

#[test]
fn no_login_goes_where_a_pull_would_not_send_it() {
    let (mirror, upstream) = (FaultyRegistry::start(), FaultyRegistry::start());
    let (image, repository) = (Image::small(), unique("mirrored/image"));
    for registry in [&mirror, &upstream] {
        registry.add(&image, &repository, "v1");
        registry.require(Login::Basic { user: "ann".to_owned(), password: "hunter2".to_owned() });
    }
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n",
        upstream.authority(),
        mirror.authority()
    ));
    let home = logins(&[(&upstream.authority(), "YW5uOmh1bnRlcjI=")]);
    let pullctl = Pullctl::new().env("DOCKER_CONFIG", home.path());
    let reference = format!("{NAMED}/{repository}:v1");
    let document = json_of(&probe_by(pullctl, &reference, hosts.path(), &[]).succeeded());
    assert_eq!(host(&document, 0)["code"], "login-required", "{document}");
    let fix = host(&document, 0)["fix"].as_str().unwrap();
    assert!(fix.contains(&format!("pullctl login {}", mirror.authority())), "{fix}");
    assert!(host(&document, 1)["ok"] == true, "{document}");
    let shown = |registry: &FaultyRegistry| {
        let requests = registry.requests();
        assert!(!requests.is_empty());
        requests.iter().filter(|request| request.header("authorization").is_some()).count()
    };
    assert_eq!(shown(&mirror), 0);
    assert!(shown(&upstream) > 0);
}

#[test]
fn what_headers_say_of_clocks_limits_and_warnings_is_told() {
    let registry = FaultyRegistry::start();
    let (image, repository) = (Image::small(), unique("told/image"));
    registry.add(&image, &repository, "v1");
    let said = |name, value: &str| (name, value.to_owned());
    registry.always(
        &format!("GET /v2/{repository}/manifests/v1"),
        Fault::Headers(vec![
            said("content-type", "application/vnd.oci.image.manifest.v1+json"),
            said("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            said("warning", "299 - \"this tag goes away\""),
            said("ratelimit-limit", "100;w=21600"),
            said("ratelimit-remaining", "0;w=21600"),
        ]),
    );
    let cdn = FaultyRegistry::start();
    let layer = image.layers().first().unwrap();
    cdn.serve("/layer", "application/octet-stream", None, layer.bytes.clone().into());
    cdn.always("GET /layer", Fault::IgnoreRange);
    let blob = format!("GET /v2/{repository}/blobs/{}", layer.digest);
    let target = format!("http://{}/layer?signature=hunter2", cdn.authority());
    registry.always(&blob, Fault::Redirect(target));
    let hosts = hosts_directory(&format!("server = \"http://{}\"\n", registry.authority()));
    let reference = format!("{NAMED}/{repository}:v1");
    let outcome = probe(&reference, hosts.path(), &[]).succeeded();
    let document = json_of(&outcome);
    let found = host(&document, 0);
    let expected =
        ["clock-skew", "registry-warning", "rate-limit-reached", "no-ranges", "rate-limit"];
    assert_eq!(remarks(found), expected, "{found}");
    assert_eq!(step(found, "layer")["details"]["redirected_to"], cdn.authority());
    assert!(!outcome.stdout.contains("signature"), "{}", outcome.stdout);
    let [asked] = &cdn.requests()[..] else { panic!("{:?}", cdn.requests()) };
    assert_eq!(asked.header("range"), Some("bytes=0-0"));
}

#[test]
fn a_certificate_that_ends_soon_is_told_and_fails_nothing() {
    let registry = Registry::start();
    let repository = unique("soon/image");
    registry.push(&Image::small(), &repository, "v1");
    // Two days are left.
    let openssl = Some(OpensslKind { key: "rsa:2048", digest: "-sha256", is_own_authority: false });
    let tls = Tls { openssl, http2: true, ..Tls::new(NAMED, Validity::Now) };
    let nginx = Nginx::start_with(&Nginx::proxy(registry.authority(), ""), tls);
    let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\nca = {:?}\n", nginx.ca()));
    let resolve = format!("{NAMED}:{}", nginx.authority());
    let reference = format!("{NAMED}/{repository}:v1");
    let document = json_of(&probe(&reference, hosts.path(), &["--resolve", &resolve]).succeeded());
    let found = host(&document, 0);
    assert_eq!(remarks(found), ["certificate-ends-soon"], "{found}");
    assert_eq!(step(found, "tls")["details"]["protocol"], "h2");
    assert_eq!(step(found, "head")["details"]["http"], "HTTP/2");
    assert_eq!(step(found, "layer")["details"]["http"], "HTTP/1.1");
}

#[test]
fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let registry = FaultyRegistry::start();
    let arm = Recipe::new(vec![Layer::file("arm", b"arm")]).platform("linux/arm64/v8").build();
    let image = Image::index(Family::Oci, vec![arm]);
    let reference = registry.add_new(&image);
    let nothing = tempfile::tempdir().unwrap();
    let flags = ["--plain-http", "--platform", "linux/s390x"];
    let document = json_of(&probe(&reference, nothing.path(), &flags).ended_with(8));
    let verdict = &document["probe"]["verdict"];
    assert_eq!(verdict["code"], "no-platform", "{verdict}");
    assert!(verdict["text"].as_str().unwrap().contains("linux/arm64"), "{verdict}");
    let flags = ["--plain-http", "--platform", "linux/arm64"];
    let document = json_of(&probe(&reference, nothing.path(), &flags).succeeded());
    assert!(step(host(&document, 0), "platform-manifest")["ok"] == true, "{document}");
}

#[test]
fn a_proxy_is_told_with_its_variable_and_the_handshake_goes_through_it() {
    let registry = Registry::start();
    let repository = unique("behind/image");
    registry.push(&Image::small(), &repository, "v1");
    let nginx = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let proxy = FaultyRegistry::start();
    proxy.tunnel(&format!("{NAMED}:443"), nginx.authority());
    let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\n"));
    let reference = format!("{NAMED}/{repository}:v1");
    let by_proxy = |no_proxy: &str| {
        let url = format!("http://me:hunter2@{}", proxy.authority());
        let pullctl = Pullctl::new().env("HTTPS_PROXY", url).env("NO_PROXY", no_proxy);
        probe_by(pullctl, &reference, hosts.path(), &["--stall-timeout", "2s"])
    };
    let outcome = by_proxy("").ended_with(5);
    let document = json_of(&outcome);
    let found = host(&document, 0);
    assert_eq!(step(found, "proxy")["details"]["variable"], "HTTPS_PROXY");
    assert_eq!(found["code"], "unknown-authority", "{found}");
    assert_eq!(step(found, "tls")["details"]["missing_authority"], "CN=test authority");
    assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);

    let document = json_of(&by_proxy("registry.example").ended_with(5));
    assert_eq!(step(host(&document, 0), "proxy")["details"]["excluded"], true);
    assert!(host(&document, 0)["code"].as_str().unwrap().starts_with("name-"), "{document}");
}

#[test]
fn lines_for_people_have_the_steps_their_times_and_the_fix_at_the_end() {
    let down = dead_authority();
    let hosts = hosts_directory(&format!("server = \"http://{down}\"\n"));
    let outcome = Pullctl::new()
        .args(["explain", "--probe", "-a", "/nowhere.sock", "--ignore-containerd-config"])
        .args(["--hosts-dir".as_ref(), hosts.path().as_os_str()])
        .args([&format!("{NAMED}/a:1")])
        .run()
        .ended_with(5);
    let said = &outcome.stdout;
    assert!(said.contains("   ok   dns"), "{said}");
    assert!(said.contains("   FAIL tcp"), "{said}");
    assert!(said.contains("a pull fails: cannot resolve registry.example/a:1"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("fix: check that"), "{said}");
    assert_eq!(outcome.stderr, "");
}
