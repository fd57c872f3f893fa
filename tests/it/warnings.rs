//! Warnings as scripts see them: each has its code. `docs/codes.md` lists them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::doctor::node_with_kubelet;
use crate::explain::json_of;
use crate::mirrors::{NAMED, write_hosts};
use crate::support::archive::Archive;
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{FaultyRegistry, dead_authority};
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// Sees that an event of `--progress json` warns by this code.
#[track_caller]
fn warns(outcome: &Outcome, code: &str) {
    let events = outcome.events();
    let is_it = |event: &&Value| event["event"] == "warning" && event["code"] == code;
    let event = events.iter().find(is_it).unwrap_or_else(|| panic!("no {code}: {outcome:?}"));
    assert!(!event["message"].as_str().unwrap().is_empty(), "{event}");
}

fn pull(daemon: &Containerd, reference: &str, flags: &[&str]) -> Outcome {
    let json = ["--progress", "json", "-n", &unique("warned")];
    Pullctl::pull(daemon, reference).args(json).args(flags).run()
}

/// The codes in `warnings` of `explain -o json`, on a node whose files are below `root`.
fn codes_of(root: &Path, reference: &str, flags: &[&str]) -> Vec<String> {
    let outcome = Pullctl::new()
        .args(["explain", "-o", "json", "-a", "/nowhere.sock", reference])
        .args(flags)
        .env("PULLCTL_NODE_ROOT", root)
        .run()
        .succeeded();
    let document = json_of(&outcome);
    let warnings = document["warnings"].as_array().unwrap().clone();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

fn write(root: &Path, name: &str, content: &str) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn what_the_nodes_files_hold_is_warned_of_by_code() {
    let root = tempfile::tempdir().unwrap();
    let hosts = root.path().join("certs.d");
    write(&hosts, &format!("{NAMED}/client.key"), "");
    let content = format!(
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '{}'\n\
         headers = {{ authorization = ['x'] }}\n\
         [plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'{NAMED}']\n\
         endpoint = ['http://mirror.example']\n",
        hosts.display()
    );
    let config = write(root.path(), "config.toml", &content).display().to_string();
    let found = codes_of(root.path(), &format!("{NAMED}/a:1"), &["--containerd-config", &config]);
    for code in
        ["cri-will-not-start", "header-not-sent", "mirrors-not-used", "key-without-certificate"]
    {
        assert!(found.iter().any(|known| known == code), "{code}: {found:?}");
    }
    let hosts = hosts.display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &hosts];
    let found = codes_of(root.path(), &format!("{NAMED}:5000/a:1"), &flags);
    assert_eq!(found, ["directory-without-port"]);
}

#[test]
fn what_the_kubelets_files_hold_is_warned_of_by_code() {
    let provider = |more: &str| {
        format!(
            "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders:\n\
             - name: our-provider\n  matchImages: ['{NAMED}']\n  defaultCacheDuration: 1h\n  \
             apiVersion: credentialprovider.kubelet.k8s.io/v1\n{more}"
        )
    };
    let pods = "  tokenAttributes: {requireServiceAccount: true, cacheType: Token, \
                serviceAccountTokenAudience: a}\n";
    let providers = "var/lib/rancher/credentialprovider/config.yaml";
    for (code, file, content) in [
        ("kubelet-settings", "var/lib/kubelet/config.yaml", "kind: [".to_owned()),
        ("credential-provider-settings", providers, provider("  - nonsense\n")),
        ("credential-provider-needs-pod", providers, provider(pods)),
    ] {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), file, &content);
        fs::create_dir_all(root.path().join("var/lib/rancher/credentialprovider/bin")).unwrap();
        let found = codes_of(root.path(), &format!("{NAMED}/a:1"), &["--ignore-containerd-config"]);
        assert_eq!(found, [code], "{content}");
    }
}

