//! Where the files about registry hosts are looked for, and that one with a mistake stops all that
//! would go by it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::mirrors::{NAMED, mirror_and_upstream, pull_by, write_hosts};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::unique;

/// `pullctl pull` of `reference` on a machine with this `/etc`.
fn pull_with_etc(etc: &Path, reference: &str, flags: &[&str]) -> Outcome {
    pull_by(Pullctl::finding(etc, Path::new("/etc")), reference, flags)
}

/// Writes a file of `/etc`, and the directories that it is in.
fn write_etc(etc: &Path, file: &str, content: &str) {
    let path = etc.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn containerds_file_in_its_usual_place_is_obeyed_unless_it_is_to_be_ignored() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    let etc = tempfile::tempdir().unwrap();
    let mirrors = format!("plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"{NAMED}\"");
    let endpoint = format!("endpoint = [\"http://{}\"]", mirror.authority());
    let content = format!("version = 2\n[{mirrors}]\n  {endpoint}\n");
    write_etc(etc.path(), "containerd/config.toml", &content);
    let resolve = format!("{NAMED}:{}", upstream.authority());
    let flags = ["--plain-http", "--resolve", &resolve];
    let ignoring = [&flags[..], &["--ignore-containerd-config"]].concat();
    for (flags, asked, not_asked) in
        [(&flags[..], &mirror, &upstream), (&ignoring, &upstream, &mirror)]
    {
        pull_with_etc(etc.path(), &reference, flags).succeeded();
        assert!(asked.requests().len() >= 3, "{flags:?}");
        assert_eq!(not_asked.requests(), [], "{flags:?}");
        asked.forget_requests();
    }
}

#[test]
fn hosts_files_are_looked_for_in_config_path_and_then_in_the_usual_places() {
    let (image, repository) = (Image::small(), unique("places/image"));
    let reference = format!("{NAMED}/{repository}:v1");
    let etc = tempfile::tempdir().unwrap();
    let plugin = "plugins.\"io.containerd.grpc.v1.cri\".registry";
    let content = format!("version = 2\n[{plugin}]\n  config_path = \"/etc/cri/certs.d\"\n");
    write_etc(etc.path(), "containerd/config.toml", &content);
    let places = ["cri/certs.d", "containerd/certs.d", "docker/certs.d"].map(|place| {
        let registry = FaultyRegistry::start();
        registry.add(&image, &repository, "v1");
        let directory = etc.path().join(place);
        write_hosts(&directory, &format!("server = \"http://{}\"\n", registry.authority()));
        (directory, registry)
    });
    for first in 0..places.len() {
        pull_with_etc(etc.path(), &reference, &[]).succeeded();
        for (place, (directory, registry)) in places.iter().enumerate() {
            let is_asked = !registry.requests().is_empty();
            assert_eq!(is_asked, place == first, "{} without {first}", directory.display());
            registry.forget_requests();
        }
        fs::remove_dir_all(&places[first].0).unwrap();
    }
}

/// Each of `fixtures/hosts/broken` as the directory of `registry.example` in a hosts directory.
fn broken() -> impl Iterator<Item = (String, tempfile::TempDir)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts/broken");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 20, "{cases:?}");
    cases.into_iter().map(|case| {
        let hosts = tempfile::tempdir().unwrap();
        symlink(&case, hosts.path().join(NAMED)).unwrap();
        (case.file_name().unwrap().display().to_string(), hosts)
    })
}

/// Asserts that standard error begins with an error at a line and a column of `hosts/…/hosts.toml`,
/// and that nothing of the secrets in these files is in it.
#[track_caller]
fn assert_tells_the_place(case: &str, hosts: &Path, outcome: &Outcome) {
    let file = hosts.join(NAMED).join("hosts.toml");
    let place = outcome.stderr.strip_prefix(&format!("error: {}:", file.display()));
    let mut parts = place.unwrap_or_default().splitn(3, ':');
    for part in ["line", "column"] {
        let number = parts.next().and_then(|number| number.parse::<usize>().ok());
        assert!(number.is_some_and(|number| number > 0), "{case} has no {part}: {outcome:?}");
    }
    assert!(outcome.stderr.contains("\nhint: "), "{case}: {outcome:?}");
    assert!(!outcome.stderr.contains("hunter2"), "{case}: {outcome:?}");
}

#[test]
fn no_pull_goes_by_a_broken_file_or_past_it() {
    let network = FaultyRegistry::start();
    let proxy = format!("http://{}", network.authority());
    for (case, hosts) in broken() {
        let directory = hosts.path().display().to_string();
        let flags = ["--ignore-containerd-config", "--hosts-dir", &directory];
        let pullctl = Pullctl::new().env("http_proxy", &proxy).env("https_proxy", &proxy);
        let outcome = pull_by(pullctl, &format!("{NAMED}/a"), &flags).ended_with(12);
        assert_tells_the_place(&case, hosts.path(), &outcome);
        assert_eq!(network.requests(), [], "{case}");
    }
    // The proof can fail: without these files the network is asked.
    let pullctl = Pullctl::new().env("https_proxy", &proxy);
    pull_by(pullctl, &format!("{NAMED}/a"), &["--ignore-containerd-config"]).ended_with(5);
    assert_ne!(network.requests(), []);
}

#[test]
fn no_login_is_tried_or_kept_beside_a_broken_file() {
    let network = FaultyRegistry::start();
    let proxy = format!("http://{}", network.authority());
    for (case, hosts) in broken() {
        let home = tempfile::tempdir().unwrap();
        let outcome = Pullctl::new()
            .args(["login", "--ignore-containerd-config", "-u", "me", "--password-stdin", NAMED])
            .args(["--hosts-dir".as_ref(), hosts.path()])
            .input("hunter2")
            .env("DOCKER_CONFIG", home.path())
            .env("http_proxy", &proxy)
            .env("https_proxy", &proxy)
            .run()
            .ended_with(12);
        assert_tells_the_place(&case, hosts.path(), &outcome);
        assert_eq!(network.requests(), [], "{case}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{case}");
    }
}
