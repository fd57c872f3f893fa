//! The stories that end in `ImagePullBackOff`, each from the message to the pull that works: one
//! command names the fix, and it is applied as it is printed. `docs/troubleshooting.md` tells them.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::explain::json_of;
use crate::explain_probe::probe_by;
use crate::mirrors::{NAMED, hosts_directory, pull_by};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Fault, FaultyRegistry, Login};
use crate::support::harbor::{Harbor, NAME, ROBOT, STRANGER};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

/// What is configured, and who is logged in.
struct Admin {
    hosts: TempDir,
    home: TempDir,
    resolve: Vec<String>,
}

impl Admin {
    fn with(hosts: TempDir, resolve: &[String]) -> Self {
        Self { hosts, home: tempfile::tempdir().unwrap(), resolve: resolve.to_vec() }
    }

    /// One whose node trusts `harbor`.
    fn of(harbor: &Harbor) -> Self {
        let hosts = tempfile::tempdir().unwrap();
        let ca = format!("server = \"https://{NAME}\"\nca = {:?}\n", harbor.ca());
        write_into(&hosts.path().join(NAME).join("hosts.toml"), &ca);
        Self::with(hosts, &[harbor.resolve()])
    }

    fn pullctl(&self) -> Pullctl {
        Pullctl::new().env("DOCKER_CONFIG", self.home.path())
    }

    fn resolve(&self) -> Vec<&str> {
        self.resolve.iter().flat_map(|entry| ["--resolve", entry]).collect()
    }

    fn pull(&self, reference: &str) -> Outcome {
        let hosts = self.hosts.path().display().to_string();
        let flags = ["--ignore-containerd-config", "--hosts-dir", &hosts];
        pull_by(self.pullctl(), reference, &[&flags[..], &self.resolve()].concat())
    }

    /// The verdict of a probe.
    fn probe(&self, reference: &str) -> Value {
        let flags = [&["--stall-timeout", "5s"][..], &self.resolve()].concat();
        let outcome = probe_by(self.pullctl(), reference, self.hosts.path(), &flags);
        json_of(&outcome)["probe"]["verdict"].clone()
    }

    /// The fix that a probe names, which the hint of the pull is as well.
    #[track_caller]
    fn fix(&self, reference: &str, code: &str) -> String {
        let verdict = self.probe(reference);
        assert_eq!(verdict["code"], code, "{verdict}");
        let fix = verdict["fix"].as_str().unwrap().to_owned();
        let failed = self.pull(reference);
        assert!(failed.stderr.contains(&fix), "{fix} is not in: {}", failed.stderr);
        fix
    }

    /// Runs the `pullctl login HOST` that a fix names, as somebody.
    fn log_in(&self, fix: &str, user: &str, password: &str, flags: &[&str]) {
        let (_, rest) = fix.split_once("pullctl login ").unwrap_or_else(|| panic!("{fix}"));
        let server = rest.split([' ', ',', ')']).next().unwrap();
        let hosts = self.hosts.path().display().to_string();
        self.pullctl()
            .args(["login", server, "-u", user, "--password-stdin"])
            .args(["--ignore-containerd-config", "--hosts-dir", &hosts])
            .args(self.resolve())
            .args(flags)
            .input(password)
            .run()
            .succeeded();
    }
}

/// The file that a fix names, before `end`.
fn file_in(fix: &str, start: &str, end: &str) -> PathBuf {
    let (_, rest) = fix.split_once(start).unwrap_or_else(|| panic!("no {start} in: {fix}"));
    rest.split(end).next().unwrap().trim().into()
}

/// Writes `line` as the first one of `file`.
fn write_into(file: &Path, line: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let old = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, format!("{line}\n{old}")).unwrap();
}

#[test]
fn a_private_authority_is_known_once_its_file_is_named_where_the_fix_says() {
    let registry = Registry::start();
    let repository = unique("private/image");
    registry.push(&Image::small(), &repository, "v1");
    let nginx = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let resolve = format!("{NAMED}:{}", nginx.authority());
    let admin = Admin::with(tempfile::tempdir().unwrap(), &[resolve]);
    let reference = format!("{NAMED}/{repository}:v1");
    let fix = admin.fix(&reference, "unknown-authority");
    assert!(fix.contains("(ca = \"…\")"), "{fix}");
    let file = file_in(&fix, "authority's file into ", " (ca");
    write_into(&file, &format!("ca = {:?}", nginx.ca()));
    admin.pull(&reference).succeeded();
}

#[test]
fn a_login_that_is_missing_is_made_by_the_command_of_the_fix() {
    let harbor = Harbor::start();
    let reference = harbor.push(&Image::small(), &format!("team/{}", unique("story")));
    let admin = Admin::of(&harbor);
    let fix = admin.fix(&reference, "login-required");
    admin.log_in(&fix, ROBOT.name, ROBOT.password, &[]);
    admin.pull(&reference).succeeded();
}

