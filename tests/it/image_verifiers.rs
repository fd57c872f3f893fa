//! containerd's image verifiers: asked by pullctl as the daemon asks them.

use std::path::Path;

use tempfile::TempDir;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::each_version;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{install_script, unique};

/// A verifier that wants no image with `rejected` in its name, and notes how it is called.
struct Verifier {
    folder: TempDir,
}

impl Verifier {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let verifier = Self { folder };
        std::fs::create_dir(verifier.folder.path().join("bin")).unwrap();
        let notes = verifier.folder.path().join("notes");
        verifier.install(
            "policy",
            &format!(
                "input=$(cat)\necho \"$* $input\" >>'{}'\ncase \"$*\" in *rejected*) \
                 echo 'not signed by us'; exit 1 ;; esac\necho fine",
                notes.display()
            ),
        );
        let config = verifier.settings(2);
        std::fs::write(verifier.config(), config).unwrap();
        verifier
    }

    fn install(&self, name: &str, script: &str) {
        install_script(&self.folder.path().join("bin").join(name), script);
    }

    /// The part of containerd's configuration that names it.
    fn table(&self) -> String {
        format!(
            "[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '{}/bin'\n\
             max_verifiers = 10\nper_verifier_timeout = '10s'\n",
            self.folder.path().display()
        )
    }

    fn settings(&self, version: u8) -> String {
        format!("version = {version}\n{}", self.table())
    }

    fn config(&self) -> String {
        self.folder.path().join("config.toml").display().to_string()
    }

    /// How it was called since the last time that this was asked.
    fn calls(&self) -> Vec<String> {
        let notes = self.folder.path().join("notes");
        let text = std::fs::read_to_string(&notes).unwrap_or_default();
        let _ = std::fs::remove_file(notes);
        text.lines().map(str::to_owned).collect()
    }
}

fn names(daemon: &Containerd, namespace: &str) -> Vec<String> {
    Store::new(daemon, namespace).images().into_keys().collect()
}

each_version! {
    fn an_image_that_a_verifier_rejects_gets_no_name_and_costs_no_layer(daemon) {
        let verifier = Verifier::new();
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add(&image, &unique("rejected/image"), "v1");
        let namespace = unique("verified");
        let config = verifier.config();
        let pull = || {
            Pullctl::pull(daemon, &reference)
                .args(["-n", &namespace, "--containerd-config", &config])
        };
        let outcome = pull().run().ended_with(7);
        let outcome = outcome.says("bin/policy rejects").says("not signed by us");
        outcome.says("--ignore-verifiers");
        assert_eq!(names(daemon, &namespace), [""; 0]);
        let layer = image.layers()[0].digest.to_string();
        assert!(registry.requests_for(&layer).is_empty());
        let outcome = pull().args(["--progress", "json"]).run().ended_with(7);
        assert!(outcome.stderr.contains("\"failure\":\"verification\""), "{}", outcome.stderr);

        let outcome = pull().args(["--ignore-verifiers"]).run().succeeded();
        outcome.says("the image verifiers in").says("are not asked");
        assert!(names(daemon, &namespace).contains(&reference));
    }

    fn an_image_with_which_all_agree_is_pulled_and_an_entry_that_is_no_program_rejects(daemon) {
        let verifier = Verifier::new();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        let config = verifier.config();
        let pull = || {
            Pullctl::pull(daemon, &reference).args(["--containerd-config", &config]).run()
        };
        pull().succeeded();
        assert_eq!(verifier.calls().len(), 1);
        std::fs::write(verifier.folder.path().join("bin/readme"), "text").unwrap();
        pull().ended_with(7).says("cannot run the image verifier").says("bin/readme");
    }

    fn a_load_asks_them_too(daemon) {
        let verifier = Verifier::new();
        let registry = Registry::start();
        let reference = registry.push(&Image::small(), &unique("rejected/image"), "v1");
        let namespace = unique("verified");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let archive = verifier.folder.path().join("image.tar");
        let archive = archive.display().to_string();
        let saved = ["save", "-n", &namespace, "-o", &archive, &reference];
        Pullctl::new().on(daemon).args(saved).run().succeeded();

        let other = unique("verified");
        let etc = verifier.folder.path().join("etc");
        std::fs::create_dir_all(etc.join("containerd")).unwrap();
        std::fs::copy(verifier.config(), etc.join("containerd/config.toml")).unwrap();
        let load = |flags: &[&str]| {
            let load = Pullctl::finding(&etc, Path::new("/etc")).on(daemon);
            load.args(["load", "-n", &other, "-i", &archive]).args(flags).run()
        };
        load(&[]).ended_with(7).says("rejects");
        assert_eq!(names(daemon, &other), [""; 0]);
        load(&["--ignore-verifiers"]).succeeded().says("are not asked");
        assert!(names(daemon, &other).contains(&reference));
    }
}

