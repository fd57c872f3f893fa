//! `pullctl inspect`: an image in containerd, in its registry, and two side by side.

use pullctl::containerd::{Client, Resource};
use serde_json::{Value, json};

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::image::{Blob, Family, Image, Layer, OCI_MANIFEST, Recipe};
use crate::support::registry::Registry;
use crate::support::{block_on, each_version, unique};

fn inspect(daemon: &Containerd, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(["inspect", "--plain-http"]).args(arguments).run().succeeded()
}

fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// An image whose history tells what made its two layers, and what made none.
fn built(version: &str) -> Image {
    let [base, own] = [unique("base"), unique("own")];
    let history = json!([
        { "created_by": "ADD base", "created": "2026-01-02T03:04:05Z" },
        { "created_by": format!("ENV VERSION={version}"), "empty_layer": true },
        { "created_by": "RUN make\n  install" },
    ]);
    Recipe::new(vec![Layer::file(&base, b"base"), Layer::file(&own, b"own")])
        .config("history", history)
        .config("created", json!("2026-01-02T03:04:06Z"))
        .config(
            "config",
            json!({
                "Env": ["PATH=/bin", format!("VERSION={version}")],
                "Entrypoint": ["/bin/server", "-v"], "Cmd": ["run"], "User": "1000:1000",
                "Labels": { "org.example/team": "shop" },
            }),
        )
        .build()
}

fn with_base_of(image: &Image, version: &str) -> Image {
    let config: Value = serde_json::from_slice(&image.blobs[0].bytes).unwrap();
    let base = Layer {
        blob: image.layers()[0].clone(),
        diff_id: config["rootfs"]["diff_ids"][0].as_str().unwrap().parse().unwrap(),
    };
    let own = Layer::file(&unique("newer"), b"a newer one");
    let environment = json!({ "Env": ["PATH=/bin", format!("VERSION={version}")] });
    Recipe::new(vec![base, own]).config("config", environment).build()
}

/// A signature of `image`, as OCI 1.1 has it.
fn signature(image: &Image) -> Image {
    let mut signature = Recipe::new(Vec::new()).build();
    let empty = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x-signature",
        "config": empty.descriptor(), "layers": [], "subject": image.root.descriptor(),
    });
    signature.root = Blob::new(OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap());
    signature.blobs = vec![empty];
    signature
}

each_version! {
    fn an_image_in_containerd_is_told_with_layers_snapshots_and_who_uses_it(daemon) {
        let registry = Registry::start();
        let image = built("1");
        let arm = Recipe::new(vec![Layer::file(&unique("arm"), b"arm")]).platform("linux/arm64").build();
        let index = Image::index(Family::Oci, vec![image.clone(), arm.clone()]);
        let reference = registry.push_new(&index);
        Pullctl::pull(daemon, &reference).run().succeeded();
        daemon.ctr(KUBERNETES, &["leases", "create", "--id", &unique("unrelated")]);
        let container = unique("container");
        daemon.ctr(KUBERNETES, &["containers", "create", &reference, &container, "/bin/server"]);

        let found = json_of(&inspect(daemon, &["-o", "json", &reference]));
        assert_eq!(found["target"]["digest"], index.digest());
        assert_eq!(found["place"], "containerd's namespace k8s.io");
        assert_eq!(found["names"].as_array().map(Vec::len), Some(3), "{found:#}");
        assert_eq!(found["names"][0]["labels"]["io.cri-containerd.image"], "managed");
        assert_eq!(found["platforms"][0]["platform"], "linux/amd64");
        assert_eq!(found["platforms"][0]["present"], true);
        assert_eq!(found["platforms"][1]["digest"], arm.digest());
        assert_eq!(found["platforms"][1]["present"], false);
        let only = &found["images"][0];
        assert_eq!(only["config"]["digest"], image.config_digest());
        assert_eq!(only["runtime"]["Entrypoint"], json!(["/bin/server", "-v"]));
        assert_eq!(only["runtime"]["User"], "1000:1000");
        assert_eq!(only["runtime"]["Labels"]["org.example/team"], "shop");
        for (position, made_by) in ["ADD base", "RUN make\n  install"].iter().enumerate() {
            let layer = &only["layers"][position];
            assert_eq!(layer["digest"], image.layers()[position].digest.to_string());
            assert_eq!(layer["size_bytes"], image.layers()[position].bytes.len());
            assert_eq!(layer["chain_id"], image.chain_ids()[position]);
            assert_eq!(layer["snapshots"]["overlayfs"], "present", "{found:#}");
            assert_eq!(layer["present"], true);
            assert_eq!(layer["created_by"], *made_by);
        }
        assert_eq!(only["history"][2]["layer"], image.layers()[1].digest.to_string());
        assert_eq!(only["history"][1]["layer"], Value::Null);
        assert_eq!(found["containers"], json!([{ "id": container, "image": reference, "pod": null }]));
        assert_eq!(found["leases"], json!([]));

        // By its ID, and for people.
        let id = &image.config_digest()["sha256:".len()..][..12];
        let said = inspect(daemon, &[id]).stdout;
        for expected in [
            &*reference, &container, "linux/arm64", "not here", "RUN make install", "VERSION=1",
            "blob, overlayfs",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        daemon.ctr(KUBERNETES, &["containers", "rm", &container]);
    }

    fn layers_that_are_not_unpacked_and_leases_are_told(daemon) {
        let registry = Registry::start();
        let image = built("1");
        let reference = registry.push_new(&image);
        Pullctl::pull(daemon, &reference).args(["--no-unpack"]).run().succeeded();
        let lease = unique("lease");
        daemon.ctr(KUBERNETES, &["leases", "create", "--id", &lease]);
        let layer = image.layers()[0].digest.to_string();
        block_on(async {
            let client = Client::connect(&daemon.socket(), KUBERNETES).await.unwrap();
            let blob = Resource::new(Resource::CONTENT, layer);
            client.leases().hold(&lease, &blob).await.unwrap();
        });
        let found = json_of(&inspect(daemon, &["-o", "json", &reference]));
        assert_eq!(found["images"][0]["layers"][0]["snapshots"]["overlayfs"], "absent", "{found:#}");
        assert_eq!(found["leases"][0]["id"], lease);
        assert_eq!(found["leases"][0]["resources"], 1);
        daemon.ctr(KUBERNETES, &["leases", "rm", &lease]);
    }

    fn two_images_are_told_apart_by_layers_and_configuration(daemon) {
        let registry = Registry::start();
        let old = built("1");
        let reference = registry.push(&old, &unique("team/app"), "v1");
        Pullctl::pull(daemon, &reference).run().succeeded();
        // The tag is moved.
        let new = with_base_of(&old, "2");
        let (name, _) = reference.rsplit_once(':').unwrap();
        registry.push(&new, name.split_once('/').unwrap().1, "v1");
        let remote = format!("docker://{reference}");
        let found = json_of(&inspect(daemon, &["-o", "json", &reference, &remote]));
        assert_eq!(found["same_image"], false);
        assert_eq!(found["common_base_layers"], 1);
        assert_eq!(found["only_second"], json!([new.layers()[1].digest.to_string()]));
        assert_eq!(found["only_second_bytes"], new.layers()[1].bytes.len());
        let changed = found["configuration"].as_array().unwrap();
        let version = changed.iter().find(|change| change["member"] == "env VERSION").unwrap();
        assert_eq!((&version["first"], &version["second"]), (&json!("1"), &json!("2")));
        let said = inspect(daemon, &[&reference, &remote]).stdout;
        assert!(said.contains("another one") && said.contains("env VERSION"), "{said}");
        let same = inspect(daemon, &[&reference, &reference]).stdout;
        assert!(same.contains("the same") && same.contains("the configurations say the same"), "{same}");
    }

    fn what_is_not_there_is_named_with_where_it_is(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&Image::small());
        let namespace = unique("elsewhere");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let outcome = Pullctl::new().on(daemon).args(["inspect", &reference]).run();
        outcome.ended_with(3).says(&namespace);
    }
}

