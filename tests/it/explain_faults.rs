//! `pullctl explain --probe`: each way in which a host fails has a code of its own, which scripts go
//! by. `docs/codes.md` lists them.

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::explain::json_of;
use crate::explain_probe::{host, probe, probe_by, step};
use crate::mirrors::{NAMED, hosts_directory, pull};
use crate::support::certificates::Certificates;
use crate::support::cli::Pullctl;
use crate::support::faulty::{Body, Fault, FaultyRegistry, Gate, Login, dead_authority};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::{Nginx, Tls};
use crate::support::registry::Registry;
use crate::support::{Validity, unique, wait_until};

/// Where the image's documents and its layer are asked for.
const MANIFEST: &str = "/manifests/v1";
const LAYER: &str = "/blobs/";

/// What an index or a manifest may be at most, and more.
const TOO_MUCH: u64 = 5 << 20;

fn header(name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    vec![(name, value.to_owned())]
}

/// A registry with an image, as its only host.
struct Faulty {
    registry: FaultyRegistry,
    hosts: TempDir,
    reference: String,
}

impl Faulty {
    fn new() -> Self {
        let registry = FaultyRegistry::start();
        let repository = unique("failing/image");
        let image = Recipe::new(vec![Layer::noise(&repository, 10_000)]).build();
        registry.add(&image, &repository, "v1");
        let hosts = hosts_directory(&format!("server = \"http://{}\"\n", registry.authority()));
        Self { registry, hosts, reference: format!("{NAMED}/{repository}:v1") }
    }

    /// The verdict, which says what stops a pull and what to do about it.
    #[track_caller]
    fn fails(&self, code: &str) {
        let patience: &[&str] = if code == "stalled" { &["--stall-timeout", "1s"] } else { &[] };
        let outcome = probe(&self.reference, self.hosts.path(), patience);
        let document = json_of(&outcome);
        let verdict = &document["probe"]["verdict"];
        assert_eq!(verdict["code"], code, "{document}");
        assert_eq!(host(&document, 0)["code"], code, "{document}");
        assert_ne!(outcome.code, Some(0), "{code}");
        assert!(!verdict["fix"].as_str().unwrap().is_empty(), "{verdict}");
    }
}

#[test]
fn each_answer_that_is_none_has_a_code() {
    let itself = |faulty: &Faulty, path: &str| {
        let (_, name) = faulty.reference.split_once('/').unwrap();
        let (repository, _) = name.rsplit_once(':').unwrap();
        format!("http://{}/v2/{repository}{path}", faulty.registry.authority())
    };
    let other = format!("sha256:{}", "0".repeat(64));
    let no_manifest = Body::from(b"{\"name\": \"nobody\"}".to_vec());
    let gate = Gate::new();
    for (code, line, fault) in [
        ("not-found", MANIFEST, Fault::Status(404, Vec::new())),
        ("access-denied", MANIFEST, Fault::Status(403, Vec::new())),
        ("rate-limited", MANIFEST, Fault::Status(429, Vec::new())),
        ("status", MANIFEST, Fault::Status(500, Vec::new())),
        ("connection-broke", MANIFEST, Fault::Reset(0)),
        ("connection-broke", MANIFEST, Fault::HangUp),
        ("body-cut", MANIFEST, Fault::Truncate(0)),
        ("body-cut", LAYER, Fault::Truncate(0)),
        ("stalled", MANIFEST, Fault::Stall(0, gate.clone())),
        (
            "no-manifest",
            MANIFEST,
            Fault::Instead {
                content_type: "application/vnd.oci.image.manifest.v1+json",
                body: no_manifest,
            },
        ),
        ("wrong-content", MANIFEST, Fault::Headers(header("docker-content-digest", &other))),
        ("too-large", MANIFEST, Fault::Lengthen(TOO_MUCH)),
        ("wrong-range", LAYER, Fault::ContentRange("bytes 7-7/10000".to_owned())),
        ("bad-redirect", LAYER, Fault::Redirect("http://[".to_owned())),
        ("unusable-challenge", "/v2/", Fault::Status(401, header("www-authenticate", "Negotiate"))),
    ] {
        let faulty = Faulty::new();
        faulty.registry.always(line, fault);
        faulty.fails(code);
    }
    gate.open();
    let faulty = Faulty::new();
    faulty.registry.always(MANIFEST, Fault::Redirect(itself(&faulty, MANIFEST)));
    faulty.fails("bad-redirect");
}

