//! `pullctl doctor`: what is wrong with a node, and that the fix it names, applied as it is printed,
//! is one.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::explain::json_of;
use crate::mirrors::{NAMED, hosts_directory, pull};
use crate::support::certificates::OpensslKind;
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::nginx::{Nginx, Tls};
use crate::support::registry::Registry;
use crate::support::{Validity, each_version, fix, unique};

/// `pullctl doctor -o json` of this daemon, with what is configured in `hosts` alone.
fn doctor(daemon: &Containerd, hosts: &Path, flags: &[&str]) -> Outcome {
    Pullctl::new()
        .on(daemon)
        .args(["doctor", "-o", "json", "--hosts-dir"])
        .args([hosts])
        .args(flags)
        .run()
}

/// The same as JSON, whether there is an error or not.
pub(crate) fn examined(daemon: &Containerd, hosts: &Path, flags: &[&str]) -> Value {
    let outcome = doctor(daemon, hosts, flags);
    let document = json_of(&outcome);
    let findings = document["findings"].as_array().unwrap();
    let has_errors = findings.iter().any(|finding| finding["severity"] == "error");
    outcome.ended_with(i32::from(has_errors));
    document
}

/// The finding with this code.
#[track_caller]
pub(crate) fn finding<'a>(document: &'a Value, code: &str) -> &'a Value {
    let findings = document["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {document}"))
}

#[track_caller]
pub(crate) fn assert_gone(document: &Value, code: &str) {
    let findings = document["findings"].as_array().unwrap();
    assert!(!findings.iter().any(|finding| finding["code"] == code), "{code}: {document}");
}

pub(crate) fn no_hosts() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The sandbox image that this daemon starts pods from.
pub(crate) fn sandbox_image(daemon: &Containerd) -> &'static str {
    match daemon.version() {
        Version::V1_6 => "registry.k8s.io/pause:3.6",
        Version::V1_7 => "registry.k8s.io/pause:3.8",
        Version::V2_1 | Version::Newer => "registry.k8s.io/pause:3.10",
    }
}

/// Puts an image there under the name of the sandbox's.
fn give_sandbox_image(daemon: &Containerd) {
    let reference = FaultyRegistry::start().add_new(&Image::small());
    Pullctl::pull(daemon, &reference).args(["--pin"]).run().succeeded();
    let tag = ["tag", &reference, sandbox_image(daemon)];
    Pullctl::new().on(daemon).args(tag).run().succeeded();
}

#[test]
fn a_healthy_node_has_no_error_and_no_warning() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        give_sandbox_image(&daemon);
        // Whose kubelet is content with the room that this machine has.
        let thresholds = "evictionHard:\n  imagefs.available: 1Mi\n";
        let root = node_with_kubelet(&format!("imageGCHighThresholdPercent: 100\n{thresholds}"));
        let document = examined_with(&daemon, root.path());
        let findings = document["findings"].as_array().unwrap();
        let is_grave = |finding: &&Value| finding["severity"] != "note";
        assert_eq!(findings.iter().find(is_grave), None, "{version}: {document}");
        assert!(document["runc"].as_str().unwrap().starts_with("runc version"), "{document}");
        assert_eq!(document["config"], daemon.config_file().display().to_string());
        assert_eq!(document["address"], daemon.socket().display().to_string());
    }
}

