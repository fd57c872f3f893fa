//! `pullctl check --deep`: the files of unpacked layers, with damage done by hand, and none where there
//! is none.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::XattrFlags;
use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::damage::directory_of;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::{Tree, curious, curious_above};
use crate::support::{each_version, unique};

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn check(daemon: &Containerd, namespace: &str, flags: &[&str]) -> Outcome {
    let common = ["-n", namespace, "check", "--plain-http", "--deep", "-o", "json"];
    Pullctl::new().on(daemon).args(common).args(flags).run()
}

fn told(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

fn packed(tree: Tree) -> Layer {
    Layer::pack(&tree.into_tar(), Packing::Gzip)
}

/// A layer with what is to be damaged, and one on it that hides some of it.
fn image() -> Image {
    let base = Tree::new()
        .directory("etc")
        .file("etc/removed", b"removed")
        .directory("hidden")
        .file("hidden/below", b"below")
        .file(&unique("own"), b"");
    let above = Tree::new()
        .file("bin/program", &[1; 5000])
        .file("bin/config", b"configuration")
        .mode(0o4755)
        .file("bin/setuid", b"setuid")
        .owner(1, 2)
        .file("bin/owned", b"owned")
        .xattr("security.capability", &CAPABILITY)
        .file("bin/ping", b"ping")
        .hard_link("bin/alias", "bin/config")
        .symlink("bin/link", "program")
        .character_device("dev-null", 1, 3)
        .whiteout("etc/removed")
        .directory("hidden")
        .opaque("hidden")
        .file(&unique("upper"), b"");
    Recipe::new(vec![packed(base), packed(above)]).build()
}

/// What is done to the upper layer, by which code it is found, and at which path.
type Damage = (&'static str, &'static str, fn(&Path));

const DAMAGES: &[Damage] = &[
    ("file-zeroed", "bin/program", |layer| {
        fs::write(layer.join("bin/program"), [0; 5000]).unwrap();
    }),
    ("file-emptied", "bin/program", |layer| {
        fs::write(layer.join("bin/program"), b"").unwrap();
    }),
    ("file-content", "bin/program", |layer| {
        let mut bytes = vec![1; 5000];
        bytes[4999] = 2;
        fs::write(layer.join("bin/program"), bytes).unwrap();
    }),
    ("file-missing", "bin/program", |layer| fs::remove_file(layer.join("bin/program")).unwrap()),
    ("file-extra", "bin/added", |layer| fs::write(layer.join("bin/added"), b"x").unwrap()),
    ("file-type", "bin/program", |layer| {
        fs::remove_file(layer.join("bin/program")).unwrap();
        fs::create_dir(layer.join("bin/program")).unwrap();
    }),
    ("file-mode", "bin/setuid", |layer| {
        let plain = fs::Permissions::from_mode(0o755);
        fs::set_permissions(layer.join("bin/setuid"), plain).unwrap();
    }),
    ("file-owner", "bin/owned", |layer| chown(layer.join("bin/owned"), Some(0), None).unwrap()),
    ("attribute", "bin/ping", |layer| {
        rustix::fs::removexattr(layer.join("bin/ping"), "security.capability").unwrap();
    }),
    ("attribute", "bin/program", |layer| {
        let path = layer.join("bin/program");
        rustix::fs::setxattr(path, "user.added", b"x", XattrFlags::empty()).unwrap();
    }),
    ("hard-link", "bin/config", |layer| {
        fs::remove_file(layer.join("bin/config")).unwrap();
        fs::write(layer.join("bin/config"), b"configuration").unwrap();
    }),
    ("link-target", "bin/link", |layer| {
        fs::remove_file(layer.join("bin/link")).unwrap();
        symlink("elsewhere", layer.join("bin/link")).unwrap();
    }),
    ("device-number", "dev-null", |layer| {
        fs::remove_file(layer.join("dev-null")).unwrap();
        make_device(&layer.join("dev-null"), 1, 5);
    }),
    ("whiteout-lost", "etc/removed", |layer| fs::remove_file(layer.join("etc/removed")).unwrap()),
    ("opaque-directory", "hidden", |layer| {
        rustix::fs::removexattr(layer.join("hidden"), "trusted.overlay.opaque").unwrap();
    }),
];

fn make_device(path: &Path, major: u32, minor: u32) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor)).unwrap();
}

