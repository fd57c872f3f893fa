//! `pullctl check` and `--repair`: blobs, documents, labels, names and snapshots, with damage done by
//! hand.

use pullctl::containerd::{Client, Labels, Prepared, Resource};
use rustix::process::Signal;
use serde_json::Value;

use crate::mirrors::{NAMED, hosts_directory};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::damage::{blob_file, edit_blob, flip_a_bit};
use crate::support::faulty::{Fault, FaultyRegistry, Gate, Login};
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{block_on, each_version, unique};

/// An image of two layers, pulled into a namespace of its own.
struct Pulled<'d> {
    daemon: &'d Containerd,
    namespace: String,
    registry: FaultyRegistry,
    image: Image,
    reference: String,
}

fn image() -> Image {
    let [lower, upper] = ["lower", "upper"].map(unique);
    let packed = |tree: Tree| Layer::pack(&tree.into_tar(), Packing::Gzip);
    let base = Tree::new().file("removed", b"removed").file(&lower, &[7; 3000]);
    Recipe::new(vec![packed(base), packed(Tree::new().whiteout("removed").file(&upper, b"upper"))])
        .build()
}

impl<'d> Pulled<'d> {
    fn new(daemon: &'d Containerd) -> Self {
        Self::of(daemon, image(), &unique("checked"), &[])
    }

    fn of(daemon: &'d Containerd, image: Image, namespace: &str, flags: &[&str]) -> Self {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).args(["-n", namespace]).args(flags).run().succeeded();
        registry.forget_requests();
        Self { daemon, namespace: namespace.to_owned(), registry, image, reference }
    }

    fn check(&self, flags: &[&str]) -> Outcome {
        let common = ["-n", &self.namespace, "check", "--plain-http", "-o", "json"];
        Pullctl::new().on(self.daemon).args(common).args(flags).args([&self.reference]).run()
    }

    /// Finds this and nothing else, and says what it is about.
    #[track_caller]
    fn finds(&self, flags: &[&str], code: &str, subject: &str) {
        let outcome = self.check(flags).ended_with(7);
        let found = findings(&outcome);
        let codes: Vec<&Value> = found.iter().map(|it| &it["code"]).collect();
        assert_eq!(codes, [code], "{outcome:?}");
        assert_eq!(found[0]["subject"], subject, "{outcome:?}");
        let namespace = match self.namespace.as_str() {
            KUBERNETES => String::new(),
            other => format!(" -n {other}"),
        };
        let flags = flags.iter().map(|flag| format!(" {flag}")).collect::<String>();
        let fix = format!("pullctl{namespace} check{flags} --repair {}", self.reference);
        assert_eq!(found[0]["fix"], fix);
        assert_eq!(found[0]["repaired"], false);
        assert!(!found[0]["why"].as_str().unwrap().is_empty());
    }

    /// Mends it, asking the registry for nothing but what `wanted` names, and finds nothing any more.
    #[track_caller]
    fn is_mended(&self, flags: &[&str], wanted: &[&str]) {
        let outcome = self.check(&[flags, &["--repair"]].concat()).succeeded();
        let found = findings(&outcome);
        assert!(!found.is_empty() && found.iter().all(|it| it["repaired"] == true), "{outcome:?}");
        let asked: Vec<String> =
            self.registry.requests().iter().map(|request| request.path.clone()).collect();
        for path in &asked {
            let is_wanted = wanted.iter().any(|digest| path.contains(digest));
            assert!(is_wanted || path == "/v2/", "{path}: {asked:?}");
        }
        for digest in wanted {
            assert!(asked.iter().any(|path| path.contains(digest)), "{digest}: {asked:?}");
        }
        let outcome = self.check(&["--deep"]).succeeded();
        assert!(findings(&outcome).is_empty(), "{outcome:?}");
    }