#[test]
fn what_was_typed_and_what_lists_hold_is_warned_of_by_code() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let reference = registry.add_new(&Image::small());
    warns(&pull(daemon, &reference, &["-u", "me:hunter2"]).succeeded(), "visible-password");

    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &str| write(folder.path(), name, content).display().to_string();
    let [layout, archive] =
        ["layout", "images.tar"].map(|it| folder.path().join(it).display().to_string());
    let pinned = write("pinned.txt", &format!("{reference} pin\n"));
    let to = |place: &str, list: &str| {
        let flags = ["pull", "--plain-http", "--progress", "json", "--to", place, "-f", list];
        Pullctl::new().args(flags).run().succeeded()
    };
    warns(&to(&format!("oci-archive:{archive}"), &pinned), "pin-without-effect");
    let head = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:\n";
    let container = |image: &str| format!("  - image: {image}\n    name: a\n");
    let template = "'{{inputs.parameters.image}}'";
    let build = "---\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    let containers = [container(&reference), container(template)].concat();
    let content = format!("{head}  containers:\n{containers}{build}");
    let outcome = to(&format!("oci:{layout}"), &write("workflow.yaml", &content));
    for code in ["unknown-kind", "image-passed-over", "kustomization"] {
        warns(&outcome, code);
    }
}

#[test]
fn a_host_that_another_one_stands_in_for_is_warned_of_by_code() {
    let registry = FaultyRegistry::start();
    let repository = unique("passed/image");
    registry.add(&Image::small(), &repository, "v1");
    let hosts = tempfile::tempdir().unwrap();
    let (server, mirror) = (registry.authority(), dead_authority());
    let content = format!("server = \"http://{server}\"\n[host.\"http://{mirror}\"]\n");
    write_hosts(hosts.path(), &content);
    let layout = format!("oci:{}", hosts.path().join("layout").display());
    let directory = hosts.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--progress", "json"];
    let outcome = Pullctl::new()
        .args(["pull", "--to", &layout, &format!("{NAMED}/{repository}:v1")])
        .args(flags)
        .run();
    warns(&outcome.succeeded(), "host-passed-over");
}

/// A node whose kubelet has pulled this image with a pod's login, and wants to see that again.
fn node_that_wants_a_login(reference: &str, id: &str) -> TempDir {
    // Which is content with the room that this machine has.
    let room = "evictionHard:\n  imagefs.available: 1Mi\n";
    let policy = "imagePullCredentialsVerificationPolicy: AlwaysVerify\n";
    let root = node_with_kubelet(&format!("{policy}{room}"));
    let (name, _) = reference.rsplit_once(':').unwrap();
    let record = json!({
        "kind": "ImagePulledRecord", "apiVersion": "kubelet.config.k8s.io/v1alpha1",
        "imageRef": id, "lastUpdatedTime": "2026-11-01T00:00:00Z",
        "credentialMapping": {name: {"kubernetesSecrets": [
            {"namespace": "team", "name": "pull-secret", "uid": "1", "credentialHash": "x"}
        ]}},
    });
    let file = format!("sha256-{}", hex::encode(Sha256::digest(id)));
    let pulled = "var/lib/kubelet/image_manager/pulled";
    write(root.path(), &format!("{pulled}/{file}"), &record.to_string());
    root
}

