//! Private images in a Harbor: logins, robots, its own certificate authority, projects that somebody
//! may not see, proxy projects. What is secret is looked for in all that is said, and in all that is
//! sent to somebody else than the one it is for.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::harbor::{ANN, Account, Harbor, NAME, ROBOT, STRANGER};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Access;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// A user of one Harbor, with a docker configuration and a hosts directory.
struct User<'a> {
    harbor: &'a Harbor,
    home: TempDir,
}

impl<'a> User<'a> {
    /// Who has the private authority's certificate where containerd wants it.
    fn new(harbor: &'a Harbor) -> Self {
        let user = Self::without_certificate(harbor);
        let server = format!("server = \"https://{NAME}\"\nca = \"ca.crt\"\n");
        user.configure(NAME, &server);
        user
    }

    fn without_certificate(harbor: &'a Harbor) -> Self {
        let user = Self { harbor, home: tempfile::tempdir().unwrap() };
        fs::create_dir(user.hosts()).unwrap();
        user
    }

    /// Writes the hosts.toml of `domain`, and the authority's certificate beside it.
    fn configure(&self, domain: &str, content: &str) {
        let directory = self.hosts().join(domain);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("hosts.toml"), content).unwrap();
        fs::copy(self.harbor.ca(), directory.join("ca.crt")).unwrap();
    }

    fn hosts(&self) -> PathBuf {
        self.home.path().join("certs.d")
    }

    fn logins(&self) -> PathBuf {
        self.home.path().join("config.json")
    }

    /// Runs `command` with `arguments`, which must not betray anything.
    fn run(&self, command: &str, arguments: &[&str], input: &str) -> Outcome {
        self.run_on(Pullctl::new(), command, arguments, input)
    }

    fn run_on(&self, pullctl: Pullctl, command: &str, arguments: &[&str], input: &str) -> Outcome {
        let outcome = pullctl
            .args([command, "-vv", "--http-trace", "--ignore-containerd-config"])
            .args(["--hosts-dir".into(), self.hosts()])
            .args(["--resolve", &self.harbor.resolve()])
            .args(arguments)
            .env("DOCKER_CONFIG", self.home.path())
            .input(input)
            .run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        for secret in self.secrets() {
            assert!(!said.contains(&secret), "{secret} in: {said}");
        }
        outcome
    }

    /// What must not be shown.
    fn secrets(&self) -> Vec<String> {
        let passwords = [ANN, ROBOT, STRANGER].map(|account| account.password.to_owned());
        let encoded = [ANN, ROBOT, STRANGER].map(|account| account.basic());
        // What every password has, right or wrong, and the base64 of Ann's wrong one.
        let mut secrets = ["hunter2", "YW5uOmh1bnRlcjI"].map(str::to_owned).to_vec();
        secrets.extend(passwords.into_iter().chain(encoded).chain(self.harbor.tokens()));
        secrets
    }

    fn log_in(&self, account: Account) -> Outcome {
        self.log_in_with(account.name, account.password, &[])
    }

    fn log_in_with(&self, name: &str, password: &str, flags: &[&str]) -> Outcome {
        let arguments = ["-u", name, "--password-stdin", NAME];
        self.run("login", &[&arguments[..], flags].concat(), password)
    }

    fn log_out(&self) -> Outcome {
        let logout = Pullctl::new().args(["logout", NAME]);
        logout.env("DOCKER_CONFIG", self.home.path()).run()
    }

    /// Pulls into a layout of its own.
    fn pull(&self, reference: &str, flags: &[&str]) -> Outcome {
        let layout = self.home.path().join(unique("layout"));
        let to = format!("oci:{}", layout.display());
        let arguments = ["--retries", "0", "--to", &to, reference];
        let outcome = self.run("pull", &[&arguments[..], flags].concat(), "");
        let complete = layout.join("index.json").exists();
        assert_eq!(complete, outcome.code == Some(0), "{}", outcome.stderr);
        outcome
    }
}

/// Passwords went to the token service alone, and all that the registries saw was tokens.
#[track_caller]
fn assert_secrets_went_where_they_belong(harbor: &Harbor) {
    let tokens = harbor.tokens();
    for request in harbor.requests() {
        let token = request.authorization.strip_prefix("Bearer ");
        let known = token.is_some_and(|token| tokens.iter().any(|known| known == token));
        assert!(request.authorization.is_empty() || known, "{request:?}");
    }
    for request in harbor.token_requests() {
        let given = request.header("authorization").unwrap_or("Basic ");
        assert!(given.starts_with("Basic "), "{request:?}");
    }
}

