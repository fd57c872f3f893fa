//! No secret in any output: every command, with every kind of login that it takes, as talkative as
//! it can be, where all goes well and where it does not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{Fault, FaultyRegistry, Login, Request, dead_authority};
use crate::support::image::Image;
use crate::support::secrets::needles;
use crate::support::unique;

/// Holds what has another form in a URL, in JSON, and in a form.
pub(crate) const PASSWORD: &str = "hunter2/+:more";

/// What people write for `robot$ann` and [`PASSWORD`] into `auth`.
fn auth() -> String {
    BASE64.encode(format!("robot$ann:{PASSWORD}"))
}

/// All that a request carried.
fn carried(request: &Request) -> String {
    let headers: String = request.headers.values().map(|value| format!("{value}\n")).collect();
    format!("{headers}{}\n{}", request.query, request.body)
}

/// What registries were sent to know a client by, and it is not told to people: tokens above all.
pub(crate) fn sent(requests: &[Request]) -> Vec<String> {
    requests
        .iter()
        .filter_map(|request| request.header("authorization")?.split_once(' '))
        .map(|(_, proof)| proof.trim_end_matches('=').to_owned())
        .collect()
}

#[track_caller]
pub(crate) fn assert_hidden(what: &str, outcome: &Outcome, sent: &[String]) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for needle in needles().iter().chain(sent) {
        assert!(!said.contains(needle.as_str()), "{what} shows {needle}: {said}");
    }
}

/// A registry that is reached with a secret, or fails to be.
struct Scene {
    registry: FaultyRegistry,
    /// Others that it leads to.
    others: Vec<FaultyRegistry>,
    reference: String,
    /// Flags that `pull` and `explain` both take.
    flags: Vec<String>,
    variables: Vec<(&'static str, String)>,
    /// The files that the flags and variables name.
    directory: TempDir,
}

impl Scene {
    fn new(login: Option<Login>) -> Self {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        login.into_iter().for_each(|login| registry.require(login));
        let (others, variables) = (Vec::new(), Vec::new());
        let flags = vec!["--plain-http".to_owned()];
        let directory = tempfile::tempdir().unwrap();
        Self { registry, others, reference, flags, variables, directory }
    }

    /// A registry that knows [`PASSWORD`], or another one.
    fn with_password(works: bool, login: fn(String, String) -> Login) -> Self {
        let known = if works { PASSWORD } else { "another" };
        Self::new(Some(login("robot$ann".to_owned(), known.to_owned())))
    }

    /// Writes a file; what it says of `REGISTRY` is said of the scene's.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content.replace("REGISTRY", &self.registry.authority())).unwrap();
        path.display().to_string()
    }

    fn flag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.flags.extend([name.to_owned(), value.into()]);
        self
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// With a docker configuration of this content.
    fn with_docker_config(self, content: &str) -> Self {
        self.file("config.json", content);
        let directory = self.directory.path().display().to_string();
        self.variable("DOCKER_CONFIG", directory)
    }

    /// With an image of `registry.example`, which must be told where that is.
    fn under_another_name(mut self) -> Self {
        let repository = self.reference.split_once('/').unwrap().1;
        self.reference = format!("registry.example/{repository}");
        self
    }

    /// With this `hosts.toml` for it.
    fn with_hosts(self, content: &str) -> Self {
        self.file("hosts/registry.example/hosts.toml", content);
        let directory = self.directory.path().join("hosts").display().to_string();
        self.flag("--hosts-dir", directory)
    }

    fn run(&self, command: &[&str]) -> Outcome {
        self.run_on(None, command)
    }

    fn run_on(&self, daemon: Option<&Containerd>, command: &[&str]) -> Outcome {
        let pullctl = daemon.map_or_else(Pullctl::new, |daemon| Pullctl::new().on(daemon));
        let mut pullctl = pullctl.args(command).args(&self.flags).env("RUST_LOG", "trace");
        if !self.flags.iter().any(|flag| flag == "--containerd-config") {
            pullctl = pullctl.args(["--ignore-containerd-config"]);
        }
        for (name, value) in &self.variables {
            pullctl = pullctl.env(name, value);
        }
        pullctl.run()
    }