/// Nothing but documents is asked for, and no daemon.
#[test]
fn an_image_in_its_registry_is_told_without_pulling_it() {
    let registry = Registry::start();
    let image = built("1");
    let reference = registry.push_new(&image);
    let remote = |arguments: &[&str]| {
        let nowhere = ["-a", "/nowhere/containerd.sock", "inspect", "--plain-http", "--remote"];
        Pullctl::new().args(nowhere).args(arguments).args([&reference]).run().succeeded()
    };
    let found = json_of(&remote(&["-o", "json"]));
    assert_eq!(found["target"]["digest"], image.digest());
    assert_eq!(found["place"], registry.authority());
    assert_eq!(found["images"][0]["layers"][1]["created_by"], "RUN make\n  install");
    assert_eq!(found["images"][0]["layers"][1]["present"], Value::Null);
    let asked = registry.requests();
    let layers = image.layers().iter().map(|layer| layer.digest.to_string());
    for layer in layers {
        assert!(!asked.iter().any(|request| request.contains(&layer)), "{asked:?}");
    }
    let yaml = remote(&["-o", "yaml"]).stdout;
    let expected = format!("digest: \"{}\"", image.digest());
    let plain = format!("digest: {}", image.digest());
    assert!(yaml.contains(&expected) || yaml.contains(&plain), "{yaml}");
    assert!(yaml.contains("RUN make"), "{yaml}");
}

#[test]
fn tags_and_referrers_are_listed() {
    let registry = Registry::start();
    let repository = unique("team/tags");
    let image = Image::small();
    for tag in ["v2", "v1", "latest"] {
        registry.push(&image, &repository, tag);
    }
    let name = format!("{}/{repository}", registry.authority());
    let run = |arguments: &[&str]| {
        let common = ["-a", "/nowhere/containerd.sock", "inspect", "--plain-http"];
        Pullctl::new().args(common).args(arguments).args([&name]).run().succeeded()
    };
    assert_eq!(run(&["--tags"]).stdout, "latest\nv1\nv2\n");
    assert_eq!(json_of(&run(&["--tags", "-o", "json"]))["tags"], json!(["latest", "v1", "v2"]));

    let nothing = run(&["--referrers"]).stdout;
    assert_eq!(nothing, format!("nothing refers to {}\n", image.digest()));
    // docker-registry keeps no list: an index under a tag stands for it.
    let signature = signature(&image);
    let mut entry = signature.root.descriptor();
    entry["artifactType"] = json!("application/x-signature");
    let list = Image::index_of(Family::Oci, vec![entry], vec![signature.clone()]);
    registry.push(&list, &repository, &image.digest().replace(':', "-"));
    let found = json_of(&run(&["--referrers", "-o", "json"]));
    assert_eq!(found["referrers"][0]["digest"], signature.digest());
    assert_eq!(found["referrers"][0]["artifact_type"], "application/x-signature");
    assert!(run(&["--referrers"]).stdout.contains("application/x-signature"));
}