#[test]
fn each_login_that_is_none_has_a_code() {
    let faulty = Faulty::new();
    faulty.registry.require(Login::Token { login: None });
    faulty.registry.always("/token", Fault::Status(404, Vec::new()));
    faulty.fails("token-endpoint-not-found");
    let nothing = Body::from(b"{}".to_vec());
    let faulty = Faulty::new();
    faulty.registry.require(Login::Token { login: None });
    faulty
        .registry
        .always("/token", Fault::Instead { content_type: "application/json", body: nothing });
    faulty.fails("malformed-answer");

    let faulty = Faulty::new();
    faulty
        .registry
        .require(Login::Basic { user: "ann".to_owned(), password: "hunter2".to_owned() });
    faulty.fails("login-required");
    let home = tempfile::tempdir().unwrap();
    // Of another password.
    let auths = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"YW5uOng=\"}}}}}}",
        faulty.registry.authority()
    );
    fs::write(home.path().join("config.json"), auths).unwrap();
    let pullctl = Pullctl::new().env("DOCKER_CONFIG", home.path());
    let outcome = probe_by(pullctl, &faulty.reference, faulty.hosts.path(), &[]).ended_with(4);
    let document = json_of(&outcome);
    assert_eq!(document["probe"]["verdict"]["code"], "login-refused", "{document}");
    let fix = document["probe"]["verdict"]["fix"].as_str().unwrap();
    assert!(fix.contains("check the user name and password"), "{fix}");
}

#[test]
fn a_registry_that_has_lost_a_layer_is_told_from_one_that_does_not_know_the_image() {
    for (line, said) in [(LAYER, "not all of its content"), (MANIFEST, "check the name")] {
        let faulty = Faulty::new();
        faulty.registry.always(line, Fault::Status(404, Vec::new()));
        let document = json_of(&probe(&faulty.reference, faulty.hosts.path(), &[]).ended_with(3));
        let verdict = &document["probe"]["verdict"];
        assert_eq!(verdict["code"], "not-found", "{document}");
        let fix = verdict["fix"].as_str().unwrap();
        assert!(fix.contains(said), "{line}: {fix}");
        assert_eq!(host(&document, 0)["fix"], fix, "{document}");
        let hosts = faulty.hosts.path().display().to_string();
        let flags = ["--ignore-containerd-config", "--hosts-dir", &hosts];
        pull(&faulty.reference, &flags).ended_with(3).says(fix);
    }
}

#[test]
fn a_head_that_is_refused_where_get_is_answered_is_told_and_fails_nothing() {
    let faulty = Faulty::new();
    faulty.registry.always("HEAD ", Fault::Status(405, Vec::new()));
    let document = json_of(&probe(&faulty.reference, faulty.hosts.path(), &[]).succeeded());
    assert_eq!(host(&document, 0)["remarks"][0]["code"], "head-refused", "{document}");
    assert_eq!(step(host(&document, 0), "head")["ok"], true, "{document}");
}

/// As a registry, or a firewall before it, that closes what rests.
#[test]
fn a_kept_connection_that_is_dropped_is_told_and_fails_nothing_that_a_pull_survives() {
    let faulty = Faulty::new();
    faulty.registry.script(LAYER, vec![Some(Fault::HangUp)]);
    let document = json_of(&probe(&faulty.reference, faulty.hosts.path(), &[]).succeeded());
    assert_eq!(host(&document, 0)["remarks"][0]["code"], "connection-dropped", "{document}");
    assert_eq!(step(host(&document, 0), "layer")["ok"], true, "{document}");
}