each_version! {
    fn a_login_opens_a_private_project_until_the_logout(daemon) {
        let harbor = Harbor::start();
        let image = Image::small();
        let reference = harbor.push(&image, &unique("team/app"));
        let user = User::new(&harbor);
        let pull = || user.run_on(Pullctl::new().on(daemon), "pull", &[&reference], "");
        pull().ended_with(4).says("pullctl login harbor.example");

        let outcome = user.log_in(ANN).succeeded();
        assert!(outcome.stdout.starts_with("logged in to harbor.example as ann"));
        pull().succeeded();
        let json = [reference.as_str(), "--progress", "json"];
        user.run_on(Pullctl::new().on(daemon), "pull", &json, "").succeeded();
        let store = Store::new(daemon, KUBERNETES);
        assert_eq!(store.images()[&reference].target, image.digest());
        assert_secrets_went_where_they_belong(&harbor);

        daemon.ctr(KUBERNETES, &["images", "rm", "--sync", &reference]);
        user.log_out().succeeded();
        pull().ended_with(4).says("pullctl login harbor.example");
        assert!(!store.images().contains_key(&reference));
    }
}

#[test]
fn a_robot_pulls_what_its_project_has() {
    let harbor = Harbor::start();
    let reference = harbor.push(&Image::small(), "team/app");
    let user = User::new(&harbor);
    user.log_in(ROBOT).succeeded();
    user.pull(&reference, &[]).succeeded();
    let robot = format!("Basic {}", ROBOT.basic());
    let asked = harbor.token_requests();
    let last = asked.last().and_then(|request| request.header("authorization"));
    assert_eq!(last, Some(&*robot));
    assert_secrets_went_where_they_belong(&harbor);
}

#[test]
fn without_its_certificate_a_harbor_is_trusted_on_demand_alone() {
    let harbor = Harbor::start();
    let reference = harbor.push(&Image::small(), "team/app");
    let user = User::without_certificate(&harbor);
    let outcome = user.log_in(ANN).ended_with(5).says("certificate signed by an unknown authority");
    outcome.says("/certs.d/harbor.example/hosts.toml (ca = ");
    assert!(!user.logins().exists());
    assert_eq!(harbor.token_requests().len(), 0, "a password may have left");

    user.log_in_with(ANN.name, ANN.password, &["--skip-verify"]).succeeded();
    user.pull(&reference, &[]).ended_with(5).says("--skip-verify");
    user.pull(&reference, &["--skip-verify"]).succeeded();
    assert_secrets_went_where_they_belong(&harbor);
}

#[test]
fn a_wrong_password_is_refused_with_the_way_to_correct_it_and_kept_nowhere() {
    let harbor = Harbor::start();
    let reference = harbor.push(&Image::small(), "team/app");
    let user = User::new(&harbor);
    let outcome = user.log_in_with(ANN.name, "hunter2-wrong", &[]).ended_with(4);
    outcome.says(NAME).says("hint: check the user name and password for harbor.example");
    assert!(!user.logins().exists());

    let outcome = user.pull(&reference, &["-u", "ann:hunter2-wrong"]).ended_with(4);
    outcome.says("login refused").says("hint: check the user name and password");
    assert_secrets_went_where_they_belong(&harbor);
}

#[test]
fn who_is_logged_in_but_no_member_is_told_what_to_ask_for() {
    let harbor = Harbor::start();
    let reference = harbor.push(&Image::small(), "team/app");
    let user = User::new(&harbor);
    user.log_in(STRANGER).succeeded();
    let outcome = user.pull(&reference, &[]).ended_with(4);
    outcome
        .says("access denied")
        .says("the login for harbor.example may not read this repository: ask its owner");
    assert_secrets_went_where_they_belong(&harbor);
}

#[test]
fn a_token_that_the_registry_stops_taking_in_mid_blob_is_replaced() {
    let harbor = Harbor::retiring_a_key();
    let image = Recipe::new(vec![Layer::noise(&unique("long"), 4_000_000)]).build();
    let reference = harbor.push(&image, "team/app");
    let user = User::new(&harbor);
    let login = format!("{}:{}", ANN.name, ANN.password);
    user.pull(&reference, &["-u", &login, "--chunk-size", "256KiB"]).succeeded();

    let layer = format!("/blobs/{}", image.layers()[0].digest);
    let mut asked = harbor.requests();
    asked.retain(|request| request.path.ends_with(&layer));
    assert!(asked.iter().any(|request| request.status == 401), "no token was refused: {asked:?}");
    let served = asked.iter().filter(|request| request.status == 206);
    let served: u64 = served.map(|request| request.bytes).sum();
    // On a slow machine, a chunk may be asked for once more over each connection.
    let length = image.layers()[0].bytes.len() as u64;
    assert!((length..=length + 12 * (256 << 10)).contains(&served), "{served} bytes of {length}");
    assert_eq!(harbor.tokens().len(), 2);
    assert_secrets_went_where_they_belong(&harbor);
}

