//! `pullctl login` and `logout`: proved, then kept where docker keeps logins.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl, Running};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Login, dead_authority};
use crate::support::image::Image;
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

const PASSWORD: &str = "hunter2:more";

/// A user with a docker configuration.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("config.json")
    }

    fn content(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.config()).unwrap()).unwrap()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Outcome {
        self.spawn(arguments, input).wait()
    }

    fn spawn(&self, arguments: &[&str], input: &str) -> Running {
        let path = format!("{}:/usr/bin:/bin", self.home.path().display());
        let command = Pullctl::new().args(arguments).input(input);
        command.env("DOCKER_CONFIG", self.home.path()).env("PATH", path).spawn()
    }

    /// Runs `arguments` where `nginx` is found as `name` and its authority is trusted.
    fn run_behind(&self, nginx: &Nginx, name: &str, arguments: &[&str]) -> Outcome {
        let resolve = format!("{name}:{}", nginx.authority());
        let to = format!("oci:{}", self.home.path().join(unique("layout")).display());
        let own: &[&str] = if arguments[0] == "pull" { &["--to", &to] } else { &[] };
        let command = Pullctl::new().args(arguments).args(own).args(["--resolve", &resolve]);
        let command = command.args(["--ignore-containerd-config", "-v"]).input(PASSWORD);
        let command = command.env("SSL_CERT_FILE", nginx.ca());
        command.env("DOCKER_CONFIG", self.home.path()).run()
    }

    fn log_in(&self, server: &str, password: &str) -> Outcome {
        self.begin_to_log_in(server, password).wait()
    }

    fn begin_to_log_in(&self, server: &str, password: &str) -> Running {
        let flags = ["login", "-vv", "--ignore-containerd-config", "--plain-http"];
        let arguments = ["-u", "robot$ann", "--password-stdin", server];
        self.spawn(&[&flags[..], &arguments[..]].concat(), password)
    }

    /// The files in the folder of the logins that hold any.
    fn copies(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path()).unwrap().map(|entry| entry.unwrap());
        let full = entries.filter(|entry| entry.metadata().unwrap().len() > 0);
        let mut names: Vec<_> =
            full.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Pulls without saying who.
    fn pull(&self, reference: &str) -> Outcome {
        let to = format!("oci:{}", self.home.path().join("layout").display());
        self.run(&["pull", "--plain-http", "--retries", "0", "--to", &to, reference], "")
    }

    /// Puts a credential helper on the path that keeps logins in a file each.
    fn with_helper(&self) -> PathBuf {
        let kept = self.home.path().join("kept");
        fs::create_dir(&kept).unwrap();
        let script = self.home.path().join("docker-credential-filed");
        fs::copy(helper_fixture(), &script).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        kept
    }
}