#[test]
fn every_address_of_a_name_is_tried_and_told() {
    let registry = Registry::start();
    let repository = unique("addresses/image");
    registry.push(&Image::small(), &repository, "v1");
    let (_, port) = registry.authority().split_once(':').unwrap();
    let files = tempfile::tempdir().unwrap();
    let [resolv, known] = ["resolv.conf", "hosts"].map(|name| files.path().join(name));
    fs::write(&resolv, "nameserver 127.0.0.79\n").unwrap();
    // At the second one nothing listens.
    fs::write(&known, format!("127.0.0.1 {NAMED}\n127.0.0.80 {NAMED}\n")).unwrap();
    let hosts = hosts_directory(&format!("server = \"http://{NAMED}:{port}\"\n"));
    let pullctl = Pullctl::with_name_service(&resolv, &known);
    let outcome = probe_by(pullctl, &format!("{NAMED}/{repository}:v1"), hosts.path(), &[]);
    let document = json_of(&outcome.succeeded());
    let dns = step(host(&document, 0), "dns");
    let mut found: Vec<&str> =
        dns["details"]["addresses"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, ["127.0.0.1", "127.0.0.80"], "{dns}");
    assert!(dns["ms"].as_f64().unwrap() >= 0.0, "{dns}");
    let tcp = step(host(&document, 0), "tcp");
    let tried = tcp["details"]["addresses"].as_array().unwrap();
    let is_open = |address: &str| {
        let address = format!("{address}:{port}");
        let one = tried.iter().find(|one| one["address"] == address.as_str());
        one.unwrap_or_else(|| panic!("{address}: {tcp}"))["ok"].as_bool().unwrap()
    };
    assert!(is_open("127.0.0.1") && !is_open("127.0.0.80"), "{tcp}");
    assert!(tried.iter().all(|one| one["ms"].as_f64().unwrap() >= 0.0), "{tcp}");
}

#[test]
fn a_network_without_a_way_and_a_proxy_that_is_down_have_codes() {
    let hosts = hosts_directory("server = \"http://198.51.100.7:5000\"\n");
    let reference = format!("{NAMED}/a:1");
    let alone = || Pullctl::alone_with("192.0.2.0/24");
    let document = json_of(&probe_by(alone(), &reference, hosts.path(), &[]).ended_with(5));
    assert_eq!(document["probe"]["verdict"]["code"], "connection-failed", "{document}");
    let proxy = format!("http://{}", dead_authority());
    let by_proxy = alone().env("HTTP_PROXY", proxy);
    let document = json_of(&probe_by(by_proxy, &reference, hosts.path(), &[]).ended_with(5));
    assert_eq!(document["probe"]["verdict"]["code"], "proxy-failed", "{document}");
}

/// The code of a probe of what answers as `registry.example` at `authority`, by this authority's file.
#[track_caller]
fn behind_tls(authority: &str, ca: &Path) -> (String, Value) {
    behind_tls_with(authority, &format!("ca = {ca:?}\n"))
}

/// The same by these settings.
#[track_caller]
fn behind_tls_with(authority: &str, settings: &str) -> (String, Value) {
    let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\n{settings}"));
    let resolve = format!("{NAMED}:{authority}");
    let flags = ["--resolve", &resolve, "--stall-timeout", "5s"];
    let outcome = probe(&format!("{NAMED}/a:1"), hosts.path(), &flags).ended_with(5);
    let document = json_of(&outcome);
    let verdict = document["probe"]["verdict"].clone();
    assert!(!verdict["fix"].as_str().unwrap().is_empty(), "{verdict}");
    (verdict["code"].as_str().unwrap().to_owned(), document)
}