#[test]
fn without_a_daemon_that_is_the_error() {
    let outcome = Pullctl::new().args(["-a", "/nowhere.sock", "doctor"]).run().ended_with(1);
    assert!(outcome.stdout.contains("[no-daemon]"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("  fix: "), "{}", outcome.stdout);
    assert!(outcome.stdout.lines().last().unwrap().starts_with("1 error, "), "{}", outcome.stdout);
}

#[test]
fn a_cri_that_is_switched_off_is_switched_on_by_the_fix() {
    for version in Version::ALL {
        let daemon = Containerd::without_cri(version);
        let hosts = no_hosts();
        let document = examined(&daemon, hosts.path(), &[]);
        let disabled = finding(&document, "cri-disabled");
        assert_eq!(disabled["file"], daemon.config_file().display().to_string(), "{disabled}");
        fix::apply(&disabled["fix"], &daemon);
        let cri = Cri::new(&daemon);
        daemon.wait_until("the CRI", || cri.runtime_is_ready().then_some(()));
        cri.pull(&Registry::start().push_new(&Image::small()));
        assert_gone(&examined(&daemon, hosts.path(), &[]), "cri-disabled");
    }
}

#[test]
fn mirrors_beside_config_path_become_files_by_the_fix() {
    let registry = Registry::start();
    let repository = unique("mirrored/image");
    registry.push(&Image::small(), &repository, "v1");
    for version in Version::ALL {
        let certs = no_hosts();
        let plugin = version.cri_plugin();
        let daemon = Containerd::with_failing_cri(
            version,
            &format!(
                "[plugins.'{plugin}'.registry]\nconfig_path = '{}'\n\
                 [plugins.'{plugin}'.registry.mirrors.'{NAMED}']\nendpoint = ['http://{}']\n",
                certs.path().display(),
                registry.authority()
            ),
        );
        let document = examined(&daemon, certs.path(), &[]);
        let failed = finding(&document, "cri-failed");
        fix::apply(&failed["fix"], &daemon);
        let cri = Cri::new(&daemon);
        daemon.wait_until("the CRI", || cri.runtime_is_ready().then_some(()));
        cri.pull(&format!("{NAMED}/{repository}:v1"));
        assert_gone(&examined(&daemon, certs.path(), &[]), "cri-failed");
    }
}

each_version! {
    fn an_image_of_another_namespace_is_where_the_kubelet_looks_after_the_fix(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        daemon.ctr("default", &["images", "pull", "--plain-http", &reference]);
        let hosts = no_hosts();
        let document = examined(daemon, hosts.path(), &[]);
        let findings = document["findings"].as_array().unwrap();
        let elsewhere = findings.iter().find(|finding| {
            finding["code"] == "image-elsewhere"
                && finding["what"].as_str().unwrap().contains(&reference)
        });
        let elsewhere = elsewhere.unwrap_or_else(|| panic!("{document}"));
        // From here on without the registry.
        drop(registry);
        fix::apply(&elsewhere["fix"], daemon);
        let image = Cri::new(daemon).image_soon(&reference);
        assert!(image.repo_tags.contains(&reference), "{image:?}");
        let pull = Pullctl::pull(daemon, &reference).args(["--policy", "missing"]);
        pull.run().succeeded();
    }
}

#[test]
fn a_certificate_that_is_no_pem_is_made_one_by_the_fix() {
    let registry = Registry::start();
    let repository = unique("der/image");
    registry.push(&Image::small(), &repository, "v1");
    let nginx = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\nca = \"ca.crt\"\n"));
    let ca = hosts.path().join(NAMED).join("ca.crt");
    let der = Command::new("openssl")
        .args(["x509", "-outform", "der", "-in"])
        .arg(nginx.ca())
        .arg("-out")
        .arg(&ca)
        .status()
        .unwrap();
    assert!(der.success());
    let directory = hosts.path().display().to_string();
    let resolve = format!("{NAMED}:{}", nginx.authority());
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--resolve", &resolve];
    let reference = format!("{NAMED}/{repository}:v1");
    pull(&reference, &flags).ended_with(12).says("holds no PEM certificate");
    let daemon = Containerd::shared(Version::V2_1);
    let document = examined(daemon, hosts.path(), &[]);
    fix::apply(&finding(&document, "certificate-unusable")["fix"], daemon);
    pull(&reference, &flags).succeeded();
    assert_gone(&examined(daemon, hosts.path(), &[]), "certificate-unusable");
}

#[test]
fn a_directory_without_the_port_counts_after_the_fix() {
    let registry = Registry::start();
    let repository = unique("port/image");
    registry.push(&Image::small(), &repository, "v1");
    let nginx = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let (_, port) = nginx.authority().split_once(':').unwrap();
    let domain = format!("{NAMED}:{port}");
    let content = format!("server = \"https://{domain}\"\nca = {:?}\n", nginx.ca());
    let hosts = hosts_directory(&content);
    let directory = hosts.path().display().to_string();
    let resolve = format!("{NAMED}:{}", nginx.authority());
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--resolve", &resolve];
    let reference = format!("{domain}/{repository}:v1");
    // The pull itself says it.
    let command = format!("mv {directory}/{NAMED} {directory}/{domain}");
    pull(&reference, &flags).ended_with(5).says("unknown authority").says(&command);
    let daemon = Containerd::shared(Version::V2_1);
    let document = examined(daemon, hosts.path(), &[]);
    let found = finding(&document, "directory-without-port");
    assert_eq!(found["fix"]["commands"][0], command, "{found}");
    fix::apply(&found["fix"], daemon);
    pull(&reference, &flags).succeeded();
    assert_gone(&examined(daemon, hosts.path(), &[]), "directory-without-port");
}

