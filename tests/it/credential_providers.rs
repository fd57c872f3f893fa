//! The kubelet's logins: credential provider plugins, of our own, before registries that want a login.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::faulty::{FaultyRegistry, Login};
use crate::support::image::Image;
use crate::support::nginx::Nginx;
use crate::support::one_version;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{install_script, unique};

/// A node with a plugin, and with what is noted when it runs.
struct Node {
    root: TempDir,
}

/// What the plugin is asked for, and answers with, in each version of the protocol.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

impl Node {
    /// One whose plugin is for images below `pattern`.
    fn new(pattern: &str, version: &str) -> Self {
        let node = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(node.programs()).unwrap();
        node.configure(pattern, version);
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn config(&self) -> PathBuf {
        self.path("config.yaml")
    }

    fn programs(&self) -> PathBuf {
        self.path("bin")
    }

    fn program(&self) -> PathBuf {
        self.path("bin/our-provider")
    }

    fn configure(&self, pattern: &str, version: &str) {
        let config = format!(
            "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders:\n\
             - name: our-provider\n  matchImages: ['{pattern}']\n  defaultCacheDuration: 1h\n  \
             apiVersion: credentialprovider.kubelet.k8s.io/{version}\n  args: [--said]\n  \
             env: [{{name: NOTES, value: {}}}]\n",
            self.path("notes").display()
        );
        std::fs::write(self.config(), config).unwrap();
    }

    /// Lets the plugin be this shell script.
    fn script(self, script: &str) -> Self {
        install_script(&self.program(), script);
        self
    }

    /// Lets the plugin answer with this login for `key`, to be kept for `cache`.
    fn answering(self, key: &str, version: &str, cache: &str, login: &str) -> Self {
        let (user, password) = login.split_once(':').unwrap();
        self.script(&format!(
            r#"test "$1" = --said || exit 1
               cat >>"$NOTES"; echo >>"$NOTES"
               echo '{{"kind":"CredentialProviderResponse",
                 "apiVersion":"credentialprovider.kubelet.k8s.io/{version}",
                 "cacheKeyType":"{cache}","cacheDuration":"10m",
                 "auth":{{"{key}":{{"username":"{user}","password":"{password}"}}}}}}'"#
        ))
    }

    /// Lets there be two plugins in its place, `one` and `other`, which answer with a login for a key.
    fn two(&self, answers: [(&str, &str); 2]) {
        let mut config = "kind: CredentialProviderConfig\n\
            apiVersion: kubelet.config.k8s.io/v1\nproviders:\n"
            .to_owned();
        let authority = answers[0].0.split('/').next().unwrap();
        let notes = self.path("notes");
        let _ = std::fs::remove_file(&notes);
        for (name, (key, login)) in ["one", "other"].into_iter().zip(answers) {
            let (user, password) = login.split_once(':').unwrap();
            config += &format!(
                "- name: {name}\n  matchImages: ['{authority}']\n  defaultCacheDuration: 1h\n  \
                 apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
            );
            let answer = format!(
                r#"{{"kind":"CredentialProviderResponse",
                  "apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry",
                  "auth":{{"{key}":{{"username":"{user}","password":"{password}"}}}}}}"#
            );
            let script = format!("echo {name} >>{}; echo '{answer}'", notes.display());
            install_script(&self.programs().join(name), &script);
        }
        std::fs::write(self.config(), config).unwrap();
    }

    /// What the plugin was asked, a line a time.
    fn questions(&self) -> Vec<String> {
        let notes = std::fs::read_to_string(self.path("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    fn flags(&self) -> [String; 4] {
        let (config, programs) = (self.config(), self.programs());
        [
            "--image-credential-provider-config".to_owned(),
            config.display().to_string(),
            "--image-credential-provider-bin-dir".to_owned(),
            programs.display().to_string(),
        ]
    }

    fn pull(&self, daemon: &Containerd, reference: &str) -> Outcome {
        Pullctl::pull(daemon, reference).args(self.flags()).run()
    }
}

fn is_there(daemon: &Containerd, reference: &str) -> bool {
    Store::new(daemon, KUBERNETES).images().contains_key(reference)
}

one_version! {
    fn a_plugin_of_one_version_opens_a_registry_of_its_own(daemon) {
        let registry = Registry::with_login("ann", "hunter2");
        let authority = registry.authority();
        for version in VERSIONS {
            let reference = registry.push_new(&Image::small());
            let node = Node::new(authority, version)
                .answering(authority, version, "Image", "ann:hunter2");
            Pullctl::pull(daemon, &reference).run().ended_with(4);
            node.pull(daemon, &reference).succeeded();
            assert!(is_there(daemon, &reference));
            let name = reference.strip_suffix(":v1").unwrap();
            let [question] = node.questions().try_into().unwrap();
            assert!(question.contains(&format!(r#""image":"{name}""#)), "{question}");
            assert!(question.contains(&format!("k8s.io/{version}\"")), "{question}");
        }
    }

    fn a_plugin_opens_a_token_endpoint_and_is_not_asked_where_a_login_was_typed(daemon) {
        let registry = FaultyRegistry::start();
        let login = Some(("ann".to_owned(), "hunter2".to_owned()));
        registry.require(Login::Token { login });
        let authority = registry.authority();
        let reference = registry.add_new(&Image::small());
        let node = Node::new(&authority, "v1")
            .answering(&authority, "v1", "Registry", "ann:hunter2");
        let typed = Pullctl::pull(daemon, &reference).args(node.flags()).args(["-u", "ann:wrong"]);
        typed.run().ended_with(4);
        assert_eq!(node.questions(), [""; 0]);
        node.pull(daemon, &reference).succeeded();
        assert_eq!(node.questions().len(), 1);
    }

    fn logins_are_tried_in_the_kubelets_order_until_one_is_let_in(daemon) {
        let user = || "ann".to_owned();
        let logins: [fn(String, String) -> Login; 2] = [
            |user, password| Login::Basic { user, password },
            |user, password| Login::Token { login: Some((user, password)) },
        ];
        for login in logins {
            let registry = FaultyRegistry::start();
            registry.require(login(user(), "hunter2".to_owned()));
            let authority = registry.authority();
            let node = Node::new(&authority, "v1");
            let broad = authority.clone();
            let narrow = format!("{authority}/test");
            // The one with the narrower key is first, wherever it stands.
            node.two([(&broad, "ann:hunter2"), (&narrow, "ann:old")]);
            let reference = registry.add_new(&Image::small());
            assert!(reference.starts_with(&narrow), "{reference}");
            node.pull(daemon, &reference).succeeded();
            assert!(is_there(daemon, &reference));
            assert_eq!(node.questions(), ["one", "other"]);

            // The node's own file is first, and there is nobody else where all are refused.
            let home = tempfile::tempdir().unwrap();
            let file = format!(
                r#"{{"auths":{{"{authority}":{{"username":"ann","password":"older"}}}}}}"#
            );
            std::fs::write(home.path().join("config.json"), file).unwrap();
            let pull = |reference: &str| {
                let pull = Pullctl::pull(daemon, reference).args(node.flags());
                pull.env("DOCKER_CONFIG", home.path()).run()
            };
            let [first, second] = [Image::small(), Image::small()].map(|it| registry.add_new(&it));
            pull(&first).succeeded();
            node.two([(&broad, "ann:older"), (&narrow, "ann:old")]);
            registry.forget_requests();
            pull(&second).ended_with(4);
            let asked = registry.requests_for("/manifests/");
            assert!(asked.len() <= 3, "each login once, and once without: {asked:#?}");
        }
    }

    fn a_login_that_may_not_do_it_gives_way_to_another(daemon) {
        let registry = Registry::start();
        let encoded = |login: &str| STANDARD.encode(login);
        let guard = format!(
            "if ($http_authorization = '') {{ add_header WWW-Authenticate 'Basic realm=x' always; \
             return 401; }}\nif ($http_authorization = 'Basic {}') {{ return 403; }}\n\
             if ($http_authorization != 'Basic {}') {{ return 403; }}",
            encoded("ann:reader"),
            encoded("ann:hunter2"),
        );
        let nginx = Nginx::start(&Nginx::proxy(registry.authority(), &guard));
        let authority = nginx.authority();
        let repository = unique("guarded/image");
        registry.push(&Image::small(), &repository, "v1");
        let reference = format!("{authority}/{repository}:v1");
        let node = Node::new(authority, "v1");
        node.two([(authority, "ann:hunter2"), (&format!("{authority}/guarded"), "ann:reader")]);
        node.pull(daemon, &reference).succeeded();
        assert!(is_there(daemon, &reference));
        // The first is not shown again to a host that refused it.
        let refused = nginx.requests().iter().filter(|request| request.status == 403).count();
        assert_eq!(refused, 1);
    }

    fn an_answer_is_kept_for_the_image_the_registry_or_all(daemon) {
        let registry = Registry::with_login("ann", "hunter2");
        let authority = registry.authority();
        for (cache, asked) in [("Image", 3), ("Registry", 1), ("Global", 1)] {
            let images = [(); 3].map(|()| registry.push_new(&Image::small()));
            let node = Node::new(authority, "v1")
                .answering(authority, "v1", cache, "ann:hunter2");
            let pull = Pullctl::pull(daemon, &images[0]).args(&images[1..]).args(node.flags());
            pull.run().succeeded();
            assert_eq!(node.questions().len(), asked, "{cache}: {:?}", node.questions());
        }
    }

    fn a_push_takes_the_kubelets_login_too(daemon) {
        let open = Registry::start();
        let source = open.push_new(&Image::small());
        Pullctl::pull(daemon, &source).run().succeeded();
        let registry = Registry::with_login("ann", "hunter2");
        let authority = registry.authority();
        let node = Node::new(authority, "v1")
            .answering(authority, "v1", "Image", "ann:hunter2");
        let target = format!("{authority}/pushed/app:v1");
        Pullctl::new().on(daemon).args(["tag", &source, &target]).run().succeeded();
        let push = Pullctl::new().on(daemon).args(["push", "--plain-http", &target]);
        push.args(node.flags()).run().succeeded();
        assert_eq!(node.questions().len(), 1);
    }

    fn a_plugin_that_fails_is_named_and_a_public_image_comes_all_the_same(daemon) {
        let registry = Registry::start();
        let authority = registry.authority();
        for (script, said) in [
            ("echo rubbish", "is not used"),
            ("echo 'no role for this node' >&2; exit 1", "no role for this node"),
            ("exec yes", "printed more than 1048576 bytes"),
        ] {
            let reference = registry.push_new(&Image::small());
            let node = Node::new(authority, "v1").script(script);
            let outcome = node.pull(daemon, &reference).succeeded().says(said);
            outcome.says("bin/our-provider");
            assert!(is_there(daemon, &reference));
        }
    }

    fn a_program_that_may_not_be_run_is_named(daemon) {
        let registry = Registry::start();
        let node = Node::new(registry.authority(), "v1").script("exit 0");
        let pull = || {
            let reference = registry.push_new(&Image::small());
            node.pull(daemon, &reference).succeeded().says("bin/our-provider")
        };
        std::fs::set_permissions(node.program(), Permissions::from_mode(0o644)).unwrap();
        pull().says("cannot run").says("no executable file");
        std::fs::remove_file(node.program()).unwrap();
        pull().says("cannot run");
        symlink("/bin/cat", node.program()).unwrap();
        pull().says("outside of its directory");
    }
}

/// `pullctl explain` on a node whose root is at `root`.
fn explain(root: &Path, reference: &str) -> Outcome {
    Pullctl::new()
        .args(["explain", "-a", "/nowhere.sock", "--ignore-containerd-config", reference])
        .env("PULLCTL_NODE_ROOT", root)
        .run()
        .succeeded()
}

#[test]
fn plugins_are_found_where_nodes_have_them_and_explain_names_the_one_that_counts() {
    for (config, programs) in [
        ("etc/eks/image-credential-provider/config.json", "etc/eks/image-credential-provider"),
        ("etc/srv/kubernetes/cri_auth_config.yaml", "home/kubernetes/bin"),
        ("var/lib/kubelet/credential-provider-config.yaml", "var/lib/kubelet/credential-provider"),
        (
            "var/lib/rancher/credentialprovider/config.yaml",
            "var/lib/rancher/credentialprovider/bin",
        ),
        ("etc/told/providers.yaml", "opt/told"),
    ] {
        let node = Node::new("reg.example", "v1").answering(
            "reg.example/team",
            "v1",
            "Registry",
            "ann:hunter2",
        );
        std::fs::create_dir_all(node.path(config).parent().unwrap()).unwrap();
        std::fs::create_dir_all(node.path(programs)).unwrap();
        std::fs::rename(node.config(), node.path(config)).unwrap();
        std::fs::rename(node.program(), node.path(programs).join("our-provider")).unwrap();
        if config.contains("told") {
            let process = node.path("proc/77");
            std::fs::create_dir_all(&process).unwrap();
            let line = format!(
                "/usr/bin/kubelet\0--image-credential-provider-config=/{config}\0\
                 --image-credential-provider-bin-dir\0/{programs}\0"
            );
            std::fs::write(process.join("cmdline"), line).unwrap();
            symlink(node.root.path(), process.join("root")).unwrap();
        }
        let text = explain(node.root.path(), "reg.example/team/app").stdout;
        assert!(text.contains("login   ann, from the kubelet's plugin our-provider"), "{text}");
        assert!(text.contains(config), "{text}");
        let other = explain(node.root.path(), "reg.example/other/app").stdout;
        assert!(other.contains("login   none"), "{other}");
    }
}

#[test]
fn the_kubelets_own_file_comes_before_its_plugins() {
    let node =
        Node::new("reg.example", "v1").answering("reg.example", "v1", "Registry", "ann:hunter2");
    let kubelet = node.path("var/lib/kubelet");
    std::fs::create_dir_all(&kubelet).unwrap();
    let logins = r#"{"auths":{"reg.example":{"username":"bob","password":"hunter2"}}}"#;
    std::fs::write(kubelet.join("config.json"), logins).unwrap();
    let explain = |reference: &str| {
        let explain = Pullctl::new().args(["explain", "-a", "/nowhere.sock", reference]);
        let explain = explain.args(node.flags()).env("PULLCTL_NODE_ROOT", node.root.path());
        explain.run().succeeded().stdout
    };
    let text = explain("reg.example/app");
    assert!(text.contains("login   bob, from"), "{text}");
    assert!(text.contains("var/lib/kubelet/config.json"), "{text}");
    std::fs::write(kubelet.join("config.json"), "{").unwrap();
    let text = explain("reg.example/app");
    assert!(text.contains("login   ann, from the kubelet's plugin"), "{text}");
    assert!(text.contains("the kubelet's settings are not used"), "{text}");
}

#[test]
fn a_mistake_in_a_configuration_ends_the_run_where_it_was_named_and_is_a_warning_where_it_was_found()
 {
    let node = Node::new("reg.example", "v1").script("exit 0");
    let broken = "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v9\n";
    std::fs::write(node.config(), broken).unwrap();
    let named = Pullctl::new().args(["explain", "-a", "/nowhere.sock", "reg.example/app"]);
    named.args(node.flags()).run().ended_with(12).says("config.yaml:1:1").says("v9");
    let place = node.path("var/lib/rancher/credentialprovider");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("config.yaml"), broken).unwrap();
    let text = explain(node.root.path(), "reg.example/app").stdout;
    assert!(text.contains("warning: ") && text.contains("config.yaml:1:1"), "{text}");
}

#[test]
fn explain_shows_every_login_that_a_pull_would_try_in_its_order() {
    let node = Node::new("reg.example", "v1");
    node.two([("reg.example", "cat:hunter2"), ("reg.example/team", "dan:hunter2")]);
    let docker = node.path("docker");
    std::fs::create_dir(&docker).unwrap();
    let config = |text: &str| std::fs::write(docker.join("config.json"), text).unwrap();
    let path = format!("{}:/usr/bin:/bin", docker.display());
    let helper = r#"echo '{"Username": "bob", "Secret": "hunter2"}'"#;
    install_script(&docker.join("docker-credential-told"), helper);
    let shown = |form: &str, more: &[&str]| {
        let explain = Pullctl::new().args(["explain", "-a", "/nowhere.sock", "-o", form]);
        let explain = explain.args(["reg.example/team/app"]).args(more).args(node.flags());
        let explain = explain.env("DOCKER_CONFIG", &docker).env("PATH", &path);
        let outcome = explain.env("PULLCTL_NODE_ROOT", node.root.path()).run().succeeded();
        assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:?}");
        outcome.stdout
    };
    config(r#"{"auths": {"reg.example": {"username": "ann", "password": "hunter2"}}}"#);
    let text = shown("text", &[]);
    let lines: Vec<&str> = text.lines().filter(|it| it.contains(", from ")).collect();
    let [file, specific, general] = lines.as_slice() else { panic!("{text}") };
    assert!(file.starts_with("   login   ann, from ") && file.ends_with("config.json"), "{text}");
    assert!(specific.starts_with("   then    dan, from the kubelet's plugin other"), "{text}");
    assert!(general.starts_with("   then    cat, from the kubelet's plugin one"), "{text}");

    config(r#"{"credHelpers": {"reg.example": "told"}}"#);
    let document: serde_json::Value = serde_json::from_str(&shown("json", &[])).unwrap();
    let host = &document["hosts"][0];
    assert_eq!(host["credentials"]["username"], "bob", "{host}");
    assert!(host["credentials"]["source"].as_str().unwrap().ends_with("(docker-credential-told)"));
    let others = host["other_credentials"].as_array().unwrap();
    let names: Vec<&str> = others.iter().map(|it| it["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["dan", "cat"], "{host}");
    // A login that was typed is the one that is meant.
    let typed = shown("text", &["-u", "eve:typed"]);
    assert!(
        typed.contains("login   eve, from command line") && !typed.contains("then "),
        "{typed}"
    );
}