    fn store(&self) -> Store<'d> {
        Store::new(self.daemon, &self.namespace)
    }

    /// A client whose lease holds the image's blobs and snapshots, whatever other tests have collected.
    fn holding(&self) -> Client {
        let lease = unique("holding");
        block_on(async {
            let client = Client::connect(&self.daemon.socket(), &self.namespace).await.unwrap();
            let leases = client.leases();
            let hour = std::time::Duration::from_secs(3600);
            leases.create(&lease, hour, &Labels::new()).await.unwrap();
            for blob in &self.image.blobs {
                let blob = Resource::new(Resource::CONTENT, blob.digest.to_string());
                leases.hold(&lease, &blob).await.unwrap();
            }
            for chain_id in self.image.chain_ids() {
                let snapshot = Resource::new("snapshots/overlayfs", chain_id);
                leases.hold(&lease, &snapshot).await.unwrap();
            }
            client.with_lease(&lease)
        })
    }
}

fn findings(outcome: &Outcome) -> Vec<Value> {
    let told: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let images = told["images"].as_array().unwrap();
    images.iter().flat_map(|image| image["findings"].as_array().unwrap().clone()).collect()
}

each_version! {
    fn a_flipped_bit_is_found_by_reading_and_the_blob_alone_is_fetched(daemon) {
        let pulled = Pulled::new(daemon);
        let layer = pulled.image.layers()[1].digest.to_string();
        flip_a_bit(daemon, &layer);
        assert!(findings(&pulled.check(&[]).succeeded()).is_empty());
        pulled.finds(&["--deep"], "blob-damaged", &layer);
        pulled.is_mended(&["--deep"], &[&layer]);
        assert_eq!(pulled.store().blob(&layer), pulled.image.layers()[1].bytes);
    }

    fn a_truncated_blob_is_found_without_reading_it(daemon) {
        let pulled = Pulled::new(daemon);
        let layer = pulled.image.layers()[0].digest.to_string();
        edit_blob(daemon, &layer, |bytes| bytes.truncate(100));
        pulled.finds(&[], "blob-truncated", &layer);
        pulled.finds(&["--deep"], "blob-truncated", &layer);
        pulled.is_mended(&[], &[&layer]);
        assert_eq!(pulled.store().blob(&layer), pulled.image.layers()[0].bytes);
    }

    fn an_emptied_blob_and_one_without_its_file_are_mended(daemon) {
        let pulled = Pulled::new(daemon);
        let [lower, upper] = [0, 1].map(|it| pulled.image.layers()[it].digest.to_string());
        edit_blob(daemon, &lower, Vec::clear);
        std::fs::remove_file(blob_file(daemon, &upper)).unwrap();
        let outcome = pulled.check(&[]).ended_with(7);
        let found = findings(&outcome);
        let codes: Vec<&Value> = found.iter().map(|it| &it["code"]).collect();
        assert_eq!(codes, ["blob-truncated", "blob-truncated"], "{outcome:?}");
        pulled.is_mended(&[], &[&lower, &upper]);
    }

    fn damaged_documents_are_found_and_mended_one_after_the_other(daemon) {
        let index = Image::index(Family::Oci, vec![image()]);
        let pulled = Pulled::of(daemon, index, &unique("documents"), &[]);
        let root = pulled.image.digest();
        let manifest = pulled.image.documents[0].digest.to_string();
        let config = pulled.image.blobs[0].digest.to_string();
        for digest in [&root, &manifest, &config] {
            flip_a_bit(daemon, digest);
        }
        pulled.finds(&[], "document-damaged", &root);
        pulled.is_mended(&[], &[&root, &manifest, &config]);
    }

    fn lost_documents_are_fetched_again_one_after_the_other(daemon) {
        let index = Image::index(Family::Oci, vec![image()]);
        let pulled = Pulled::of(daemon, index, &unique("documents"), &[]);
        let root = pulled.image.digest();
        let manifest = pulled.image.documents[0].digest.to_string();
        let config = pulled.image.blobs[0].digest.to_string();
        let _holding = pulled.holding();
        for digest in [&root, &manifest, &config] {
            daemon.ctr(&pulled.namespace, &["content", "rm", digest]);
        }
        pulled.finds(&[], "document-missing", &root);
        pulled.is_mended(&[], &[&root, &manifest, &config]);
    }

    fn what_was_stored_without_being_unpacked_is_told_and_no_finding(daemon) {
        let pulled = Pulled::of(daemon, image(), &unique("packed"), &["--no-unpack"]);
        let outcome = pulled.check(&["--deep"]).succeeded();
        assert!(findings(&outcome).is_empty(), "{outcome:?}");
        assert!(outcome.stdout.contains("not-unpacked"), "{outcome:?}");
    }

    fn a_lost_layer_is_fetched_again_where_it_is_needed(daemon) {
        let pulled = Pulled::of(daemon, image(), &unique("lost"), &["--no-unpack"]);
        let layer = pulled.image.layers()[0].digest.to_string();
        daemon.ctr(&pulled.namespace, &["content", "rm", &layer]);
        pulled.finds(&[], "blob-missing", &layer);
        pulled.is_mended(&[], &[&layer]);
        assert_eq!(pulled.store().blob(&layer), pulled.image.layers()[0].bytes);
    }

    fn layers_that_were_let_go_of_once_they_were_unpacked_are_told_and_no_finding(daemon) {
        let pulled = Pulled::new(daemon);
        for layer in pulled.image.layers() {
            daemon.ctr(&pulled.namespace, &["content", "rm", &layer.digest.to_string()]);
        }
        let outcome = pulled.check(&["--deep"]).succeeded();
        assert!(outcome.stdout.contains("blobs-let-go"), "{outcome:?}");
        assert!(findings(&outcome).is_empty(), "{outcome:?}");
    }

    fn lost_labels_are_named_and_written_anew(daemon) {
        let pulled = Pulled::new(daemon);
        let (manifest, config) = (pulled.image.digest(), pulled.image.config_digest());
        let label = |digest: &str, label: &str| {
            daemon.ctr(&pulled.namespace, &["content", "label", digest, &format!("{label}=")]);
        };
        let before = pulled.store().content();
        let _holding = pulled.holding();
        label(&manifest, "containerd.io/gc.ref.content.l.1");
        pulled.finds(&[], "label-missing", &manifest);
        pulled.is_mended(&[], &[]);
        label(&config, "containerd.io/gc.ref.snapshot.overlayfs");
        pulled.finds(&[], "label-missing", &config);
        pulled.is_mended(&[], &[]);
        assert_eq!(pulled.store().content(), before);
    }

    fn lost_names_are_found_and_the_kubelet_finds_the_image_by_them_again(daemon) {
        let pulled = Pulled::of(daemon, image(), KUBERNETES, &[]);
        assert!(findings(&pulled.check(&[]).succeeded()).is_empty());
        let (name, _) = pulled.reference.rsplit_once(':').unwrap();
        let digest = format!("{name}@{}", pulled.image.digest());
        daemon.ctr(KUBERNETES, &["images", "rm", &digest]);
        pulled.finds(&[], "name-missing", &digest);
        pulled.is_mended(&[], &[]);
        assert_eq!(Cri::new(daemon).image_soon(&digest).id, pulled.image.config_digest());
    }

    fn a_snapshot_without_its_parent_is_replaced(daemon) {
        let pulled = Pulled::of(daemon, image(), &unique("parent"), &["--no-unpack"]);
        let chain = pulled.image.chain_id();
        let (config, client) = (pulled.image.config_digest(), pulled.holding());
        block_on(async {
            let label = ("containerd.io/gc.ref.snapshot.overlayfs".to_owned(), chain.clone());
            let labels = Labels::from([label]);
            client.content().add_labels(&config.parse().unwrap(), &labels).await.unwrap();
            let snapshots = client.snapshots("overlayfs");
            let key = unique("by-hand");
            let prepared = snapshots.prepare(&key, None, &Labels::new()).await.unwrap();
            assert!(matches!(prepared, Prepared::Mounts(_)));
            snapshots.commit(&chain, &key, None, &Labels::new()).await.unwrap();
        });
        let outcome = pulled.check(&[]).ended_with(7);
        let found = findings(&outcome);
        let codes: Vec<&Value> = found.iter().map(|it| &it["code"]).collect();
        assert_eq!(codes, ["snapshot-parent", "snapshot-missing"], "{outcome:?}");
        assert_eq!(found[0]["subject"], chain);
        pulled.is_mended(&[], &[]);
        let snapshots = pulled.store().snapshots();
        assert_eq!(snapshots[&chain].parent, pulled.image.chain_ids()[0], "{snapshots:#?}");
        let shown = pulled.store().with_mounted(&chain, |root| root.join("removed").exists());
        assert!(!shown);
    }

    fn what_nobody_has_any_more_stays_a_finding_and_the_reason_is_told(daemon) {
        let pulled = Pulled::new(daemon);
        let layer = pulled.image.layers()[1].digest.to_string();
        flip_a_bit(daemon, &layer);
        pulled.registry.always(&layer, crate::support::faulty::Fault::Status(404, Vec::new()));
        let outcome = pulled.check(&["--deep", "--repair"]).ended_with(7);
        let found = findings(&outcome);
        assert_eq!(found[0]["repaired"], false, "{outcome:?}");
        outcome.says("404");
        // Nothing was made worse.
        pulled.finds(&["--deep"], "blob-damaged", &layer);
    }

    fn a_namespace_that_is_none_is_no_sound_one(daemon) {
        let outcome = Pullctl::new().on(daemon).args(["-n", &unique("slip"), "check"]).run();
        outcome.ended_with(3).says("containerd has no namespace slip-");
    }

    fn one_image_is_mended_for_people_in_words(daemon) {
        let pulled = Pulled::new(daemon);
        let layer = pulled.image.layers()[0].digest.to_string();
        edit_blob(daemon, &layer, |bytes| bytes.truncate(10));
        let check = |flags: &[&str]| {
            let common = ["-n", &pulled.namespace, "check", "--plain-http"];
            Pullctl::new().on(daemon).args(common).args(flags).run()
        };
        let outcome = check(&[]).ended_with(7);
        for said in ["blob-truncated: layer", "why: ", &format!("fix: pullctl -n {} check --repair ", pulled.namespace), "1 image checked, 1 finding"] {
            assert!(outcome.stdout.contains(said), "{said}: {outcome:?}");
        }
        let outcome = check(&["--repair"]).succeeded();
        assert!(outcome.stdout.contains("1 finding, 1 repaired"), "{outcome:?}");
        let events = check(&["--deep", "--progress", "json"]).succeeded().events();
        assert!(events.iter().any(|event| event["state"] == "reading"), "{events:?}");
        let outcome = check(&[]).succeeded();
        assert!(outcome.stdout.contains("1 image checked, nothing is wrong"), "{outcome:?}");
    }
}