    fn pull(&self, progress: &str) -> Outcome {
        let layout = tempfile::tempdir().unwrap();
        let to = format!("oci:{}", layout.path().join("layout").display());
        let talkative = ["pull", "-vv", "--http-trace", "--progress", progress];
        self.run(&[&talkative[..], &["--retries", "0", "--to", &to, &self.reference]].concat())
    }

    fn requests(&self) -> Vec<Request> {
        let all = std::iter::once(&self.registry).chain(&self.others);
        all.flat_map(FaultyRegistry::requests).collect()
    }
}

pub(crate) fn basic(user: String, password: String) -> Login {
    Login::Basic { user, password }
}

pub(crate) fn token(user: String, password: String) -> Login {
    Login::Token { login: Some((user, password)) }
}

/// A registry that leads to signed URLs at `authority`; `store` serves them.
fn redirecting(authority: String, store: FaultyRegistry) -> Scene {
    let mut scene = Scene::new(None);
    let image = Image::small();
    scene.reference = scene.registry.add_new(&image);
    for blob in &image.blobs {
        let digest = blob.digest.to_string();
        let target = format!("http://me:hunter2@{authority}/{digest}?X-Signature=hunter2");
        scene.registry.always(&format!("/blobs/{digest}"), Fault::Redirect(target));
        let body = blob.bytes.clone().into();
        store.serve(&format!("/{digest}"), "application/octet-stream", None, body);
    }
    scene.others.push(store);
    scene
}

/// Makes a scene that works, or one that does not.
type Arrange = fn(bool) -> Scene;