#[test]
fn a_proxy_project_stands_in_for_the_registry_that_it_caches() {
    let hub = Registry::start();
    let (image, repository) = (Image::small(), unique("library/app"));
    hub.push(&image, &repository, "v1");
    let harbor = Harbor::caching(&hub);
    let user = User::without_certificate(&harbor);
    let server =
        format!("server = \"https://{NAME}/v2/hub\"\noverride_path = true\nca = \"ca.crt\"\n");
    user.configure("hub.example", &server);
    let reference = format!("hub.example/{repository}:v1");
    user.pull(&reference, &[]).succeeded();
    let asked = harbor.requests();
    assert!(asked.iter().all(|request| request.path.starts_with("/v2/hub/")), "{asked:?}");
    assert!(hub.requests().iter().any(|line| line.ends_with("/manifests/v1")));

    // The login is that of the host which is asked, whatever the image is called.
    assert!(
        harbor.token_requests().iter().all(|request| request.header("authorization").is_none())
    );
    let logins = format!("{{\"auths\":{{\"{NAME}\":{{\"auth\":\"{}\"}}}}}}", ANN.basic());
    fs::write(user.logins(), logins).unwrap();
    user.pull(&reference, &[]).succeeded();
    let ann = format!("Basic {}", ANN.basic());
    let asked = harbor.token_requests();
    assert_eq!(asked.last().and_then(|request| request.header("authorization")), Some(&*ann));
    assert_secrets_went_where_they_belong(&harbor);
}

#[test]
fn a_pull_through_cache_serves_what_it_has_when_its_upstream_is_down() {
    let upstream = Registry::start();
    let (image, repository) = (Image::small(), unique("library/app"));
    upstream.push(&image, &repository, "v1");
    let cache = Registry::mirror_of(&upstream);
    let hosts = tempfile::tempdir().unwrap();
    let directory = hosts.path().join("hub.example");
    fs::create_dir(&directory).unwrap();
    let content = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n",
        upstream.authority(),
        cache.authority()
    );
    fs::write(directory.join("hosts.toml"), content).unwrap();
    let reference = format!("hub.example/{repository}:v1");
    let pull = || {
        let layout = hosts.path().join(unique("layout"));
        let pull = ["pull", "--ignore-containerd-config", "--retries", "0"];
        let to = format!("oci:{}", layout.display());
        let outcome = Pullctl::new().args(pull).args(["--to", &to, "--hosts-dir"]);
        outcome.args([hosts.path()]).args([&reference]).run().succeeded();
        let index = fs::read_to_string(layout.join("index.json")).unwrap();
        assert!(index.contains(&image.digest()), "{index}");
    };
    pull();
    cache.wait_until_cached(&image, &repository);
    drop(upstream);
    pull();
    assert!(cache.requests().iter().filter(|line| line.contains("/blobs/")).count() >= 4);
}

#[test]
fn a_member_pushes_and_who_may_only_pull_is_told_so() {
    let daemon = Containerd::shared(Version::V2_1);
    let layers = [200_000, 5 << 20].map(|size| Layer::noise(&unique("pushed"), size));
    let image = Recipe::new(layers.to_vec()).build();
    let name = FaultyRegistry::start().add_new(&image);
    Pullctl::pull(daemon, &name).run().succeeded();
    let harbor = Harbor::start();
    let user = User::new(&harbor);
    let run = |command: &str, arguments: &[&str]| {
        user.run_on(Pullctl::new().on(daemon), command, arguments, "")
    };
    let there = format!("{NAME}/team/app:v1");
    run("push", &[&name, &there]).ended_with(4).says("pullctl login harbor.example");
    let robot = format!("{}:{}", ROBOT.name, ROBOT.password);
    let refused = run("push", &["-u", &robot, &name, &there]).ended_with(4);
    refused.says("push denied (401)").says("ask the project's owner for the right to push");

    user.log_in(ANN).succeeded();
    // The registry behind the proxy says http of its own uploads.
    let pushed = run("push", &[&name, &there]).succeeded();
    assert!(pushed.stdout.contains(&image.digest()), "{}", pushed.stdout);
    user.pull(&there, &[]).succeeded();

    // What another repository there has is mounted, for which the token says both.
    run("pull", &[&there]).succeeded();
    let before = harbor.requests().len();
    run("push", &[&there, &format!("{NAME}/team/copy:v1")]).succeeded();
    let asked = harbor.requests().split_off(before);
    let sent = |request: &&Access| matches!(&*request.method, "PUT" | "PATCH");
    let sent: Vec<&str> = asked.iter().filter(sent).map(|request| &*request.path).collect();
    assert_eq!(sent.len(), 2, "a configuration and a manifest: {sent:?}");
    let scopes = harbor.token_requests();
    let both = |query: &str| query.contains("team%2Fcopy%3A") && query.contains("team%2Fapp%3A");
    assert!(scopes.iter().any(|request| both(&request.query)), "{scopes:?}");
    assert_secrets_went_where_they_belong(&harbor);
}