fn helper_fixture() -> PathBuf {
    let file = "fixtures/docker-config/helpers/docker-credential-filed";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn basic() -> Login {
    Login::Basic { user: "robot$ann".to_owned(), password: PASSWORD.to_owned() }
}

fn token() -> Login {
    Login::Token { login: Some(("robot$ann".to_owned(), PASSWORD.to_owned())) }
}

/// A registry that wants `login` and answers at `/v2/`, with an image.
fn registry(login: Login) -> (FaultyRegistry, String) {
    let registry = FaultyRegistry::start();
    registry.serve("/v2/", "application/json", None, Body::from(b"{}".to_vec()));
    let reference = registry.add_new(&Image::small());
    registry.require(login);
    (registry, reference)
}

#[test]
fn a_login_is_proved_kept_used_and_forgotten() {
    for login in [basic(), token()] {
        let (registry, reference) = registry(login);
        let user = User::new();
        user.pull(&reference).ended_with(4);
        let outcome = user.log_in(&registry.authority(), PASSWORD).succeeded();
        assert!(outcome.stdout.starts_with("logged in to 127.0.0.1:"), "{}", outcome.stdout);
        let mode = fs::metadata(user.config()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        user.pull(&reference).succeeded();
        user.run(&["logout", &registry.authority()], "").succeeded();
        assert_eq!(user.content(), serde_json::json!({"auths": {}}));
        user.pull(&reference).ended_with(4);
    }
}

#[test]
fn a_wrong_password_is_refused_and_nothing_is_kept() {
    for login in [basic(), token()] {
        let (registry, _) = registry(login);
        let user = User::new();
        user.log_in(&registry.authority(), "hunter2-wrong").ended_with(4);
        assert!(!user.config().exists());
    }
}

#[test]
fn what_cannot_be_proved_is_not_kept() {
    let user = User::new();
    user.log_in(&dead_authority(), PASSWORD).ended_with(5);
    let (registry, _) = registry(basic());
    registry.always("GET /v2/", Fault::Status(500, Vec::new()));
    user.log_in(&registry.authority(), PASSWORD).ended_with(5);
    assert!(!user.config().exists());
}

#[test]
fn a_registry_that_asks_for_nothing_is_warned_about() {
    let registry = FaultyRegistry::start();
    let body = Body::from(b"{}".to_vec());
    registry.serve("/v2/", "application/json", None, body);
    let outcome = User::new().log_in(&registry.authority(), PASSWORD).succeeded();
    outcome.says("asks for no login");
}

#[test]
fn a_helper_keeps_the_login_where_one_is_configured() {
    let (registry, reference) = registry(basic());
    let user = User::new();
    let kept = user.with_helper();
    fs::write(user.config(), r#"{"credsStore":"filed","x":1}"#).unwrap();
    user.log_in(&registry.authority(), PASSWORD).succeeded();
    assert!(!fs::read_to_string(user.config()).unwrap().contains("auth\""));
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
    user.pull(&reference).succeeded();
    user.run(&["logout", &registry.authority()], "").succeeded();
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    assert_eq!(user.content()["x"], 1);
    user.pull(&reference).ended_with(4);
}

#[test]
fn a_helper_for_one_registry_keeps_the_logins_of_that_one_alone() {
    let ((ours, image), (other, other_image)) = (registry(basic()), registry(basic()));
    let user = User::new();
    let kept = user.with_helper();
    let (ours, other) = (ours.authority(), other.authority());
    let config = serde_json::json!({"credHelpers": {ours.as_str(): "filed"}});
    fs::write(user.config(), config.to_string()).unwrap();
    let kept_by_helper = || -> Vec<String> {
        let files = fs::read_dir(&kept).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    let kept_in_file = || user.content()["auths"].as_object().map_or(0, serde_json::Map::len);

    let outcome = user.log_in(&ours, PASSWORD).succeeded();
    assert!(outcome.stdout.ends_with("kept by docker-credential-filed\n"), "{}", outcome.stdout);
    user.log_in(&other, PASSWORD).succeeded();
    assert_eq!(kept_by_helper(), [ours.replace(':', "_")]);
    let auth = |server: &str| user.content()["auths"][server]["auth"].is_string();
    assert!(!auth(&ours) && auth(&other), "{}", user.content());
    for image in [&image, &other_image] {
        user.pull(image).succeeded();
    }

    user.run(&["logout", &other], "").succeeded();
    assert_eq!(kept_by_helper().len(), 1);
    user.pull(&other_image).ended_with(4);
    user.pull(&image).succeeded();
    let outcome = user.run(&["logout", &ours], "").succeeded();
    assert_eq!(outcome.stdout, format!("logged out of {ours}\n"));
    assert_eq!((kept_by_helper().len(), kept_in_file()), (0, 0));
    assert_eq!(user.content()["credHelpers"], config["credHelpers"]);
    user.pull(&image).ended_with(4);
}

#[test]
fn without_a_server_docker_hub_is_meant_and_reached_where_it_is() {
    const HUB: &str = "registry-1.docker.io";
    let registry = Registry::with_login("ann", PASSWORD);
    let name = unique("app");
    registry.push(&Image::small(), &format!("library/{name}"), "latest");
    // The parameter is for mirrors.
    let proxy = Nginx::proxy(registry.authority(), "if ($arg_ns) { return 400; }");
    let nginx = Nginx::start_tls(&proxy, HUB, Validity::Now);
    let user = User::new();
    let run = |arguments: &[&str]| user.run_behind(&nginx, HUB, arguments);

    run(&["pull", &name]).ended_with(4);
    let outcome = run(&["login", "-u", "ann", "--password-stdin"]).succeeded();
    assert!(outcome.stdout.starts_with("logged in to docker.io as ann;"), "{}", outcome.stdout);
    let auth = BASE64.encode(format!("ann:{PASSWORD}"));
    let key = "https://index.docker.io/v1/";
    assert_eq!(user.content(), serde_json::json!({"auths": {key: {"auth": auth}}}));

    run(&["pull", &name]).succeeded();
    let last = nginx.requests().pop().unwrap();
    assert_eq!((last.status, last.authorization), (200, format!("Basic {auth}")));
    assert!(last.path.starts_with(&format!("/v2/library/{name}/")), "{}", last.path);

    let outcome = user.run(&["logout"], "").succeeded();
    assert_eq!(outcome.stdout, "logged out of docker.io\n");
    assert_eq!(user.content(), serde_json::json!({"auths": {}}));
    run(&["pull", &name]).ended_with(4);
}

#[test]
fn a_certificate_need_not_be_good_in_the_words_of_docker_either() {
    const NAME: &str = "registry.example";
    let registry = Registry::with_login("ann", PASSWORD);
    registry.push(&Image::small(), "team/app", "v1");
    let proxy = Nginx::proxy(registry.authority(), "");
    let nginx = Nginx::start_tls(&proxy, NAME, Validity::Expired);
    let user = User::new();
    let log_in = ["login", "-u", "ann", "--password-stdin", NAME];
    let pull = ["pull", "--retries", "0", "registry.example/team/app:v1"];
    user.run_behind(&nginx, NAME, &log_in).ended_with(5);
    assert_eq!(nginx.requests(), [], "a password may have left");
    user.run_behind(&nginx, NAME, &[&log_in[..], &["--insecure-registry"]].concat()).succeeded();
    user.run_behind(&nginx, NAME, &[&pull[..], &["--skip-verify"]].concat()).succeeded();
    user.run_behind(&nginx, NAME, &pull).ended_with(5);
}

#[test]
fn whoever_reads_the_logins_while_they_are_written_finds_them_whole() {
    let registries: Vec<_> = (0..3).map(|_| registry(basic()).0).collect();
    let user = User::new();
    // Long enough that it is not written in one go.
    let before = serde_json::json!({"auths": {}, "HttpHeaders": {"X-Long": "x".repeat(4 << 20)}});
    fs::write(user.config(), before.to_string()).unwrap();
    let done = AtomicBool::new(false);
    let (path, long) = (user.config(), before.to_string().len());
    let logins_seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&path).unwrap();
                assert!(text.len() >= long, "a file of {} bytes was read", text.len());
                let content: Value = serde_json::from_str(&text).unwrap();
                seen.insert(content["auths"].as_object().unwrap().len());
            }
            seen
        });
        // A failure must not leave the reader behind.
        let outcomes: Vec<_> = registries
            .iter()
            .map(|registry| user.log_in(&registry.authority(), PASSWORD).code)
            .collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(outcomes, [Some(0); 3]);
        reader.join().unwrap()
    });
    assert!(!logins_seen.is_empty());
    assert_eq!(user.content()["auths"].as_object().unwrap().len(), registries.len());
    assert_eq!(user.content()["HttpHeaders"], before["HttpHeaders"]);
}