#[test]
fn each_way_in_which_tls_fails_has_a_code() {
    let nothing = "location / { return 404; }";
    let later = Nginx::start_tls(nothing, NAMED, Validity::Later);
    let (code, document) = behind_tls(later.authority(), &later.ca());
    assert_eq!(code, "certificate-not-yet-valid", "{document}");
    let begins = &step(host(&document, 0), "tls")["details"]["chain"][0]["not_before"];
    assert!(begins.as_str().unwrap().starts_with("2070-01-01"), "{document}");

    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::issue(folder.path(), &[], Validity::Now);
    let (_server, authority) = openssl_server(&files, &[]);
    let (code, document) = behind_tls(&authority, &files.authority);
    assert_eq!(code, "certificate-without-names", "{document}");

    let tls = Tls { protocols: "TLSv1 TLSv1.1", ..Tls::new(NAMED, Validity::Now) };
    let outdated = Nginx::start_with(nothing, tls);
    let (code, document) = behind_tls(outdated.authority(), &outdated.ca());
    assert_eq!(code, "tls-outdated", "{document}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = silent.local_addr().unwrap().to_string();
    // It takes what comes first, and hangs up.
    std::thread::spawn(move || {
        for mut stream in silent.incoming().flatten() {
            let _ = stream.read(&mut [0; 8192]);
        }
    });
    let (code, document) = behind_tls(&authority, &later.ca());
    assert_eq!(code, "tls-failed", "{document}");
}

#[test]
fn a_file_of_another_authority_is_named_and_the_right_one_in_its_place_is_enough() {
    let registry = Registry::start();
    let repository = unique("private/image");
    registry.push(&Image::small(), &repository, "v1");
    let nginx = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let folder = tempfile::tempdir().unwrap();
    let other = Certificates::issue(folder.path(), &[NAMED], Validity::Now).authority;
    let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\nca = {other:?}\n"));
    let resolve = format!("{NAMED}:{}", nginx.authority());
    let probed = || {
        let reference = format!("{NAMED}/{repository}:v1");
        probe(&reference, hosts.path(), &["--resolve", &resolve])
    };
    let document = json_of(&probed().ended_with(5));
    let fix = document["probe"]["verdict"]["fix"].as_str().unwrap();
    let (file, _) = fix.split_once(" holds another authority").unwrap_or_else(|| panic!("{fix}"));
    assert_eq!(Path::new(file), other, "{fix}");
    fs::copy(nginx.ca(), file).unwrap();
    probed().succeeded();
}

/// openssl's own server, which ends with the handle.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with these files, and says where it listens.
fn openssl_server(files: &Certificates, flags: &[&str]) -> (Server, String) {
    let authority = dead_authority();
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &authority])
        .arg("-cert")
        .arg(&files.certificate)
        .arg("-key")
        .arg(&files.key)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Server(server.unwrap());
    wait_until("openssl's server", || TcpStream::connect(&authority).ok());
    (server, authority)
}

#[test]
fn a_host_that_wants_another_client_certificate_has_a_code() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let issue = |place: &TempDir, validity| Certificates::issue(place.path(), &[NAMED], validity);
    let [own, other] = [&folders[0], &folders[1]].map(|place| issue(place, Validity::Now));
    let ended = issue(&folders[2], Validity::Expired);
    // Of another authority than the host takes, though of its name; and of one that it does, too old.
    for (client, taken) in [(&other, &own), (&ended, &ended)] {
        let taken = taken.authority.display().to_string();
        // Of a later version the host would tell it after the handshake, and hang up at once.
        let flags = ["-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", &taken];
        let (_server, authority) = openssl_server(&own, &flags);
        let pair = format!("client = [[{:?}, {:?}]]\n", client.certificate, client.key);
        let settings = format!("ca = {:?}\n{pair}", own.authority);
        let (code, document) = behind_tls_with(&authority, &settings);
        assert_eq!(code, "client-certificate-refused", "{document}");
    }
}

#[test]
fn a_host_of_tls_1_2_that_gets_no_client_certificate_is_told_from_one_that_is_outdated() {
    let tls =
        Tls { protocols: "TLSv1.2", asks_for_certificate: true, ..Tls::new(NAMED, Validity::Now) };
    let nginx = Nginx::start_with("location / { return 404; }", tls);
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::issue(folder.path(), &[NAMED], Validity::Now);
    let taken = files.authority.display().to_string();
    // It ends the handshake with an alert that says nothing of certificates. nginx ends it well, and
    // refuses what is asked after it.
    let flags = ["-tls1_2", "-Verify", "1", "-CAfile", &taken];
    let (_server, openssl) = openssl_server(&files, &flags);
    for (authority, ca) in [(nginx.authority(), nginx.ca()), (&openssl, files.authority.clone())] {
        let (code, document) = behind_tls(authority, &ca);
        assert_eq!(code, "client-certificate-refused", "{document}");
        let fix = document["probe"]["verdict"]["fix"].as_str().unwrap();
        assert!(fix.contains("client = "), "{fix}");

        let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\nca = {ca:?}\n"));
        let layout = format!("oci:{}", hosts.path().join("layout").display());
        let outcome = Pullctl::new()
            .args(["pull", "--to", &layout, "--resolve", &format!("{NAMED}:{authority}")])
            .args(["--ignore-containerd-config", "--hosts-dir"])
            .args([hosts.path()])
            .args([format!("{NAMED}/a:1")])
            .run()
            .ended_with(5);
        outcome.says("the host wants a client certificate, or another one").says("client = ");
    }
}