#[test]
fn a_login_that_may_not_read_the_project_gives_way_to_one_that_may() {
    let harbor = Harbor::start();
    let reference = harbor.push(&Image::small(), &format!("team/{}", unique("story")));
    let admin = Admin::of(&harbor);
    admin.log_in(&format!("pullctl login {NAME}"), STRANGER.name, STRANGER.password, &[]);
    let fix = admin.fix(&reference, "access-denied");
    assert!(fix.contains("may not read this repository"), "{fix}");
    admin.log_in(&fix, ROBOT.name, ROBOT.password, &[]);
    admin.pull(&reference).succeeded();
}

#[test]
fn a_registry_of_plain_http_is_asked_so_once_the_line_of_the_fix_is_written() {
    let registry = Registry::start();
    let repository = unique("plain/image");
    registry.push(&Image::small(), &repository, "v1");
    let (_, port) = registry.authority().split_once(':').unwrap();
    let domain = format!("{NAMED}:{port}");
    let resolve = format!("{NAMED}:{}", registry.authority());
    let admin = Admin::with(tempfile::tempdir().unwrap(), &[resolve]);
    let reference = format!("{domain}/{repository}:v1");
    let fix = admin.fix(&reference, "plain-http");
    let (_, line) = fix.split_once("or write ").unwrap();
    let (line, file) = line.split_once(" into ").unwrap();
    assert_eq!(line, format!("server = \"http://{domain}\""));
    write_into(Path::new(file), line);
    admin.pull(&reference).succeeded();
}

#[test]
fn a_mirror_that_cuts_its_answers_is_taken_out_of_the_file_that_the_fix_names() {
    let (mirror, upstream) = (FaultyRegistry::start(), FaultyRegistry::start());
    let image = Recipe::new(vec![Layer::noise("cut", 100_000)]).build();
    let repository = unique("cut/image");
    mirror.add(&image, &repository, "v1");
    upstream.add(&image, &repository, "v1");
    // As a server that dies while it answers: the manifest too.
    mirror.always("GET /v2/", Fault::Truncate(0));
    let hosts = hosts_directory(&format!("server = \"http://{}\"\n", mirror.authority()));
    let admin = Admin::with(hosts, &[]);
    let reference = format!("{NAMED}/{repository}:v1");
    let fix = admin.fix(&reference, "body-cut");
    let file = file_in(&fix, &format!("take {} out of ", mirror.authority()), "\n");
    // What is left is the registry itself.
    let line = format!("server = \"http://{}\"", upstream.authority());
    fs::write(file, line).unwrap();
    admin.pull(&reference).succeeded();
}

#[test]
fn a_mirror_that_wants_a_login_of_its_own_gets_one_by_the_command_of_the_fix() {
    let mirror = FaultyRegistry::start();
    let repository = unique("mirrored/image");
    mirror.add(&Image::small(), &repository, "v1");
    mirror.require(Login::Basic { user: "ann".to_owned(), password: "hunter2".to_owned() });
    // The registry itself is out of reach, as behind a firewall.
    let server = format!("server = \"http://{}\"\n", crate::support::faulty::dead_authority());
    let hosts = hosts_directory(&format!("{server}[host.\"http://{}\"]\n", mirror.authority()));
    let admin = Admin::with(hosts, &[]);
    let stored = format!("{{\"auths\": {{\"{NAMED}\": {{\"auth\": \"YW5uOmh1bnRlcjI=\"}}}}}}");
    fs::write(admin.home.path().join("config.json"), stored).unwrap();
    let reference = format!("{NAMED}/{repository}:v1");
    let fix = admin.fix(&reference, "login-required");
    admin.log_in(&fix, "ann", "hunter2", &["--plain-http"]);
    admin.pull(&reference).succeeded();
}

#[test]
fn a_name_for_which_no_name_server_answers_is_found_once_it_stands_in_etc_hosts() {
    let registry = Registry::start();
    let repository = unique("silent/image");
    registry.push(&Image::small(), &repository, "v1");
    let (_, port) = registry.authority().split_once(':').unwrap();
    // One that takes questions and has no answers.
    let _silent = UdpSocket::bind("127.0.0.77:53").unwrap();
    let files = tempfile::tempdir().unwrap();
    let [resolv, hosts] = ["resolv.conf", "hosts"].map(|name| files.path().join(name));
    fs::write(&resolv, "nameserver 127.0.0.77\noptions timeout:1 attempts:1\n").unwrap();
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let domain = format!("{NAMED}:{port}");
    let reference = format!("{domain}/{repository}:v1");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(&domain).join("hosts.toml");
    write_into(&file, &format!("server = \"http://{domain}\""));
    let on_node = || Pullctl::with_name_service(&resolv, &hosts);
    let directory = directory.path();
    let outcome = probe_by(on_node(), &reference, directory, &["--stall-timeout", "20s"]);
    let verdict = json_of(&outcome.ended_with(5))["probe"]["verdict"].clone();
    assert_eq!(verdict["code"], "name-server-silent", "{verdict}");
    let fix = verdict["fix"].as_str().unwrap();
    let (_, line) = fix.split_once("/etc/hosts (").unwrap();
    let line = line.split(')').next().unwrap().replace("ADDRESS", "127.0.0.1");
    fs::write(&hosts, format!("127.0.0.1 localhost\n{line}\n")).unwrap();
    let flags = directory.display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &flags];
    let outcome = pull_by(on_node(), &reference, &flags).succeeded();
    assert!(outcome.duration < Duration::from_secs(60));
}
