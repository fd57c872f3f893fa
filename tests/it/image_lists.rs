//! Lists of images as people have them: manifests, lists of other tools, and what is wrong with some.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{install_script, one_version, unique};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lists").join(name)
}

fn refs(arguments: &[&str], input: &[u8]) -> Outcome {
    Pullctl::new().args(["refs", "-f", "-"]).args(arguments).input(input).run()
}

one_version! {
    fn the_images_of_manifests_are_pulled(daemon) {
        let registry = FaultyRegistry::start();
        let references = [(); 5].map(|()| registry.add_new(&Image::small()));
        let [init, app, volume, job, custom] = &references;
        let stream = format!(
            "# Source: app/deployment.yaml\napiVersion: apps/v1\nkind: Deployment\nspec:\n  \
             template:\n    spec:\n      initContainers: [{{name: i, image: {init}}}]\n      \
             containers:\n      - {{name: a, image: '{app}'}}\n      - {{name: b, image: {app}}}\n      \
             volumes: [{{name: v, image: {{reference: {volume}}}}}]\n---\n\
             apiVersion: batch/v1\nkind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{spec: \
             {{containers: [{{name: j, image: {job}}}]}}}}}}}}}}\n---\n\
             apiVersion: example.net/v1\nkind: Thing\nspec: {{image: {custom}}}\n"
        );
        Pullctl::new()
            .on(daemon)
            .args(["pull", "--plain-http", "-f", "-"])
            .input(stream)
            .run()
            .succeeded()
            .says("Thing (1 image)");
        let images = Store::new(daemon, KUBERNETES).images();
        for reference in &references {
            assert!(images.contains_key(reference), "{reference}");
        }
        let manifests = app.split_once('/').unwrap().1.replace(":v1", "/manifests/v1");
        assert_eq!(registry.requests_for(&manifests).len(), 1);
    }

    fn options_of_a_line_are_for_its_image_alone(daemon) {
        let registry = FaultyRegistry::start();
        let [plain, pinned, renamed] = [(); 3].map(|()| registry.add_new(&Image::small()));
        let name = format!("registry.k8s.io/test/{}", crate::support::unique("pause"));
        Pullctl::new()
            .on(daemon)
            .args(["pull", "--plain-http", "-f", "-"])
            .input(format!("{plain}\n{pinned} pin\n{renamed} as={name}:3.6\n"))
            .run()
            .succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        let is_pinned = |name: &str| images[name].labels.contains_key("io.cri-containerd.pinned");
        assert!(!is_pinned(&plain) && is_pinned(&pinned));
        assert!(images.contains_key(&format!("{name}:3.6")), "{images:?}");
        assert!(!images.contains_key(&renamed), "{images:?}");
    }

    fn a_configuration_of_a_cluster_is_pulled_by_what_kubeadm_names(daemon) {
        let registry = Registry::start();
        let project = unique("k8s");
        let names = ["kube-apiserver:v1.34.2", "coredns:v1.12.1", "pause:3.10.1"];
        for name in names {
            let (repository, tag) = name.split_once(':').unwrap();
            registry.push(&Image::small(), &format!("{project}/{repository}"), tag);
        }
        let place = format!("{}/{project}", registry.authority());
        let kubeadm = kubeadm(
            r#"test "$1 $2 $3 $4" = "config images list --config" || exit 1
               configuration=$(cat "$5")
               case $configuration in *'kind: Pod'*) echo 'kind Pod' >&2; exit 1 ;; esac
               echo 'W1128 21:18:44.0 1 version.go:109] could not fetch a version' >&2
               repository=$(echo "$configuration" | sed -n 's/^imageRepository: //p')
               for image in kube-apiserver:v1.34.2 coredns:v1.12.1 pause:3.10.1; do
                   echo "$repository/$image"
               done"#,
        );
        let other = registry.push_new(&Image::small());
        let list = format!(
            "apiVersion: v1\nkind: Pod\nspec: {{containers: [{{name: a, image: '{other}'}}]}}\n---\n\
             apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n\
             imageRepository: {place}\nkubernetesVersion: v1.34.2\n"
        );
        let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http", "-f", "-"]);
        pull.env("PATH", &kubeadm.path).input(list.clone()).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for name in names.map(|name| format!("{place}/{name}")).iter().chain([&other]) {
            assert!(images.contains_key(name), "{name}");
        }
        let refs = Pullctl::new().args(["refs", "-f", "-"]).env("PATH", &kubeadm.path);
        let shown = refs.input(list).run().succeeded().stdout;
        assert!(shown.contains("-:5") && shown.contains("ClusterConfiguration"), "{shown}");
    }

    fn an_image_under_five_spellings_is_asked_for_once(daemon) {
        let registry = FaultyRegistry::start();
        let name = unique("spelt");
        registry.add(&Image::small(), &format!("library/{name}"), "latest");
        let hosts = tempfile::tempdir().unwrap();
        let directory = hosts.path().join("docker.io");
        std::fs::create_dir(&directory).unwrap();
        let server = format!("server = \"http://{}\"\n", registry.authority());
        std::fs::write(directory.join("hosts.toml"), server).unwrap();
        let list = format!(
            "{name}\n{name}:latest\nlibrary/{name}\ndocker.io/{name}\n\
             index.docker.io/library/{name}:latest\n"
        );
        let pull = Pullctl::new().on(daemon).args(["pull", "-f", "-", "--hosts-dir"]);
        pull.args([hosts.path()]).input(list).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(images.contains_key(&format!("docker.io/library/{name}:latest")), "{images:?}");
        assert_eq!(registry.requests_for("/manifests/latest").len(), 1);
    }

    fn nothing_of_a_list_with_a_mistake_is_started(daemon) {
        let registry = FaultyRegistry::start();
        let good = registry.add_new(&Image::small());
        let pod = format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: {good}}}]}}\n");
        for (rest, said) in [
            ("---\na: [b\nc: d\n", "not valid YAML"),
            ("---\nkind: Pod\nimage: {{ .Values.image }}\n", "helm template"),
            ("---\napiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: ''}]}\n", "has no image"),
        ] {
            Pullctl::new()
                .on(daemon)
                .args(["pull", "--plain-http", "-f", "-"])
                .input(format!("{pod}{rest}"))
                .run()
                .ended_with(2)
                .says(said);
        }
        assert_eq!(registry.requests(), []);
    }
}