#[test]
fn containerd_2_1_calls_the_same_verifier_with_the_same_words() {
    let verifier = Verifier::new();
    let daemon = Containerd::configured(Version::V2_1, &verifier.table());
    let registry = Registry::start();
    let config = verifier.config();
    for (repository, is_wanted) in [("good/image", true), ("rejected/image", false)] {
        let reference = registry.push(&Image::small(), &unique(repository), "v1");
        let pulled = daemon.try_ctr("theirs", &["images", "pull", "--plain-http", &reference]);
        assert_eq!(pulled.status.success(), is_wanted, "{pulled:?}");
        let theirs = verifier.calls();
        assert_eq!(theirs.len(), 1, "{pulled:?}");

        let pull = Pullctl::pull(&daemon, &reference);
        let pull = pull.args(["--containerd-config", &config]).run();
        assert_eq!(pull.code, Some(if is_wanted { 0 } else { 7 }), "{pull:?}");
        assert_eq!(verifier.calls(), theirs);
        for namespace in ["theirs", KUBERNETES] {
            let is_there = names(&daemon, namespace).contains(&reference);
            assert_eq!(is_there, is_wanted, "{namespace}");
        }
    }
}

/// What a verifier does, and whether that lets the image in.
const WAYS: [(&str, &str, bool); 12] = [
    ("agrees without a word", "cat >/dev/null; exit 0", true),
    ("agrees and says why", "cat >/dev/null; echo fine", true),
    ("agrees and does not read", "exit 0", true),
    ("agrees after closing its input", "exec <&-; exit 0", true),
    ("agrees and prints much", "cat >/dev/null; yes fine | head -c 200000; exit 0", true),
    ("agrees and complains much", "cat >/dev/null; yes fine | head -c 200000 >&2; exit 0", true),
    ("refuses and says why", "cat >/dev/null; echo no; exit 1", false),
    ("refuses without a word", "exit 3", false),
    ("refuses and prints much", "yes no | head -c 200000; exit 1", false),
    ("complains and refuses", "echo no >&2; exit 255", false),
    ("is killed", "kill -9 $$", false),
    ("hangs", "exec sleep 4711", false),
];

#[test]
fn containerd_2_1_and_pullctl_take_whatever_a_verifier_does_for_the_same() {
    let verifier = Verifier::new();
    let at_once = verifier.table().replace("'10s'", "'2s'");
    let config = verifier.config();
    std::fs::write(&config, format!("version = 2\n{at_once}")).unwrap();
    let daemon = Containerd::configured(Version::V2_1, &at_once);
    let registry = Registry::start();
    let judged = |what: &str| {
        let reference = registry.push(&Image::small(), &unique("judged/image"), "v1");
        let pulled = daemon.try_ctr("theirs", &["images", "pull", "--plain-http", &reference]);
        let pull = Pullctl::pull(&daemon, &reference);
        let pull = pull.args(["--containerd-config", &config]).run();
        assert!(matches!(pull.code, Some(0 | 7)), "{what}: {pull:?}");
        let verdicts = [pulled.status.success(), pull.code == Some(0)];
        for (namespace, verdict) in ["theirs", KUBERNETES].into_iter().zip(verdicts) {
            let is_there = names(&daemon, namespace).contains(&reference);
            assert_eq!(is_there, verdict, "{what}: {namespace}");
        }
        (verdicts, format!("{pulled:?}\n{pull:?}"))
    };
    for (what, script, is_wanted) in WAYS {
        verifier.install("policy", script);
        let (verdicts, said) = judged(what);
        assert_eq!(verdicts, [is_wanted; 2], "{what}: {said}");
    }
    // All have to agree, in the order of their names, and what is no program does not.
    verifier.install("policy", "exit 0");
    verifier.install("second", "exit 1");
    assert_eq!(judged("the second refuses").0, [false; 2]);
    std::fs::remove_file(verifier.folder.path().join("bin/second")).unwrap();
    std::fs::create_dir(verifier.folder.path().join("bin/second")).unwrap();
    let (verdicts, said) = judged("a directory");
    assert_eq!(verdicts, [false; 2], "{said}");
    std::fs::remove_dir(verifier.folder.path().join("bin/second")).unwrap();
    // Without any, and without their directory, all are wanted.
    std::fs::remove_file(verifier.folder.path().join("bin/policy")).unwrap();
    assert_eq!(judged("an empty directory").0, [true; 2]);
    std::fs::remove_dir(verifier.folder.path().join("bin")).unwrap();
    assert_eq!(judged("no directory").0, [true; 2]);
}