#[test]
fn every_mistake_of_hosts_files_is_found() {
    let hosts = no_hosts();
    let write = |domain: &str, name: &str, content: &str| {
        let directory = hosts.path().join(domain);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), content).unwrap();
    };
    let registry = Registry::start();
    let openssl = Some(OpensslKind { key: "rsa:2048", digest: "-sha256", is_own_authority: false });
    let tls = Tls { openssl, ..Tls::new(NAMED, Validity::Now) };
    let [nginx, other] = [tls, Tls::new(NAMED, Validity::Expired)]
        .map(|tls| Nginx::start_with(&Nginx::proxy(registry.authority(), ""), tls));
    let (certificate, key) = nginx.client_certificate();
    let (expired, other_key) = other.client_certificate();
    write("a.example", "hosts.toml", "server = \"https://a.example\n");
    write("b.example", "hosts.toml", "server = \"https://b.example\"\nca = \"none.crt\"\n");
    write("c.example", "ca.crt", "no certificate\n");
    let client = |key: &Path| {
        format!("server = \"https://d.example\"\nclient = [[{certificate:?}, {key:?}]]\n")
    };
    write("d.example", "hosts.toml", &client(&other_key));
    write("e.example", "hosts.toml", &client(&key).replace("d.example", "e.example"));
    let ca = format!("server = \"https://f.example\"\nca = {expired:?}\n");
    write("f.example", "hosts.toml", &ca);
    write(
        "g.example",
        "hosts.toml",
        "server = \"https://g.example\"\n[host.\"https://g.example\"]\n",
    );
    write("_default", "hosts.toml", "[host.\"https://mirror.example\"]\n");
    fs::create_dir(hosts.path().join("h.example")).unwrap();
    let daemon = Containerd::shared(Version::V1_7);
    let document = examined(daemon, hosts.path(), &[]);
    for (code, severity, domain) in [
        ("hosts-file-broken", "error", "a.example"),
        ("certificate-missing", "error", "b.example"),
        ("certificate-unusable", "error", "c.example"),
        ("certificate-unusable", "error", "d.example"),
        ("certificate-ends-soon", "warning", "e.example"),
        ("certificate-expired", "error", "f.example"),
        ("server-repeated", "note", "g.example"),
        ("default-masked", "warning", "h.example"),
    ] {
        let findings = document["findings"].as_array().unwrap();
        let said = |finding: &&Value| {
            finding["what"].as_str().unwrap().contains(domain)
                || finding["file"].as_str().is_some_and(|file| file.contains(domain))
        };
        let is_it = |finding: &&Value| finding["code"] == code && said(finding);
        let found = findings.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("no {code} of {domain}: {document}"));
        assert_eq!(found["severity"], severity, "{found}");
    }
}

#[test]
fn settings_of_the_daemon_with_an_effect_that_surprises_are_told() {
    for version in Version::ALL {
        let table = match version {
            Version::V1_6 | Version::V1_7 => "[plugins.'io.containerd.grpc.v1.cri'.containerd]\n",
            Version::V2_1 | Version::Newer => "[plugins.'io.containerd.cri.v1.images']\n",
        };
        let settings = format!("{table}discard_unpacked_layers = true\n");
        let daemon = Containerd::configured(version, &settings);
        let conf_d = daemon.config_file().with_file_name("conf.d");
        fs::create_dir(&conf_d).unwrap();
        fs::write(conf_d.join("more.toml"), "version = 2\n").unwrap();
        let hosts = no_hosts();
        let document = examined(&daemon, hosts.path(), &[]);
        let discarded = finding(&document, "layers-discarded");
        if version == Version::V2_1 {
            finding(&document, "local-pull");
        }
        fix::apply(&discarded["fix"], &daemon);
        let document = examined(&daemon, hosts.path(), &[]);
        assert_gone(&document, "layers-discarded");
        fix::apply(&finding(&document, "conf-d-not-imported")["fix"], &daemon);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "conf-d-not-imported");
    }
}