each_version! {
    fn what_images_hold_is_warned_of_by_code(daemon) {
        let registry = FaultyRegistry::start();
        let packed = |tree: Tree, packing| Layer::pack(&tree.into_tar(), packing);
        let own = || Tree::new().file(&unique("own"), b"");

        let foreign = Recipe::new(vec![packed(own(), Packing::Gzip)]).platform("linux/s390x");
        let foreign = registry.add_new(&foreign.build());
        warns(&pull(daemon, &foreign, &["--no-unpack"]).succeeded(), "platform-mismatch");

        let sparse = own().old_sparse("sparse", 100_000, 4096, b"data");
        let sparse = Recipe::new(vec![packed(sparse, Packing::Gzip)]).build();
        let sparse = registry.add_new(&sparse);
        let direct = ["--unpacker", "direct"];
        warns(&pull(daemon, &sparse, &direct).succeeded(), "old-sparse-file");

        let zstd = Recipe::new(vec![packed(own(), Packing::Zstd)]).family(Family::Docker).build();
        let outcome = pull(daemon, &registry.add_new(&zstd), &direct).succeeded();
        if !daemon.version().is_two() {
            warns(&outcome, "docker-zstd-layer");
        }

        let reference = registry.add_new(&Image::small());
        let outcome = pull(daemon, &reference, &["--pin"]).succeeded();
        if daemon.version() == Version::V1_6 {
            warns(&outcome, "pin-not-reported");
        }
    }

    fn what_archives_hold_and_what_a_kubelet_does_is_warned_of_by_code(daemon) {
        let layer = || Layer::file(&unique("own"), b"");
        let [amd, arm] = ["linux/amd64", "linux/arm64"]
            .map(|platform| Recipe::new(vec![layer()]).platform(platform).build());
        let index = Image::index(Family::Oci, vec![arm, amd.clone()]);
        let name = format!("quay.io/test/{}:v1", unique("partial"));
        let partial = Archive::new().blobs(&amd).blob(&index.root);
        let partial = partial.index(&[(&index, &name)]).build();
        let load = |archive: &[u8], flags: &[&str], root: Option<&Path>| {
            let load = Pullctl::new().on(daemon).args(["load", "--progress", "json"]).args(flags);
            let load = match root {
                Some(root) => load.env("PULLCTL_NODE_ROOT", root),
                None => load,
            };
            load.input(archive).run().succeeded()
        };
        warns(&load(&partial, &["--all-platforms"], None), "platform-left-out");

        let image = Recipe::new(vec![layer()]).build();
        let nameless = Archive::oci(&[(&image, "")]).build();
        warns(&load(&nameless, &[], None), "image-without-name");

        let root = node_with_kubelet("");
        write(root.path(), "var/lib/kubelet/config.yaml", "kind: [");
        warns(&load(&partial, &[], Some(root.path())), "kubelet-unknown");

        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let root = node_that_wants_a_login(&reference, &image.config_digest());
        let outcome = Pullctl::pull(daemon, &reference)
            .args(["--progress", "json"])
            .env("PULLCTL_NODE_ROOT", root.path())
            .run();
        warns(&outcome.succeeded(), "kubelet-wants-login");

        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("bin/policy");
        fs::create_dir(folder.path().join("bin")).unwrap();
        crate::support::install_script(&policy, "exit 1");
        let settings = format!(
            "version = 2\n[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '{}'\n",
            policy.parent().unwrap().display()
        );
        let config = write(folder.path(), "config.toml", &settings).display().to_string();
        let flags = ["--containerd-config", &config, "--ignore-verifiers"];
        warns(&pull(daemon, &reference, &flags).succeeded(), "verifiers-ignored");
    }
}

/// The codes of the `warnings` that are part of this.
fn codes_in(told: &Value) -> Vec<&str> {
    let warnings = told["warnings"].as_array().unwrap_or_else(|| panic!("{told}"));
    warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn what_people_are_warned_of_documents_have_as_well() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let folder = tempfile::tempdir().unwrap();
    let authority = registry.authority();
    let outcome = Pullctl::new()
        .args(["login", "--plain-http", "-u", "ann", "-p", "hunter2", "-o", "json", &authority])
        .env("DOCKER_CONFIG", folder.path())
        .run()
        .succeeded()
        .says("warning: ");
    let document = json_of(&outcome);
    assert_eq!(codes_in(&document), ["visible-password", "untried-login"]);
    assert_eq!(document["file"], folder.path().join("config.json").display().to_string());

    let list = "kind: Workflow\nspec:\n  containers:\n  - {name: a, image: a:1}\n  \
                - {name: b, image: '{{b}}'}\n";
    let list = write(folder.path(), "workflow.yaml", list).display().to_string();
    let outcome = Pullctl::new().args(["refs", "-o", "json", "-f", &list]).run().succeeded();
    assert_eq!(json_of(&outcome)[0]["reference"], "docker.io/library/a:1");
    ["unknown-kind", "image-passed-over"].iter().for_each(|code| warns(&outcome, code));

    // Everything that is asked of a registry reads the hosts' files.
    let image = Image::small();
    let repository = unique("warned/image");
    registry.add(&image, &repository, "v1");
    let server = format!("server = \"http://{authority}\"\nretry = 3\n");
    write_hosts(folder.path(), &server);
    let reference = format!("{NAMED}/{repository}:v1");
    let hosts = folder.path().display().to_string();
    let namespace = unique("warned");
    let run = |command: &[&str]| {
        let flags = ["-n", &namespace, "--ignore-containerd-config", "--hosts-dir", &hosts];
        Pullctl::new().on(daemon).args(command).args(flags).run()
    };
    for command in
        [&["inspect", "--remote", "-o", "json"][..], &["pull", "--dry-run", "-o", "json"]]
    {
        let document = json_of(&run(&[command, &[reference.as_str()][..]].concat()).succeeded());
        assert_eq!(codes_in(&document), ["unknown-setting"], "{command:?}");
    }
    run(&["pull", &reference]).succeeded();
    let outcome = run(&["inspect", "-o", "yaml", "--remote", &reference]).succeeded();
    assert!(outcome.stdout.contains("code: unknown-setting"), "{outcome:?}");
}
