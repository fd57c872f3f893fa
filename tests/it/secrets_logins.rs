//! No secret in any output, from the login to the logout: what is typed, stored and taken from helpers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use crate::secrets::{PASSWORD, assert_hidden, basic, sent, token};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::faulty::{FaultyRegistry, Login, dead_authority};
use crate::support::image::Image;
use crate::support::{one_version, unique};

/// A user with a docker configuration, who says more to each command than it needs.
struct User {
    daemon: &'static Containerd,
    home: TempDir,
    registry: FaultyRegistry,
    reference: String,
}

impl User {
    fn new(daemon: &'static Containerd, login: Login) -> Self {
        let registry = FaultyRegistry::start();
        let reference = registry.add(&Image::small(), &unique("test/image"), "v1");
        registry.require(login);
        Self { daemon, home: tempfile::tempdir().unwrap(), registry, reference }
    }

    /// Runs a command, which must end with `code` and show nothing that is secret.
    #[track_caller]
    fn run(&self, arguments: &[&str], input: &str, code: i32) -> Outcome {
        let path = format!("{}:/usr/bin:/bin", self.home.path().display());
        let outcome = Pullctl::new()
            .on(self.daemon)
            .args(arguments)
            .args(["-vv"])
            .input(input)
            .env("DOCKER_CONFIG", self.home.path())
            .env("PATH", path)
            .env("RUST_LOG", "trace")
            .run();
        assert_hidden(&format!("{arguments:?}"), &outcome, &sent(&self.registry.requests()));
        outcome.ended_with(code)
    }

    #[track_caller]
    fn log_in(&self, password: &str, code: i32) -> Outcome {
        let server = self.registry.authority();
        let flags = ["login", "--http-trace", "--ignore-containerd-config", "--plain-http"];
        let arguments = ["-u", "robot$ann", "--password-stdin", &server];
        self.run(&[&flags[..], &arguments].concat(), password, code)
    }

    fn config(&self, content: &str) {
        fs::write(self.home.path().join("config.json"), content).unwrap();
    }

    fn helper(&self, name: &str, script: &str) {
        let path = self.home.path().join(format!("docker-credential-{name}"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

one_version! {
    fn no_command_shows_a_secret_from_the_login_to_the_logout(daemon) {
        for login in [basic, token] {
            let user = User::new(daemon, login("robot$ann".to_owned(), PASSWORD.to_owned()));
            let (server, reference) = (user.registry.authority(), user.reference.as_str());
            user.log_in("hunter2-wrong", 4);
            user.log_in(PASSWORD, 0);
            let typed =
                ["login", "--http-trace", "--plain-http", "-u", "robot$ann", "-p", PASSWORD];
            user.run(&[&typed[..], &[&server]].concat(), "", 0);
            user.run(&[&typed[..], &[&dead_authority()]].concat(), "", 5);
            let pull = ["pull", "--plain-http", "--http-trace", "--progress", "json", reference];
            user.run(&pull, "", 0);
            user.run(&["explain", reference], "", 0).succeeded();
            user.run(&["images"], "", 0);
            user.run(&["images", "-o", "json"], "", 0);
            user.run(&["rm", reference], "", 0);
            user.run(&["completion", "bash"], "", 0);
            user.run(&["logout", &server], "", 0);
            user.run(&pull, "", 4);
        }
    }

    fn what_is_typed_in_the_wrong_place_is_not_repeated(daemon) {
        let user = User::new(daemon, basic("robot$ann".to_owned(), PASSWORD.to_owned()));
        let typed = format!("robot$ann:{PASSWORD}@{}", user.registry.authority());
        user.run(&["login", "-u", "me", "-p", PASSWORD, &typed], "", 2);
        user.run(&["logout", &typed], "", 2);
        for scheme in ["", "https://"] {
            let reference = format!("{scheme}me:hunter2@{}", user.reference);
            user.run(&["pull", &reference], "", 2);
            user.run(&["explain", &reference], "", 2);
            user.run(&["rm", &reference], "", 3);
        }
    }

    fn a_credential_helper_that_complains_does_not_give_the_login_away(daemon) {
        let user = User::new(daemon, basic("robot$ann".to_owned(), PASSWORD.to_owned()));
        user.config(r#"{"credsStore": "echoing"}"#);
        user.helper("echoing", "#!/bin/sh\necho \"cannot $1 $(cat)\"\nexit 1\n");
        user.log_in(PASSWORD, 4).says("docker-credential-echoing store failed: exit status: 1");
    }
}