#[test]
fn logins_that_are_killed_leave_the_old_ones_or_the_new_and_no_copies() {
    let (registry, _) = registry(basic());
    let user = User::new();
    // Long enough that many are killed while they write it.
    let before = serde_json::json!({"auths": {}, "HttpHeaders": {"X-Long": "x".repeat(4 << 20)}});
    fs::write(user.config(), before.to_string()).unwrap();
    for moment in 0..24 {
        let login = user.begin_to_log_in(&registry.authority(), PASSWORD);
        std::thread::sleep(std::time::Duration::from_millis(moment * 2));
        login.signal(Signal::KILL);
        login.wait();
        assert_eq!(user.content()["HttpHeaders"], before["HttpHeaders"], "after {moment}");
        // At most one that had its name already, and which the next login clears up.
        let copies = user.copies();
        assert!(copies.len() <= 2, "{copies:?}");
    }
    user.log_in(&registry.authority(), PASSWORD).succeeded();
    assert_eq!(user.copies(), ["config.json"]);
}

#[test]
fn logins_at_the_same_time_lose_nothing() {
    let registries: Vec<_> = (0..5).map(|_| registry(basic()).0).collect();
    let user = User::new();
    std::thread::scope(|scope| {
        for registry in &registries {
            scope.spawn(|| user.log_in(&registry.authority(), PASSWORD).succeeded());
        }
    });
    assert_eq!(user.content()["auths"].as_object().unwrap().len(), registries.len());
}

#[test]
fn who_cannot_be_asked_is_told_what_to_type() {
    let user = User::new();
    for arguments in [&["login", "localhost:1"][..], &["login", "-u", "me", "localhost:1"]] {
        user.run(arguments, "").ended_with(2).says("--password-stdin");
    }
    user.run(&["login", "-u", "me", "-p", "hunter2", "no registry"], "").ended_with(2);
    user.run(&["login", "-u", "me", "-p", "hunter2", "me:hunter2@host"], "").ended_with(2);
    let outcome = user.run(&["login", "-u", "me", "-p", "hunter2", &dead_authority()], "");
    outcome.ended_with(5).says("other users of this machine can see a password in -p");
    assert!(!user.config().exists());
}

#[test]
fn logging_out_of_where_nobody_is_logged_in_is_fine() {
    let outcome = User::new().run(&["logout", "harbor.example"], "").succeeded();
    assert_eq!(outcome.stdout, "not logged in to harbor.example\n");
}
