//! `pullctl login` and `logout`: proved, then kept where docker keeps logins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Login, dead_authority};
use crate::support::image::Image;

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
        let path = format!("{}:/usr/bin:/bin", self.home.path().display());
        let command = Pullctl::new().args(arguments).input(input);
        let outcome = command.env("DOCKER_CONFIG", self.home.path()).env("PATH", path).run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
        outcome
    }

    fn log_in(&self, server: &str, password: &str) -> Outcome {
        let flags = ["login", "-vv", "--ignore-containerd-config", "--plain-http"];
        let arguments = ["-u", "robot$ann", "--password-stdin", server];
        self.run(&[&flags[..], &arguments[..]].concat(), password)
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