#[test]
fn proxies_of_this_shell_that_the_daemon_has_not_are_told_without_their_login() {
    let daemon = Containerd::shared(Version::V1_6);
    let hosts = no_hosts();
    let outcome = Pullctl::new()
        .on(daemon)
        .args(["doctor", "--hosts-dir"])
        .args([hosts.path()])
        .env("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
        .run();
    let said = &outcome.stdout;
    assert!(said.contains("[proxies-differ]") && said.contains("proxy.example:3128"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(said.contains("    $ systemctl daemon-reload"), "{said}");
}

#[test]
fn logins_are_set_beside_the_hosts_that_ask_for_them() {
    let home = tempfile::tempdir().unwrap();
    let content = format!(
        "{{\"auths\": {{\"{NAMED}\": {{\"auth\": \"YW5uOmh1bnRlcjI=\"}}, \
         \"nobody.example\": {{\"auth\": \"YW5uOmh1bnRlcjI=\"}}}}}}"
    );
    fs::write(home.path().join("config.json"), content).unwrap();
    let mirror = "[host.\"https://mirror.example\"]\n";
    let hosts = hosts_directory(&format!("server = \"https://{NAMED}\"\n{mirror}"));
    let daemon = Containerd::shared(Version::V1_6);
    let outcome = Pullctl::new()
        .on(daemon)
        .args(["doctor", "-o", "json", "--hosts-dir"])
        .args([hosts.path()])
        .env("DOCKER_CONFIG", home.path())
        .run();
    let document = json_of(&outcome);
    let unused = finding(&document, "login-unused");
    assert_eq!(unused["fix"]["commands"][0], "pullctl logout nobody.example");
    let without = finding(&document, "mirror-without-login");
    assert_eq!(without["fix"]["commands"][0], "pullctl login mirror.example");
    assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);
}

/// The root of a node with a kubelet, whose configuration is `config`, beside the daemon.
pub(crate) fn node_with_kubelet(config: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let kubelet = root.path().join("var/lib/kubelet");
    fs::create_dir_all(kubelet.join("image_manager")).unwrap();
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    fs::write(kubelet.join("config.yaml"), format!("{head}{config}")).unwrap();
    root
}

pub(crate) fn examined_with(daemon: &Containerd, root: &Path) -> Value {
    let hosts = no_hosts();
    let outcome = Pullctl::new()
        .on(daemon)
        .args(["doctor", "-o", "json", "--hosts-dir"])
        .args([hosts.path()])
        .env("PULLCTL_NODE_ROOT", root)
        .run();
    json_of(&outcome)
}

#[test]
fn what_the_kubelet_is_told_is_set_beside_what_is_here() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        let reference = FaultyRegistry::start().add_new(&Image::small());
        Pullctl::pull(&daemon, &reference).run().succeeded();
        let root = node_with_kubelet(
            "cgroupDriver: systemd\ncontainerRuntimeEndpoint: unix:///run/other.sock\n\
             imageMaximumGCAge: 24h\nimagePullCredentialsVerificationPolicy: AlwaysVerify\n\
             evictionHard:\n  imagefs.available: 99%\n",
        );
        let flags =
            "KUBELET_KUBEADM_ARGS=\"--pod-infra-container-image=registry.k8s.io/pause:3.9\"\n";
        fs::write(root.path().join("var/lib/kubelet/kubeadm-flags.env"), flags).unwrap();
        // A static pod asks for what is in another namespace alone.
        let elsewhere = FaultyRegistry::start().add_new(&Image::small());
        daemon.ctr("default", &["images", "pull", "--plain-http", &elsewhere]);
        let manifests = root.path().join("etc/kubernetes/manifests");
        fs::create_dir_all(&manifests).unwrap();
        let pod = format!("kind: Pod\nspec:\n  containers:\n  - image: {elsewhere}\n");
        fs::write(manifests.join("pod.yaml"), pod).unwrap();

        let document = examined_with(&daemon, root.path());
        for (code, severity) in [
            ("cgroup-drivers-differ", "error"),
            ("kubelet-of-another-daemon", "warning"),
            ("unpinned-images-go", "note"),
            ("image-refused-by-kubelet", "warning"),
            ("kubelet-flag-removed", "warning"),
            ("disk-nearly-full", "warning"),
            ("image-elsewhere", "error"),
        ] {
            assert_eq!(finding(&document, code)["severity"], severity, "{version}: {document}");
        }
        let refused = finding(&document, "image-refused-by-kubelet")["what"].as_str().unwrap();
        assert!(refused.contains(&reference), "{refused}");

        fs::write(root.path().join("var/lib/kubelet/config.yaml"), "kind: [").unwrap();
        let document = examined_with(&daemon, root.path());
        assert_eq!(finding(&document, "kubelet-settings-broken")["severity"], "error");
    }
}
