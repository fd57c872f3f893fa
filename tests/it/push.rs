//! Images from containerd to real registries: what arrives is what was here, byte by byte, and what is
//! there is not sent.

use std::process::Command;

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cutter::Cutter;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::receiver::Receiver;
use crate::support::registry::Registry;
use crate::support::{each_version, unique};

/// An image with a layer that is sent at once, and one that is not.
fn image() -> Image {
    let layers = [200_000, 5 << 20].map(|size| Layer::noise(&unique("layer"), size));
    Recipe::new(layers.to_vec()).build()
}

/// Puts `image` into `daemon` and answers its name there.
fn bring(daemon: &Containerd, image: &Image) -> String {
    let reference = FaultyRegistry::start().add_new(image);
    Pullctl::pull(daemon, &reference).run().succeeded();
    reference
}

fn push(daemon: &Containerd, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(["push", "--plain-http"]).args(arguments).run()
}

/// The digest that `reference` has in its registry, and the raw manifest, as skopeo sees it.
fn seen_by_skopeo(reference: &str) -> (String, Value) {
    let inspect = |arguments: &[&str]| {
        let output = Command::new("skopeo")
            .args(["inspect", "--tls-verify=false"])
            .args(arguments)
            .arg(format!("docker://{reference}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let digest = inspect(&["--format", "{{.Digest}}"]).trim().to_owned();
    (digest, serde_json::from_str(&inspect(&["--raw"])).unwrap())
}

/// Copies what the registry has to a layout, which reads and hashes each blob of it.
fn copied_by_skopeo(reference: &str) {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("skopeo")
        .args(["copy", "--all", "--src-tls-verify=false", &format!("docker://{reference}")])
        .arg(format!("oci:{}:copy", folder.path().display()))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

each_version! {
    fn an_image_arrives_as_it_is_and_is_not_sent_twice(daemon) {
        let (image, registry) = (image(), Registry::start());
        let name = bring(daemon, &image);
        let to = format!("{}/{}:v1", registry.authority(), unique("team/app"));
        let pushed = push(daemon, &[&name, &to]).succeeded();
        assert!(pushed.stdout.contains(&image.digest()), "{}", pushed.stdout);
        let sent: usize = image.blobs.iter().chain([&image.root]).map(|blob| blob.bytes.len()).sum();
        let event = push(daemon, &["--progress", "json", &name, &to]).succeeded();
        let asked = registry.requests();
        let repeated = &asked[asked.len() - 4..];
        assert!(repeated.iter().all(|line| line.starts_with("HEAD ")), "{asked:?}");
        assert_eq!(seen_by_skopeo(&to).0, image.digest());
        copied_by_skopeo(&to);

        let events = event.events();
        let finished = events.iter().find(|event| event["event"] == "finished").unwrap();
        assert_eq!((&finished["sent_bytes"], &finished["fetched_bytes"]), (&0.into(), &0.into()));
        assert_eq!(finished["reused_bytes"], sent);
    }

    fn the_daemons_own_client_pulls_what_was_pushed(daemon) {
        let (image, registry) = (image(), Registry::start());
        let name = bring(daemon, &image);
        let to = format!("{}/{}:v1", registry.authority(), unique("team/app"));
        push(daemon, &["-q", &name, &to]).succeeded();
        let namespace = unique("other");
        daemon.ctr(&namespace, &["images", "pull", "--plain-http", &to]);
        let listed = daemon.ctr(&namespace, &["images", "ls"]);
        assert!(listed.contains(&image.digest()), "{listed}");
    }
}

#[test]
fn an_index_arrives_with_all_its_platforms() {
    let daemon = Containerd::shared(Version::V2_1);
    let arm = Recipe::new(vec![Layer::file("arm", b"arm")]).platform("linux/arm64/v8").build();
    let image = Image::index(Family::Docker, vec![image(), arm]);
    let reference = FaultyRegistry::start().add_new(&image);
    Pullctl::pull(daemon, &reference).args(["--all-platforms"]).run().succeeded();
    let registry = Registry::start();
    let to = format!("{}/{}:v1", registry.authority(), unique("team/app"));
    push(daemon, &[&reference, &to]).succeeded();
    assert_eq!(seen_by_skopeo(&to).0, image.digest());
    copied_by_skopeo(&to);
}

#[test]
fn what_the_node_has_not_is_named_and_never_pointed_to() {
    let daemon = Containerd::shared(Version::V2_1);
    let other = |name: &str| {
        let layer = Layer::noise(&unique(name), 3000);
        Recipe::new(vec![layer]).platform(&format!("linux/{name}")).build()
    };
    let own = image();
    let images = vec![own.clone(), other("arm64"), other("s390x"), other("ppc64le")];
    let index = Image::index(Family::Oci, images);
    let name = FaultyRegistry::start().add_new(&index);
    let platforms = ["linux/amd64", "linux/arm64", "linux/s390x"];
    let pull = Pullctl::pull(daemon, &name);
    pull.args(platforms.iter().flat_map(|platform| ["--platform", platform])).run().succeeded();

    let registry = Receiver::start();
    let to = registry.name();
    push(daemon, &[&name, &to])
        .ended_with(3)
        .says(&format!("has not all of {name}: parts for linux/ppc64le are missing"))
        .says(&format!("pullctl -n {KUBERNETES} pull --no-unpack --platform linux/ppc64le {name}"));
    assert_eq!(registry.digest_of(&to), None);

    // One platform is its manifest, several are an index of them.
    push(daemon, &["--platform", "linux/amd64", &name, &to]).succeeded();
    assert_eq!(registry.digest_of(&to), Some(own.digest()));
    let two = ["--platform", "linux/s390x", "--platform", "linux/amd64", &name, &to];
    let pushed = push(daemon, &two).succeeded();
    let digest = registry.digest_of(&to).unwrap();
    assert!(pushed.stdout.contains(&digest), "{}", pushed.stdout);
    let manifests = registry.manifests();
    let listed: Vec<&Value> =
        manifests.iter().filter_map(|it| it["manifests"].as_array()).flatten().collect();
    let architectures: Vec<&Value> =
        listed.iter().map(|entry| &entry["platform"]["architecture"]).collect();
    assert_eq!(architectures[..2], ["amd64", "s390x"], "in the order of the index");

    let by_digest = format!("{}@{}", to.rsplit_once(':').unwrap().0, index.digest());
    let chosen = ["--platform", "linux/amd64", &name, &by_digest];
    push(daemon, &chosen).ended_with(2).says("leave the digest out");
}

#[test]
fn layers_that_were_let_go_of_are_named_by_their_platform() {
    let daemon = Containerd::shared(Version::V2_1);
    let image = image();
    let name = bring(daemon, &image);
    daemon.ctr(KUBERNETES, &["content", "rm", &image.layers()[1].digest.to_string()]);
    let registry = Receiver::start();
    let to = registry.name();
    push(daemon, &[&name, &to])
        .ended_with(3)
        .says(&format!("has not all of {name}: parts for linux/amd64 are missing"))
        .says("pull --no-unpack");
    assert!(registry.requests_for("PUT ").iter().all(|put| !put.target.contains("/manifests/")));
}

#[test]
fn an_unknown_name_is_looked_for_under_its_full_one() {
    let daemon = Containerd::shared(Version::V2_1);
    let registry = Receiver::start();
    push(daemon, &["no/such:image", &registry.name()])
        .ended_with(3)
        .says("docker.io/no/such:image")
        .says("images lists");
}

#[test]
fn every_tag_of_a_repository_is_pushed_with_all_tags() {
    let daemon = Containerd::shared(Version::V2_1);
    let (source, repository) = (FaultyRegistry::start(), unique("team/app"));
    let images = [image(), image()];
    for (image, tag) in images.iter().zip(["v1", "v2"]) {
        let name = source.add(image, &repository, tag);
        Pullctl::pull(daemon, &name).run().succeeded();
    }
    let registry = Receiver::start();
    let [from, to] = [source.authority(), registry.authority()]
        .map(|authority| format!("{authority}/{repository}"));
    let pushed = push(daemon, &["--all-tags", &from, &to]).succeeded();
    assert!(pushed.stderr.contains("2 of 2 images pushed"), "{}", pushed.stderr);
    for (image, tag) in images.iter().zip(["v1", "v2"]) {
        assert_eq!(registry.digest_of(&format!("{to}:{tag}")), Some(image.digest()));
    }
    push(daemon, &["--all-tags", &format!("{from}:v1"), &to]).ended_with(2).says("has a tag");
    push(daemon, &["--all-tags", &to]).ended_with(3).says("no tag of");
}

/// What became of a push of one large layer through `cutter`, and where its upload went on.
fn pushed_through(cutter: &Cutter, flags: &[&str]) -> Vec<u64> {
    let daemon = Containerd::shared(Version::V2_1);
    let image = Recipe::new(vec![Layer::noise(&unique("cut"), 24 << 20)]).build();
    let name = bring(daemon, &image);
    let to = format!("{}/{}:v1", cutter.authority(), unique("team/app"));
    let arguments = [flags, &["--progress", "json", &name, &to]].concat();
    let pushed = push(daemon, &arguments).succeeded();
    assert_eq!(cutter.cuts(), 2);
    assert_eq!(seen_by_skopeo(&to).0, image.digest());
    copied_by_skopeo(&to);
    let events = pushed.events();
    let begun = events.iter().filter(|event| event["state"] == "uploading");
    begun.filter_map(|event| event["resumed_bytes"].as_u64()).collect()
}

#[test]
fn an_upload_that_is_cut_before_a_buffering_proxy_goes_on_with_the_piece_that_is_missing() {
    let registry = Registry::start();
    let nginx = Nginx::start(&Nginx::proxy(registry.authority(), ""));
    let cutter = Cutter::start(nginx.authority(), 9 << 20, 2);
    let begun = pushed_through(&cutter, &["--chunk-size", "4MiB"]);
    assert_eq!(begun, [0, 8 << 20, 16 << 20]);
}

#[test]
fn an_upload_that_is_cut_before_docker_registry_begins_anew() {
    // It has a part of what was sent then, and takes nothing more under the name that it gave the upload.
    let registry = Registry::start();
    for flags in [&["--chunk-size", "4MiB"][..], &[]] {
        let cutter = Cutter::start(registry.authority(), 9 << 20, 2);
        let mut begun = pushed_through(&cutter, flags);
        // Who asks before it has seen the break is told of the whole pieces, and refused the next one.
        begun.retain(|&at| at != 8 << 20);
        assert_eq!(begun, [0, 0, 0], "{flags:?}");
    }
}

#[test]
fn a_proxy_that_limits_requests_is_told_of_and_suited_by_smaller_pieces() {
    let daemon = Containerd::shared(Version::V2_1);
    let image = image();
    let name = bring(daemon, &image);
    let registry = Registry::start();
    let nginx = Nginx::start(&format!(
        "location / {{\nproxy_pass http://{};\nproxy_set_header Host $http_host;\n\
         client_max_body_size 1m;\n}}",
        registry.authority()
    ));
    let to = format!("{}/{}:v1", nginx.authority(), unique("team/app"));
    push(daemon, &[&name, &to]).ended_with(1).says("(413)").says("client_max_body_size");
    push(daemon, &["--chunk-size", "512KiB", &name, &to]).succeeded();
    assert_eq!(seen_by_skopeo(&to).0, image.digest());
}

#[test]
fn blobs_of_a_neighbour_are_mounted() {
    let daemon = Containerd::shared(Version::V2_1);
    let (image, registry) = (image(), Registry::start());
    let name = registry.push_new(&image);
    Pullctl::pull(daemon, &name).run().succeeded();
    let to = format!("{}/{}:v1", registry.authority(), unique("team/app"));
    let pushed = push(daemon, &["--progress", "json", &name, &to]).succeeded();
    let asked = registry.requests();
    let sends = |line: &&String| line.starts_with("PUT ") || line.starts_with("PATCH ");
    let sent: Vec<&String> = asked.iter().filter(sends).collect();
    assert_eq!(sent.len(), 2, "a configuration and a manifest: {sent:?}");
    let finished = pushed.events().into_iter().find(|event| event["event"] == "finished").unwrap();
    let documents = image.blobs[0].bytes.len() + image.root.bytes.len();
    assert_eq!(finished["sent_bytes"], documents);
    assert_eq!(seen_by_skopeo(&to).0, image.digest());
}

#[test]
fn the_one_host_with_the_capability_is_pushed_to() {
    let daemon = Containerd::shared(Version::V2_1);
    let image = image();
    let name = bring(daemon, &image);
    let [reader, writer] = [(); 2].map(|()| Receiver::start());
    let hosts = tempfile::tempdir().unwrap();
    let directory = hosts.path().join("hub.example");
    std::fs::create_dir(&directory).unwrap();
    let table = |server: &str, writer: &str| {
        let config = format!(
            "server = \"{server}\"\ncapabilities = [\"pull\", \"resolve\"]\n\
             [host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{writer}",
            reader.authority()
        );
        std::fs::write(directory.join("hosts.toml"), config).unwrap();
        let push = ["push", "--ignore-containerd-config", "--hosts-dir"];
        let push = Pullctl::new().on(daemon).args(push).args([hosts.path()]);
        push.args([&*name, "hub.example/team/app:v1"]).run()
    };
    let server = format!("http://{}", reader.authority());
    let with = format!("[host.\"http://{}\"]\ncapabilities = [\"push\"]\n", writer.authority());
    table(&server, &with).succeeded();
    let there = format!("{}/team/app:v1", writer.authority());
    assert_eq!(writer.digest_of(&there), Some(image.digest()));
    assert!(reader.requests().is_empty());
    assert!(
        writer.requests().iter().all(|request| request.target.contains("ns=hub.example")
            || request.target.contains("_state="))
    );
    table(&server, "")
        .ended_with(1)
        .says("no configured host may be pushed to")
        .says("capability push");
}

#[test]
fn what_was_pushed_is_mounted_by_the_next_push_to_another_repository() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), Registry::start());
    let image = image();
    // Built here: no label tells of a registry.
    let name = format!("example.net/{}:v1", unique("built"));
    let folder = tempfile::tempdir().unwrap();
    let from = FaultyRegistry::start().add_new(&image);
    let archive = folder.path().join("image.tar");
    Pullctl::pull(daemon, &from).run().succeeded();
    Pullctl::new().on(daemon).args(["save", &from, "-o"]).args([&archive]).run().succeeded();
    let load = ["load", "--as", &name, "-i"];
    Pullctl::new().on(daemon).args(load).args([&archive]).run().succeeded();

    let [first, second] =
        ["first", "second"].map(|it| format!("{}/{}:v1", registry.authority(), unique(it)));
    push(daemon, &[&name, &first]).succeeded();
    let before = registry.requests().len();
    push(daemon, &[&name, &second]).succeeded();
    let asked = registry.requests().split_off(before);
    let of_layers = |line: &&String| {
        let line = line.replace("%3A", ":");
        image.layers().iter().any(|layer| line.contains(&layer.digest.to_string()))
    };
    let mounts = asked.iter().filter(of_layers).filter(|line| line.starts_with("POST "));
    assert_eq!(mounts.count(), image.layers().len(), "{asked:?}");
    let sent = asked.iter().filter(|line| line.starts_with("PUT ") || line.starts_with("PATCH "));
    assert!(sent.count() <= 2, "a configuration and a manifest: {asked:?}");
}