#[test]
fn refs_tell_what_would_be_pulled_and_where_it_is_named() {
    let deployment = fixture("deployment.yaml");
    let outcome =
        Pullctl::new().args(["refs", "-f", deployment.to_str().unwrap()]).run().succeeded();
    let line = outcome.stdout.lines().nth(2).unwrap();
    assert!(line.starts_with("harbor.example.net/shop/web:1.20 "), "{line}");
    assert!(line.contains("deployment.yaml:25 ") && line.contains("Deployment/web"), "{line}");

    let json = Pullctl::new().args(["refs", "-o", "json", "-f", deployment.to_str().unwrap()]);
    let images: Value = serde_json::from_str(&json.run().succeeded().stdout).unwrap();
    assert_eq!(images[1]["places"][0]["line"], 25);
    assert_eq!(images[1]["places"][0]["kind"], "Deployment");
    assert_eq!(images[1]["places"][0]["field"], "container app");
    assert_eq!(images[1]["pull_secrets"][0], "regcred");
    assert_eq!(images[2]["reference"], "docker.io/library/1.20:latest");
}

/// A node with a program of that name.
struct Kubeadm {
    _directory: tempfile::TempDir,
    /// The variable.
    path: String,
}

fn kubeadm(script: &str) -> Kubeadm {
    let directory = tempfile::tempdir().unwrap();
    install_script(&directory.path().join("kubeadm"), script);
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    Kubeadm { _directory: directory, path }
}

#[test]
fn a_kubeadm_that_names_no_images_ends_the_run_and_is_named() {
    let cluster = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n";
    for (script, said) in [
        ("echo 'no kind is registered' >&2; exit 1", "failed: no kind is registered"),
        ("echo 'W1128 21:18:44 1 x' >&2; exit 3", "failed: exit status: 3"),
        ("exit 0", "named no image"),
        ("echo 'Not an image'", "printed what is no image"),
        ("exec yes registry.k8s.io/pause:3.10", "printed more than 65536 bytes"),
    ] {
        let kubeadm = kubeadm(script);
        let refs = Pullctl::new().args(["refs", "-f", "-"]).env("PATH", &kubeadm.path);
        let outcome = refs.input(cluster).run().ended_with(2).says(said).says("/kubeadm ");
        outcome.says("-:1: ").says("hint: kubeadm names them: kubeadm config images list");
    }
}

#[test]
fn no_kubeadm_is_run_that_lies_beside_a_list() {
    let folder = tempfile::tempdir().unwrap();
    install_script(&folder.path().join("kubeadm"), "echo registry.k8s.io/pause:3.10");
    let list = folder.path().join("cluster.yaml");
    let cluster = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n";
    std::fs::write(&list, cluster).unwrap();
    for path in [".:/usr/bin", ":/usr/bin", "/usr/bin"] {
        let refs = Pullctl::new().below(folder.path()).args(["refs", "-f", "cluster.yaml"]);
        refs.env("PATH", path).run().ended_with(2).says("does not name images itself");
    }
}

#[test]
fn one_image_under_five_spellings_is_one() {
    let list = "busybox\nbusybox:latest\nlibrary/busybox\ndocker.io/busybox\nindex.docker.io/library/busybox:latest pin\n";
    let outcome = refs(&["-q"], list.as_bytes()).succeeded();
    assert_eq!(outcome.stdout, "docker.io/library/busybox:latest pin\n");
    let again = refs(&["-q"], outcome.stdout.as_bytes()).succeeded();
    assert_eq!(again.stdout, outcome.stdout);
    refs(&[], b"a as=c\nb as=c\n")
        .ended_with(2)
        .says("are both to be called docker.io/library/c:latest");
}

#[test]
fn long_lists_and_those_of_other_systems_are_read() {
    let lines: String = (0..50_000).map(|n| format!("quay.io/a/b:{n}\r\n")).collect();
    let outcome = refs(&["-q"], lines.as_bytes()).succeeded();
    assert_eq!(outcome.stdout.lines().count(), 50_000);
    let utf16: Vec<u8> = "\u{feff}quay.io/a:1\r\nquay.io/b:2\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(refs(&["-q"], &utf16).succeeded().stdout, "quay.io/a:1\nquay.io/b:2\n");
}

#[test]
fn what_is_no_list_is_refused_by_its_name() {
    refs(&[], b"\x1f\x8b\x08\0\0")
        .ended_with(2)
        .says("- is no list of images but a gzip file")
        .says("pullctl load");
    refs(&[], b"a\0b").ended_with(2).says("a binary file");
    refs(&[], b"# nothing\n").ended_with(2).says("the lists name none");
    let kustomization = b"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    refs(&[], kustomization).ended_with(2).says("kubectl kustomize");
    let template = fixture("chart-template.yaml");
    let outcome = Pullctl::new().args(["refs", "-f", template.to_str().unwrap()]).run();
    outcome.ended_with(2).says("chart-template.yaml:1: a template").says("helm template");
}
