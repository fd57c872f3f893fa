//! Seeding a node again and again, and what tells of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{Fault, FaultyRegistry};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique, wait_until};

/// How many images the list of an ordinary node has.
const LIST: usize = 10;

fn status(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// A pull of `references` with both files in `directory`, from a list.
fn seeding(daemon: &Containerd, directory: &Path, references: &[&str]) -> Pullctl {
    std::fs::write(directory.join("images.txt"), references.join("\n")).unwrap();
    Pullctl::new()
        .on(daemon)
        .args(["pull", "--progress", "none", "-f"])
        .args([directory.join("images.txt")])
        .args(["--status-file".into(), directory.join("status.json")])
        .args(["--metrics-file".into(), directory.join("pullctl.prom")])
}

each_version! {
    fn a_status_and_metrics_tell_what_a_seeding_came_to(daemon) {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::start();
        let present = registry.push_new(&Image::small());
        let absent = format!("{}/no/such:image", registry.authority());
        let file = directory.path().join("status.json");
        let tell = || Pullctl::new().args(["status"]).args([&file]).run();
        tell().ended_with(3).says("--status-file");

        seeding(daemon, directory.path(), &[&present, &absent]).run().ended_with(11);
        let told = tell().ended_with(11);
        assert!(told.stdout.starts_with("1 of 2 images in place at "), "{told:?}");
        assert!(told.stdout.contains("\n1 failed: not-found"), "{told:?}");
        let metrics = std::fs::read_to_string(directory.path().join("pullctl.prom")).unwrap();
        for line in [
            "pullctl_images_wanted 2",
            "pullctl_images_present 1",
            "pullctl_failures_by_kind{kind=\"not-found\"} 1",
            "pullctl_last_success_timestamp_seconds 0",
        ] {
            assert!(metrics.lines().any(|written| written == line), "{line} in {metrics}");
        }

        seeding(daemon, directory.path(), &[&present]).run().succeeded();
        tell().ended_with(0);
        let success = status(&file).unwrap()["last_success"].clone();
        assert!(success.is_string());
        // One that fails before its first image is noted too, and forgets no success.
        seeding(daemon, directory.path(), &["No/Reference"]).run().ended_with(2);
        tell().ended_with(2);
        let told = status(&file).unwrap();
        assert_eq!(told["last_success"], success);
        assert!(told["error"].as_str().unwrap().contains("images.txt"), "{told}");
    }

    fn an_unchanged_list_costs_the_registry_one_head_an_image_or_nothing(daemon) {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::start();
        let repositories: Vec<String> = (0..LIST).map(|_| unique("unchanged")).collect();
        let references: Vec<String> = repositories
            .iter()
            .map(|repository| {
                let image = Recipe::new(vec![Layer::noise(repository, 1_000)]).build();
                registry.push(&Image::index(Family::Oci, vec![image]), repository, "v1")
            })
            .collect();
        let list: Vec<&str> = references.iter().map(String::as_str).collect();
        let round = |flags: &[&str]| {
            let before = registry.requests().len();
            seeding(daemon, directory.path(), &list).args(flags).run().succeeded();
            let mut requests = registry.requests().split_off(before);
            requests.sort();
            requests
        };
        assert!(round(&[]).len() > LIST);
        let head = |repository: &String| format!("HEAD /v2/{repository}/manifests/v1");
        let mut heads: Vec<String> = repositories.iter().map(head).collect();
        heads.sort();
        assert_eq!(round(&[]), heads);
        assert_eq!(round(&["--policy", "missing"]), Vec::<String>::new());
        // Of a tag that has moved to another image, that image is fetched and no other.
        let moved = Recipe::new(vec![Layer::noise(&unique("moved"), 1_000)]).build();
        registry.push(&moved, &repositories[0], "v1");
        let requests = round(&[]);
        assert!(requests.len() > LIST, "{requests:?}");
        let others = |request: &&String| !request.contains(&format!("/{}/", repositories[0]));
        assert_eq!(requests.iter().filter(others).count(), LIST - 1, "{requests:?}");
    }

    fn a_seeding_goes_on_until_it_is_stopped_and_reads_its_list_anew(daemon) {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::start();
        let reference = format!("{}/late/image:v1", registry.authority());
        let file = directory.path().join("status.json");
        let running = seeding(daemon, directory.path(), &[&reference])
            .args(["--interval", "100ms", "--splay", "1ms"])
            .spawn();
        let seen = |code: u64| status(&file).filter(|told| told["rounds"] != 0 && told["exit_code"] == code);
        daemon.wait_until("a round that finds nothing", || seen(3));
        registry.push(&Image::small(), "late/image", "v1");
        daemon.wait_until("a round that finds the image", || seen(0));
        let other = registry.push_new(&Recipe::new(vec![Layer::noise("other", 100)]).build());
        std::fs::write(directory.path().join("images.txt"), &other).unwrap();
        let is_there = || Store::new(daemon, KUBERNETES).images().contains_key(&other).then_some(());
        daemon.wait_until("the image that was added to the list", is_there);
        running.signal(Signal::TERM);
        let ended = running.wait();
        // Between two rounds that is how it is meant to end; within one it is an interruption.
        assert!(matches!(ended.code, Some(0 | 130)), "{ended:?}");
    }
}

#[test]
fn what_can_be_read_once_only_is_no_list_for_several_rounds() {
    Pullctl::new()
        .args(["pull", "--interval", "1h", "-f", "-"])
        .input("busybox\n")
        .run()
        .ended_with(2)
        .says("put the images into a file");
}

#[test]
fn a_status_that_cannot_be_written_is_told_before_anything_is_pulled() {
    let daemon = Containerd::shared(Version::V2_1);
    let registry = Registry::start();
    let reference = registry.push_new(&Image::small());
    let requests = registry.requests().len();
    Pullctl::pull(daemon, &reference)
        .args(["--status-file", "/no/such/directory/status.json"])
        .run()
        .ended_with(1)
        .says("cannot write /no/such/directory/status.json");
    assert_eq!(registry.requests().len(), requests);
}

#[test]
fn a_failure_is_told_even_where_the_status_of_it_cannot_be_written() {
    let registry = FaultyRegistry::start();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("status");
    std::fs::create_dir(&place).unwrap();
    registry.always("/v2/", Fault::Status(429, vec![("Retry-After", "1".to_owned())]));
    let pull = Pullctl::new()
        .args(["pull", "--to", &format!("oci:{}", directory.path().join("layout").display())])
        .args([Path::new("--status-file"), &place.join("status.json")])
        .args([format!("{}/absent/image:v1", registry.authority())])
        .spawn();
    wait_until("a refusal", || registry.requests_for("/manifests/v1").first().map(drop));
    std::fs::remove_dir_all(&place).unwrap();
    registry.heal();
    pull.wait().ended_with(1).says("404").says("cannot write").says("status.json");
}

#[test]
fn each_node_of_a_fleet_that_a_registry_slows_down_waits_for_as_long_as_it_says() {
    const NODES: usize = 4;
    const PAUSE: Duration = Duration::from_secs(2);
    let registry = FaultyRegistry::start();
    let references = [(); 3].map(|()| {
        let repository = unique("limited");
        registry.add(&Image::small(), &repository, "v1");
        format!("registry.example/{repository}:v1")
    });
    let later = vec![("Retry-After", PAUSE.as_secs().to_string())];
    registry.always("/v2/", Fault::Status(429, later));
    let directory = tempfile::tempdir().unwrap();
    // Each node says which it is.
    let nodes: Vec<_> = (0..NODES)
        .map(|node| {
            let place = directory.path().join(node.to_string());
            let hosts = place.join("registry.example");
            std::fs::create_dir_all(&hosts).unwrap();
            let server = registry.authority();
            let file =
                format!("server = \"http://{server}\"\nheader = {{ x-node = \"{node}\" }}\n");
            std::fs::write(hosts.join("hosts.toml"), file).unwrap();
            Pullctl::new()
                .args(["pull", "--ignore-containerd-config", "--splay", "100ms"])
                .args([Path::new("--hosts-dir"), &place])
                .args(["--to", &format!("oci:{}", place.join("layout").display())])
                .args(&references)
                .spawn()
        })
        .collect();
    // When each tag was asked for by each node.
    let asked = || {
        let mut times: BTreeMap<(String, String), Vec<SystemTime>> = BTreeMap::new();
        for request in registry.requests_for("/manifests/v1") {
            let node = request.header("x-node").unwrap().to_owned();
            times.entry((node, request.path)).or_default().push(request.at);
        }
        times
    };
    let tags = NODES * references.len();
    wait_until("a refusal of each tag to each node", || (asked().len() == tags).then_some(()));
    registry.heal();
    for node in nodes {
        node.wait().succeeded();
    }
    let asked = asked();
    let gap = |pair: &[SystemTime]| pair[1].duration_since(pair[0]).unwrap();
    for (tag, times) in &asked {
        assert!(times.windows(2).map(gap).all(|gap| gap >= PAUSE), "{tag:?}: {times:?}");
    }
    // The last of them may just have been answered well.
    let again = asked.values().filter(|times| times.len() > 1).count();
    assert!(again >= tags - 1, "{asked:?}");
}