/// Each kind of secret, and how a pull comes by it.
const SCENES: &[(&str, Arrange)] = &[
    ("a password on the command line, for Basic", |works| {
        Scene::with_password(works, basic).flag("-u", format!("robot$ann:{PASSWORD}"))
    }),
    ("a password on the command line, for tokens", |works| {
        Scene::with_password(works, token).flag("-u", format!("robot$ann:{PASSWORD}"))
    }),
    ("docker's auth", |works| {
        let content = format!(r#"{{"auths": {{"REGISTRY": {{"auth": "{}"}}}}}}"#, auth());
        Scene::with_password(works, token).with_docker_config(&content)
    }),
    ("docker's identitytoken", |works| {
        let scene = Scene::new(Some(Login::Token { login: None }));
        if !works {
            scene.registry.always("/token", Fault::Status(401, Vec::new()));
        }
        let token = r#"{"auths": {"REGISTRY": {"identitytoken": "hunter2-identity"}}}"#;
        scene.with_docker_config(token)
    }),
    ("docker's registrytoken", |works| {
        let scene = Scene::new(Some(Login::Token { login: None }));
        if works {
            scene.registry.accept_token("hunter2-registry");
        } else {
            scene.registry.always("/token", Fault::Status(403, Vec::new()));
        }
        let token = r#"{"auths": {"REGISTRY": {"registrytoken": "hunter2-registry"}}}"#;
        scene.with_docker_config(token)
    }),
    ("a docker configuration that cannot be read as a whole", |works| {
        let entry = format!(r#"{{"REGISTRY": {{"auth": "{}"}}"#, auth());
        // What is not base64 is shown as little as what is.
        let bad = format!(r#""bad.example": {{"auth": "{PASSWORD}"}}"#);
        let end = if works { "}}" } else { "}" };
        Scene::with_password(works, basic)
            .with_docker_config(&format!(r#"{{"auths": {entry}, {bad}{end}"#))
    }),
    ("a credential helper", |works| {
        let scene = Scene::with_password(true, basic);
        let login = format!(r#"{{"ServerURL":"","Username":"robot$ann","Secret":"{PASSWORD}"}}"#);
        let login = if works { login } else { format!("[{login}") };
        let script = scene.file("docker-credential-told", &format!("#!/bin/sh\necho '{login}'\n"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", scene.directory.path().display());
        scene.with_docker_config(r#"{"credsStore": "told"}"#).variable("PATH", path)
    }),
    ("podman's auth.json", |works| {
        let scene = Scene::with_password(works, basic);
        let content = format!(r#"{{"auths": {{"REGISTRY/test": {{"auth": "{}"}}}}}}"#, auth());
        let path = scene.file("podman/auth.json", &content);
        scene.variable("REGISTRY_AUTH_FILE", path)
    }),
    ("a Kubernetes Secret", |works| {
        let scene = Scene::with_password(works, token);
        let authority = scene.registry.authority();
        let logins = format!(
            r#"{{"auths": {{"{authority}": {{"username": "robot$ann", "password": "{PASSWORD}",
                "auth": "{}"}}}}}}"#,
            auth()
        );
        let data = BASE64.encode(logins);
        let secret = format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\ndata:\n  \
             .dockerconfigjson: {data}\n"
        );
        let path = scene.file("secret.yaml", &secret);
        scene.flag("--auth-file", path)
    }),
    ("containerd's own file", |works| {
        let scene = Scene::with_password(works, basic);
        let content = format!(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"REGISTRY\"\
             .auth]\n  username = \"robot$ann\"\n  password = \"{PASSWORD}\"\n"
        );
        let path = scene.file("config.toml", &content);
        scene.flag("--containerd-config", path)
    }),
    ("a header for every registry", |works| {
        let scene = Scene::new(None);
        let value = if works { PASSWORD } else { "hunter2\\n" };
        let content = format!(
            "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry.headers]\n  \
             x-api-key = [\"{value}\"]\n  authorization = [\"hunter2\"]\n"
        );
        let path = scene.file("config.toml", &content);
        scene.flag("--containerd-config", path)
    }),
    ("a header of hosts.toml", |works| {
        let scene = Scene::new(None).under_another_name();
        let end = if works { "}" } else { "]" };
        let content =
            format!("server = \"http://REGISTRY\"\nheader = {{ x-api-key = \"{PASSWORD}\" {end}\n");
        scene.with_hosts(&content)
    }),
    ("a login of hosts.toml", |works| {
        let scene = Scene::new(None).under_another_name();
        let good = "header = { authorization = \"hunter2\" }";
        let refused = "[host.\"http://me:hunter2@mirror.example\"]";
        let login = if works { good } else { refused };
        let content = format!("server = \"http://REGISTRY\"\n{login}\n");
        scene.with_hosts(&content)
    }),
    ("a signed redirect", |works| {
        let store = FaultyRegistry::start();
        let gone = dead_authority();
        redirecting(if works { store.authority() } else { gone }, store)
    }),
    ("a signature that is refused", |works| {
        let store = FaultyRegistry::start();
        if !works {
            store.always("/", Fault::Status(403, Vec::new()));
        }
        redirecting(store.authority(), store)
    }),
    ("a proxy's password", |works| {
        let scene = Scene::new(None).under_another_name();
        let proxy = if works { scene.registry.authority() } else { dead_authority() };
        scene.variable("http_proxy", format!("http://ann:hunter2@{proxy}"))
    }),
];

#[test]
fn no_pull_shows_a_secret_whether_it_succeeds_or_fails() {
    for (name, scene) in SCENES {
        for works in [true, false] {
            let scene = scene(works);
            for progress in ["json", "plain"] {
                let what = format!("{name}, which works: {works}, {progress}");
                let outcome = scene.pull(progress);
                assert_hidden(&what, &outcome, &sent(&scene.requests()));
                assert_eq!(outcome.code == Some(0), works, "{what}: {outcome:?}");
                assert!(!outcome.stderr.is_empty(), "{what}");
            }
            let carried: String = scene.requests().iter().map(carried).collect();
            let in_use = needles().iter().any(|needle| carried.contains(needle.as_str()));
            assert!(in_use || !works, "{name}: nobody was sent the secret: {carried}");
        }
    }
}

#[test]
fn no_explanation_shows_a_secret() {
    for (name, scene) in SCENES {
        for works in [true, false] {
            let scene = scene(works);
            for form in ["json", "text"] {
                let outcome = scene.run(&["explain", "-vv", "-o", form, &scene.reference]);
                assert_hidden(&format!("{name}, which works: {works}"), &outcome, &[]);
                assert!(!outcome.stdout.is_empty() || !outcome.stderr.is_empty(), "{name}");
            }
        }
    }
}

/// A command that is made to use the scene's secret.
type Talk = fn(&Scene, &Containerd) -> Outcome;

/// Every command that takes logins, which [`no_command_that_takes_logins_is_forgotten`] sees to.
const TALKS: &[(&str, Talk)] = &[
    ("pull", |scene, _| scene.pull("plain")),
    ("explain", |scene, _| scene.run(&["explain", "-vv", &scene.reference])),
    ("inspect", |scene, _| {
        scene.run(&["inspect", "-vv", "--http-trace", "--remote", &scene.reference])
    }),
    ("lock", |scene, _| scene.run(&["lock", "-vv", "--http-trace", "-o", "-", &scene.reference])),
    ("save", |scene, _| {
        let archive = scene.directory.path().join("archive.tar").display().to_string();
        let save = ["save", "-vv", "--http-trace", "--retries", "0", "--from", "registry", "-o"];
        scene.run(&[&save[..], &[&archive, &scene.reference]].concat())
    }),
    ("copy", |scene, _| {
        let layout = format!("oci:{}", scene.directory.path().join("copied").display());
        let copy = ["copy", "-vv", "--http-trace", "--retries", "0", &scene.reference, &layout];
        scene.run(&copy)
    }),
    ("push", |scene, daemon| {
        let (namespace, there, _) = stored(daemon, scene);
        let push = ["push", "-vv", "--http-trace", "--retries", "0", &there, &scene.reference];
        scene.run_on(Some(daemon), &[&["-n", &namespace], &push[..]].concat())
    }),
    ("check", |scene, daemon| {
        let (namespace, _, layer) = stored(daemon, scene);
        daemon.ctr(&namespace, &["content", "rm", &layer]);
        let check = ["check", "-vv", "--http-trace", "--repair", &scene.reference];
        scene.run_on(Some(daemon), &[&["-n", &namespace], &check[..]].concat())
    }),
    ("login", |scene, _| {
        let login = ["login", "-vv", "--http-trace", "--plain-http", "-u", "robot$ann", "-p"];
        let server = scene.registry.authority();
        let command = Pullctl::new().args(login).args([PASSWORD, &server]);
        command.env("DOCKER_CONFIG", scene.directory.path()).env("RUST_LOG", "trace").run()
    }),
];

/// An image in a namespace of its own, which is there under the scene's name as well: that namespace,
/// its own name, and its layer's digest.
fn stored(daemon: &Containerd, scene: &Scene) -> (String, String, String) {
    let (open, namespace) = (FaultyRegistry::start(), unique("stored"));
    let image = Image::small();
    let name = open.add_new(&image);
    Pullctl::pull(daemon, &name).args(["-n", &namespace, "--no-unpack"]).run().succeeded();
    daemon.ctr(&namespace, &["images", "tag", &name, &scene.reference]);
    (namespace, name, image.layers()[0].digest.to_string())
}

#[test]
fn no_command_that_takes_logins_is_forgotten() {
    let help = |command: &[&str]| Pullctl::new().args(command).args(["--help"]).run().stdout;
    let all = help(&[]);
    let listed = all.split("Commands:\n").nth(1).unwrap().lines().take_while(|it| !it.is_empty());
    let commands: BTreeSet<&str> =
        listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let takes_logins = |command: &&&str| {
        let help = help(&[command]);
        help.contains("--auth-file") || help.contains("--password")
    };
    let taking: BTreeSet<&str> = commands.iter().filter(takes_logins).copied().collect();
    assert_eq!(taking, TALKS.iter().map(|(command, _)| *command).collect());
}

#[test]
fn no_command_shows_a_secret_that_it_uses() {
    let daemon = Containerd::shared(Version::V2_1);
    // Those that fail wait most of the time before they try again.
    thread::scope(|scope| {
        for (command, talk) in TALKS {
            scope.spawn(move || shows_no_secret(daemon, command, *talk));
        }
    });
}

fn shows_no_secret(daemon: &Containerd, command: &str, talk: Talk) {
    for (name, scene) in SCENES {
        for works in [true, false] {
            let scene = scene(works);
            let outcome = talk(&scene, daemon);
            let what = format!("{command}: {name}, which works: {works}");
            assert_hidden(&what, &outcome, &sent(&scene.requests()));
            assert!(!outcome.stdout.is_empty() || !outcome.stderr.is_empty(), "{what}");
            let is_asking = !matches!(command, "push" | "check" | "login");
            assert!(outcome.code == Some(0) || !works || !is_asking, "{what}: {outcome:?}");
        }
    }
}