/// Where the daemon's files are out of reach, what is missing comes back and what is damaged is said to
/// stay.
#[test]
fn without_the_daemons_files_at_hand_what_is_missing_is_mended_all_the_same() {
    let daemon = Containerd::shared(crate::support::containerd::Version::V2_1);
    let pulled = Pulled::of(daemon, image(), &unique("blind"), &["--no-unpack"]);
    let [lower, upper] = [0, 1].map(|it| pulled.image.layers()[it].digest.to_string());
    let blind = || {
        let common = ["-n", &pulled.namespace, "check", "--plain-http", "--deep", "--repair"];
        Pullctl::blind_to(&daemon.root()).on(daemon).args(common).args([&pulled.reference]).run()
    };
    daemon.ctr(&pulled.namespace, &["content", "rm", &lower]);
    blind().succeeded();
    assert_eq!(pulled.store().blob(&lower), pulled.image.layers()[0].bytes);
    flip_a_bit(daemon, &upper);
    blind().ended_with(7).says("out of reach").says("hint: run pullctl as root");
}

#[test]
fn without_the_daemons_files_at_hand_files_are_not_compared_and_that_is_told() {
    let daemon = Containerd::shared(crate::support::containerd::Version::V2_1);
    let pulled = Pulled::new(daemon);
    let check = ["-n", &pulled.namespace, "check", "--deep", "-o", "json", &pulled.reference];
    let outcome = Pullctl::blind_to(&daemon.root()).on(daemon).args(check).run().succeeded();
    assert!(findings(&outcome).is_empty(), "{outcome:?}");
    assert!(outcome.stdout.contains("not-compared"), "{outcome:?}");
}

