//! What `images` says beyond the names: namespaces that are none, names of no use, pins, and what
//! pulls that ended early have left.

use pullctl::containerd::Client;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{block_on, each_version, unique};

fn pullctl(daemon: &Containerd, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(arguments).run()
}

fn leftovers(daemon: &Containerd, namespace: &str) -> Vec<Value> {
    let flags = ["-n", namespace, "images", "--leftovers", "-o", "json"];
    serde_json::from_str(&pullctl(daemon, &flags).succeeded().stdout).unwrap()
}

each_version! {
    fn wide_and_yaml_tell_what_is_there_of_an_image(daemon) {
        let namespace = unique("wide");
        let registry = FaultyRegistry::start();
        let layers = || vec![Layer::noise(&unique("layer"), 100_000)];
        let [whole, packed] = [(); 2].map(|()| Recipe::new(layers()).build());
        let foreign = Recipe::new(layers()).platform("linux/arm64").build();
        let [unpacked, stored, other] = [&whole, &packed, &foreign].map(|it| registry.add_new(it));
        let pull = |reference: &str, flags: &[&str]| {
            let pull = Pullctl::pull(daemon, reference).args(["-n", &namespace]).args(flags);
            pull.run().succeeded();
        };
        pull(&unpacked, &["--pin", "--label", "team=shop"]);
        pull(&stored, &["--no-unpack"]);
        pull(&other, &["--no-unpack", "--platform", "linux/arm64"]);
        let layer = foreign.layers()[0].digest.to_string();
        daemon.ctr(&namespace, &["content", "rm", &layer]);

        let list = |flags: &[&str]| {
            pullctl(daemon, &[&["-n", &namespace, "images"], flags].concat()).succeeded().stdout
        };
        let wide = list(&["-o", "wide"]);
        let row = |reference: &str| -> Vec<String> {
            let line = wide.lines().find(|line| line.starts_with(reference)).unwrap();
            line.split("   ").map(|cell| cell.trim().to_owned()).filter(|it| !it.is_empty()).collect()
        };
        assert_eq!(row(&unpacked)[2], "linux/amd64", "{wide}");
        assert!(row(&unpacked)[4].ends_with("KiB") && row(&unpacked)[5] == "yes", "{wide}");
        assert_eq!(row(&stored)[4..6], ["-", "yes"], "{wide}");
        let [platform, complete] = [2, 5].map(|column| row(&other)[column].clone());
        assert_eq!([platform, complete], ["linux/arm64", "no"], "{wide}");

        let yaml: Value = serde_saphyr::from_str(&list(&["-o", "yaml"])).unwrap();
        let json: Value = serde_json::from_str(&list(&["-o", "json"])).unwrap();
        assert_eq!(yaml, json);

        let found = |filters: &[&str]| -> Vec<String> {
            let filters = filters.iter().flat_map(|filter| ["--filter", *filter]);
            let text = list(&filters.collect::<Vec<_>>());
            text.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        };
        assert_eq!(found(&["complete=false"]), [other.as_str()]);
        assert_eq!(found(&["platform=linux/arm64"]), [other]);
        assert_eq!(found(&["label=team=shop"]), [unpacked.as_str()]);
        assert_eq!(found(&["label=team", "complete=true"]), [unpacked.as_str()]);
        let (_, tag) = stored.split_once('/').unwrap();
        assert_eq!(found(&[&format!("name=*/{tag}")]), [stored]);
        let is_known = daemon.version() != Version::V1_6;
        assert_eq!(found(&["pinned=true"]).contains(&unpacked), is_known);
        assert!(found(&["name=nothing-is-called-so"]).is_empty());
    }

    fn all_namespaces_are_listed_with_their_names(daemon) {
        let reference = FaultyRegistry::start().add_new(&Image::small());
        let namespaces = ["one", "two"].map(unique);
        for namespace in &namespaces {
            Pullctl::pull(daemon, &reference).args(["-n", namespace]).run().succeeded();
        }
        let text = pullctl(daemon, &["images", "--all-namespaces"]).succeeded().stdout;
        assert!(text.starts_with("NAMESPACE "), "{text}");
        let json = pullctl(daemon, &["images", "--all-namespaces", "-o", "json"]).succeeded();
        let list: Vec<Value> = serde_json::from_str(&json.stdout).unwrap();
        for namespace in &namespaces {
            let is_it = |line: &&str| line.starts_with(&format!("{namespace} "));
            assert!(text.lines().find(is_it).unwrap().contains(&reference), "{text}");
            assert!(list.iter().any(|image| image["namespace"] == **namespace));
        }
    }

    fn a_namespace_that_is_none_is_named_with_those_there_are(daemon) {
        let reference = FaultyRegistry::start().add_new(&Image::small());
        Pullctl::pull(daemon, &reference).run().succeeded();
        let outcome = pullctl(daemon, &["-n", "k8s.oi", "images"]).ended_with(3);
        outcome.says("containerd has no namespace k8s.oi").says(KUBERNETES);
    }

    fn a_name_under_which_the_kubelet_finds_nothing_is_marked(daemon) {
        let reference = FaultyRegistry::start().add_new(&Image::small());
        Pullctl::pull(daemon, &reference).run().succeeded();
        let short = unique("short").replace('/', "-") + ":1";
        daemon.ctr(KUBERNETES, &["images", "tag", &reference, &short]);
        let outcome = pullctl(daemon, &["images"]).succeeded();
        let of = |name: &str| {
            let is_it = |line: &&str| line.starts_with(&format!("{name} "));
            outcome.stdout.lines().find(is_it).unwrap_or_else(|| panic!("{outcome:?}")).to_owned()
        };
        assert!(of(&short).contains(" ! "), "{outcome:?}");
        assert!(!of(&reference).contains(" ! "), "{outcome:?}");
        let outcome = outcome.says("the kubelet finds nothing under the names marked with !");
        drop(outcome);
        let filter = format!("name={short}");
        let outcome = pullctl(daemon, &["images", "-o", "json", "--filter", &filter]).succeeded();
        let entries: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let warning = &entries[0]["warnings"][0];
        assert_eq!(warning["code"], "name-not-found-by-kubelet", "{entries}");
        assert!(warning["message"].as_str().unwrap().contains(&short), "{warning}");
        pullctl(daemon, &["rm", &short]).succeeded();
    }

    fn a_name_steers_no_terminal_and_stays_itself_as_json(daemon) {
        let namespace = unique("steering");
        let reference = FaultyRegistry::start().add_new(&Image::small());
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let name = "evil\u{202e}\u{9b}31m\u{2066}name";
        // ctr takes no such name any more; the daemon does.
        block_on(async {
            let images = Client::connect(&daemon.socket(), &namespace).await.unwrap().images();
            let image = images.get(&reference).await.unwrap().unwrap();
            images.put(name, &image.target, &image.labels, None).await.unwrap();
        });
        let steers = |text: &str| text.contains(['\u{202e}', '\u{9b}', '\u{2066}']);
        for form in ["table", "wide", "json"] {
            let listed = pullctl(daemon, &["-n", &namespace, "images", "-o", form]).succeeded();
            assert!(listed.stdout.contains("evil") && !steers(&listed.stdout), "{listed:?}");
            if form == "json" {
                let list: Value = serde_json::from_str(&listed.stdout).unwrap();
                assert!(list[0]["names"].as_array().unwrap().contains(&name.into()), "{list}");
            }
        }
        let missing = pullctl(daemon, &["-n", &namespace, "rm", "no\u{202e}such"]).ended_with(3);
        assert!(!steers(&missing.stderr), "{missing:?}");
        let removed = pullctl(daemon, &["-n", &namespace, "rm", name]).succeeded();
        assert!(removed.stdout.contains("evil") && !steers(&removed.stdout), "{removed:?}");
    }

    fn a_pin_counts_where_the_cri_tells_the_kubelet_of_it(daemon) {
        let namespace = unique("pins");
        let reference = FaultyRegistry::start().add_new(&Image::small());
        let pull = Pullctl::pull(daemon, &reference).args(["-n", &namespace, "--pin"]);
        let pulled = pull.run().succeeded();
        let listed = pullctl(daemon, &["-n", &namespace, "images"]).succeeded();
        if daemon.version() == Version::V1_6 {
            pulled.says("does not tell the kubelet of pins").says("DaemonSet");
            assert!(!listed.stdout.contains("yes"), "{listed:?}");
            listed.says("does not tell the kubelet of pins");
        } else {
            assert_eq!(pulled.stderr.matches("warning:").count(), 0, "{pulled:?}");
            assert!(listed.stdout.contains("yes"), "{listed:?}");
        }
    }

    fn what_a_failed_pull_left_is_shown_and_ended(daemon) {
        let namespace = unique("left");
        assert!(leftovers(daemon, &namespace).is_empty());
        let registry = FaultyRegistry::start();
        let layers = [Layer::noise(&unique("a"), 3 << 20), Layer::noise(&unique("b"), 3 << 20)];
        let image = Recipe::new(layers.to_vec()).build();
        let reference = registry.add_new(&image);
        let last = image.blobs.iter().rfind(|blob| blob.bytes.len() > 1 << 20).unwrap();
        registry.always(&last.digest.to_string(), Fault::Status(404, Vec::new()));
        let pull = Pullctl::pull(daemon, &reference).args(["-n", &namespace]);
        pull.args(["--concurrency", "1"]).run().ended_with(3);

        let left = leftovers(daemon, &namespace);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0]["images"], serde_json::json!([reference]), "{left:?}");
        assert!(left[0]["size_bytes"].as_u64() > Some(1 << 20), "{left:?}");
        assert!(left[0]["expires"].is_string(), "{left:?}");

        let ended = pullctl(daemon, &["-n", &namespace, "rm", "--leftovers"]).succeeded();
        assert_eq!(ended.stdout.trim(), reference);
        assert!(leftovers(daemon, &namespace).is_empty());
    }

    fn a_pull_that_is_ended_before_its_registry_answers_leaves_nothing_to_be_shown(daemon) {
        let namespace = unique("hung");
        let (registry, gate) = (FaultyRegistry::start(), Gate::new());
        let reference = registry.add_new(&Image::small());
        registry.script("/manifests/", vec![Some(Fault::Stall(0, gate.clone()))]);
        let pull = || Pullctl::pull(daemon, &reference).args(["-n", &namespace]);
        let running = pull().spawn();
        gate.wait_until_reached();
        // The lease is taken meanwhile.
        let store = Store::new(daemon, &namespace);
        daemon.wait_until("the lease", || (!store.leases().is_empty()).then_some(()));
        running.signal(Signal::INT);
        running.wait().ended_with(130);
        gate.open();
        assert!(leftovers(daemon, &namespace).is_empty());

        pull().run().succeeded();
        assert!(store.leases().is_empty(), "{:?}", store.leases());
    }
}

#[test]
fn a_password_comes_by_standard_input() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    let (user, password) = ("ann".to_owned(), "hunter2".to_owned());
    registry.require(crate::support::faulty::Login::Basic { user, password });
    let directory = tempfile::tempdir().unwrap();
    let to = format!("oci:{}", directory.path().join("layout").display());
    let pull = |flags: &[&str]| Pullctl::new().args(["pull", "--to", &to, &reference]).args(flags);
    let outcome = pull(&["-u", "ann", "--password-stdin"]).input("hunter2\n").run().succeeded();
    assert!(!outcome.stderr.contains("warning:"), "{outcome:?}");
    let outcome = pull(&["-u", "ann:hunter2"]).run().succeeded();
    let outcome = outcome.says("other users of this machine can see a password in -u");
    assert!(!outcome.stderr.contains("hunter2"), "{outcome:?}");
    pull(&["-u", "ann:x", "--password-stdin"]).input("y\n").run().ended_with(2);
    pull(&["-u", "ann", "--password-stdin", "-f", "-"]).input("y\n").run().ended_with(2);
}