/// The differences that are told, as codes and paths.
fn files(outcome: &Outcome) -> Vec<(String, String)> {
    let told = told(outcome);
    let findings = told["images"][0]["findings"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .iter()
        .flat_map(|finding| finding["files"].as_array().cloned().unwrap_or_default())
        .map(|file| (text(&file["code"]), text(&file["path"])))
        .collect()
}

/// Another program that has a lease of a file, so that nobody can open it who does not wait for that.
struct HeldFile(Child);

impl HeldFile {
    fn at(path: &Path) -> Self {
        // F_SETLEASE and F_WRLCK; whoever wants to open the file is told by a signal.
        let script = "$SIG{IO} = 'IGNORE'; $| = 1; open(F, '+<', $ARGV[0]) && fcntl(F, 1024, 1) \
                      or die $!; print \"held\\n\"; <STDIN>";
        let mut holder = Command::new("perl")
            .args(["-e", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Self(holder)
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

each_version! {
    fn every_kind_of_damage_to_files_is_found_named_and_mended(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let namespace = unique("damaged");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let store = Store::new(daemon, &namespace);
        registry.forget_requests();
        check(daemon, &namespace, &[]).succeeded();
        for (code, path, damage) in DAMAGES {
            let layer = directory_of(&store, &image.chain_id());
            damage(&layer);
            let outcome = check(daemon, &namespace, &[]);
            assert_eq!(outcome.code, Some(7), "{code} {path}: {outcome:?}");
            let found = files(&outcome);
            let is_found = found.iter().any(|(known, at)| known == code && at == path);
            // One name of two is the file, and the other its alias.
            let is_alias = *code == "hard-link" && found.len() == 1 && found[0].0 == "hard-link";
            assert!(is_found && found.len() == 1 || is_alias, "{code} {path}: {outcome:?}");
            let outcome = check(daemon, &namespace, &["--repair"]).succeeded();
            assert_eq!(told(&outcome)["repaired"], 1, "{code} {path}: {outcome:?}");
            check(daemon, &namespace, &[]).succeeded();
        }
        // All of it was here.
        assert_eq!(registry.requests(), []);
        store.with_mounted(&image.chain_id(), |root| {
            assert_eq!(fs::read(root.join("bin/program")).unwrap(), [1; 5000]);
            assert!(!root.join("etc/removed").exists() && !root.join("hidden/below").exists());
            let [config, alias] = ["bin/config", "bin/alias"].map(|it| fs::metadata(root.join(it)).unwrap());
            assert_eq!(config.ino(), alias.ino());
        });
        assert_eq!(store.leases().len(), 0, "{:?}", store.leases());
        assert!(store.snapshots().values().all(|snapshot| snapshot.committed));
    }

    fn a_file_that_can_not_be_read_is_told(daemon) {
        let image = image();
        let reference = FaultyRegistry::start().add_new(&image);
        let namespace = unique("unreadable");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let layer = directory_of(&Store::new(daemon, &namespace), &image.chain_id());
        let holder = HeldFile::at(&layer.join("bin/program"));
        let outcome = check(daemon, &namespace, &[]).ended_with(7);
        let expected = ("file-unreadable".to_owned(), "bin/program".to_owned());
        assert_eq!(files(&outcome), [expected], "{outcome:?}");
        drop(holder);
        check(daemon, &namespace, &[]).succeeded();
    }

    fn a_layer_whose_directory_is_gone_is_made_anew(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let namespace = unique("gone");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let store = Store::new(daemon, &namespace);
        for chain_id in image.chain_ids() {
            fs::remove_dir_all(directory_of(&store, &chain_id)).unwrap();
            let outcome = check(daemon, &namespace, &[]).ended_with(7);
            // The daemon looks for the topmost directory alone.
            let is_top = chain_id == image.chain_id();
            let code = if is_top { "snapshot-unusable" } else { "snapshot-different" };
            assert!(outcome.stdout.contains(code), "{outcome:?}");
            check(daemon, &namespace, &["--repair"]).succeeded();
        }
        store.with_mounted(&image.chain_id(), |root| {
            assert_eq!(fs::read(root.join("bin/config")).unwrap(), b"configuration");
            assert!(!root.join("etc/removed").exists());
        });
    }

    fn a_snapshot_that_a_container_lives_on_is_left_alone_until_that_is_gone(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let namespace = unique("used");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let container = unique("container");
        daemon.ctr(&namespace, &["containers", "create", &reference, &container, "/bin/program"]);
        let store = Store::new(daemon, &namespace);
        let program = directory_of(&store, &image.chain_id()).join("bin/program");
        fs::write(&program, b"").unwrap();
        let outcome = check(daemon, &namespace, &[]).ended_with(7);
        assert!(outcome.stdout.contains(&format!("in use by container {container}")), "{outcome:?}");
        let outcome = check(daemon, &namespace, &["--repair"]).ended_with(7);
        outcome.says(&format!("in use by container {container}")).says("hint: end what uses it");
        assert_eq!(fs::read(&program).unwrap(), b"");
        daemon.ctr(&namespace, &["containers", "rm", &container]);
        check(daemon, &namespace, &["--repair"]).succeeded();
        assert_eq!(fs::read(&program).unwrap(), [1; 5000]);
    }

    fn a_lower_layer_is_mended_below_those_that_lie_on_it(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let namespace = unique("lower");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let store = Store::new(daemon, &namespace);
        let before = store.snapshots();
        let lower = directory_of(&store, &image.chain_ids()[0]);
        fs::write(lower.join("hidden/below"), b"other").unwrap();
        check(daemon, &namespace, &["--repair"]).succeeded();
        assert_eq!(fs::read(lower.join("hidden/below")).unwrap(), b"below");
        assert_eq!(store.snapshots(), before);
    }

    fn a_healthy_store_of_varied_images_has_no_finding(daemon) {
        let registry = Registry::start();
        let namespace = unique("healthy");
        let mut images: Vec<Image> = Vec::new();
        for (packing, family) in [
            (Packing::Gzip, Family::Docker),
            (Packing::Zstd, Family::Oci),
            (Packing::Plain, Family::Oci),
        ] {
            let own = curious().file(&unique("own"), b"");
            let trees = [own, curious_above(), replaced()];
            let layers = trees.map(|tree| Layer::pack(&tree.ballast("ballast").into_tar(), packing));
            images.push(Recipe::new(layers.to_vec()).family(family).build());
        }
        images.extend(crate::builders::recipes().into_iter().map(Recipe::build));
        images.extend(crate::odd_layers::unpackable_images());
        images.push(Recipe::new(Vec::new()).build());
        let arm = Recipe::new(vec![Layer::file(&unique("arm"), b"arm")]).platform("linux/arm64").build();
        images.push(Image::index(Family::Oci, vec![image(), arm]));
        for (position, image) in images.iter().enumerate() {
            let reference = registry.push_new(image);
            match position % 3 {
                0 => drop(daemon.ctr(&namespace, &["images", "pull", "--plain-http", &reference])),
                1 => drop(pull(daemon, &reference, &namespace, "daemon")),
                _ => drop(pull(daemon, &reference, &namespace, "direct")),
            }
        }
        let stored = registry.push_new(&image());
        Pullctl::pull(daemon, &stored).args(["-n", &namespace, "--no-unpack"]).run().succeeded();
        let arm = Recipe::new(vec![Layer::file(&unique("arm"), b"arm")]).platform("linux/arm64").build();
        let foreign = registry.push_new(&Image::index(Family::Oci, vec![image(), arm]));
        let flags = ["-n", &namespace, "--platform", "linux/arm64"];
        Pullctl::pull(daemon, &foreign).args(flags).run().succeeded();

        let before = Store::new(daemon, &namespace).snapshots();
        let outcome = check(daemon, &namespace, &[]).succeeded();
        let told = told(&outcome);
        assert_eq!(told["findings"], 0, "{outcome:?}");
        assert_eq!(told["images_checked"], images.len() + 2);
        assert!(!outcome.stdout.contains("not-compared"), "{outcome:?}");
        // Nothing is left of the looking.
        assert_eq!(Store::new(daemon, &namespace).snapshots(), before);
        assert!(Store::new(daemon, &namespace).leases().is_empty());
    }
}

fn pull(daemon: &Containerd, reference: &str, namespace: &str, way: &str) -> Outcome {
    let flags = ["-n", namespace, "--unpacker", way];
    Pullctl::pull(daemon, reference).args(flags).run().succeeded()
}

fn replaced() -> Tree {
    Tree::new()
        .file("etc", b"a file where a directory was")
        .directory("empty")
        .file("empty/now-a-directory", b"")
        .whiteout("usr")
        .symlink("usr", "bin")
}