/// What is missing comes as a pull would bring it: from the hosts of the node, with its logins.
#[test]
fn a_repair_asks_the_nodes_mirrors_with_its_logins() {
    let daemon = Containerd::shared(crate::support::containerd::Version::V2_1);
    let (image, repository) = (image(), unique("mirrored/image"));
    let mirror = FaultyRegistry::start();
    mirror.add(&image, &repository, "v1");
    mirror.require(Login::Basic { user: "ann".to_owned(), password: "hunter2".to_owned() });
    let content = format!("[host.\"http://{}\"]\n", mirror.authority());
    let (hosts, home) = (hosts_directory(&content), tempfile::tempdir().unwrap());
    let login = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"YW5uOmh1bnRlcjI=\"}}}}}}",
        mirror.authority()
    );
    std::fs::write(home.path().join("config.json"), login).unwrap();
    let (namespace, reference) = (unique("mirrored"), format!("{NAMED}/{repository}:v1"));
    let directory = hosts.path().display().to_string();
    let run = |words: &[&str]| {
        let common = ["-n", &namespace, "--ignore-containerd-config", "--hosts-dir", &directory];
        let pullctl = Pullctl::new().env("DOCKER_CONFIG", home.path()).on(daemon);
        pullctl.args(words).args(common).args([&reference]).run()
    };
    run(&["pull"]).succeeded();
    let layer = image.layers()[1].digest.to_string();
    flip_a_bit(daemon, &layer);
    mirror.forget_requests();
    run(&["check", "--deep", "--repair"]).succeeded();
    let blobs = mirror.requests_for("/blobs/");
    assert!(blobs.iter().any(|it| it.header("authorization").is_some()), "{blobs:?}");
    assert!(blobs.iter().all(|request| request.path.ends_with(&layer)), "{blobs:?}");
    run(&["check", "--deep"]).succeeded();
}

#[test]
fn a_repair_that_is_interrupted_leaves_nothing_behind() {
    let daemon = Containerd::shared(Version::V2_1);
    let pulled = Pulled::new(daemon);
    let layer = pulled.image.layers()[0].digest.to_string();
    edit_blob(daemon, &layer, |bytes| bytes.truncate(10));
    let gate = Gate::new();
    pulled.registry.script(&layer, vec![Some(Fault::Stall(1, gate.clone()))]);
    let flags = ["-n", &pulled.namespace, "check", "--plain-http", "--repair", &pulled.reference];
    let running = Pullctl::new().on(daemon).args(flags).spawn();
    gate.wait_until_reached();
    let store = Store::new(daemon, &pulled.namespace);
    assert_eq!(store.leases().len(), 1);
    running.signal(Signal::INT);
    running.wait().ended_with(130).says("interrupted");
    gate.open();
    assert_eq!(store.leases().len(), 0, "{:?}", store.leases());
    pulled.is_mended(&[], &[&layer]);
}
