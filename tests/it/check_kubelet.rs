//! `pullctl check`: images that are whole and that the kubelet does not see.

use std::fs;

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::damage::blob_file;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::unique;

fn check(daemon: &Containerd, reference: &str, flags: &[&str]) -> Outcome {
    let common = ["check", "--plain-http", "-o", "json", reference];
    Pullctl::new().on(daemon).args(common).args(flags).run()
}

/// The codes and subjects of what was found.
fn found(outcome: &Outcome) -> Vec<(String, String)> {
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let findings = told["images"][0]["findings"].as_array().unwrap().clone();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings.iter().map(|it| (text(it, "code"), text(it, "subject"))).collect()
}

/// An image, pulled, and its daemon killed and started while the manifest is away: the CRI passes over
/// what it can't read when it starts, and hears of names alone afterwards. With the manifest's bytes.
fn passed_over(version: Version) -> (Containerd, FaultyRegistry, Image, String, Vec<u8>) {
    let daemon = Containerd::private(version);
    let registry = FaultyRegistry::start();
    let image = Recipe::new(vec![Layer::noise(&unique("layer"), 100_000)]).build();
    let reference = registry.add_new(&image);
    Pullctl::pull(&daemon, &reference).run().succeeded();
    assert!(found(&check(&daemon, &reference, &[]).succeeded()).is_empty());
    daemon.kill();
    let file = blob_file(&daemon, &image.digest());
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    daemon.restart();
    (daemon, registry, image, reference, bytes)
}

#[test]
fn an_image_that_the_cri_passed_over_when_it_started_is_seen_again_after_the_repair() {
    for version in Version::ALL {
        let (daemon, _registry, image, reference, bytes) = passed_over(version);
        let cri = Cri::new(&daemon);
        assert!(cri.image(&reference).is_none(), "{version}: the CRI has the image");
        // It is back, as from a backup: nobody tells the CRI.
        fs::write(blob_file(&daemon, &image.digest()), bytes).unwrap();
        let blind = found(&check(&daemon, &reference, &[]).ended_with(7));
        assert!(!blind.is_empty(), "{version}");
        assert!(blind.iter().all(|(code, _)| code == "kubelet-blind"), "{version}: {blind:?}");
        assert!(blind.iter().any(|(_, name)| *name == reference), "{version}: {blind:?}");
        check(&daemon, &reference, &["--repair"]).succeeded();
        assert_eq!(cri.image_soon(&reference).id, image.config_digest(), "{version}");
        assert!(found(&check(&daemon, &reference, &[]).succeeded()).is_empty(), "{version}");
    }
}

#[test]
fn one_repair_brings_the_manifest_and_has_the_kubelet_see_the_image() {
    for version in Version::ALL {
        let (daemon, _registry, image, reference, _) = passed_over(version);
        check(&daemon, &reference, &["--repair"]).succeeded();
        let seen = Cri::new(&daemon).image(&reference).map(|image| image.id);
        assert_eq!(seen, Some(image.config_digest()), "{version}");
    }
}

#[test]
fn a_name_that_the_cri_does_not_take_care_of_is_told_and_given_its_label() {
    for version in Version::ALL {
        // As docker's packages have it, and somebody who brings images all the same.
        let daemon = Containerd::without_cri(version);
        let registry = FaultyRegistry::start();
        let image = Recipe::new(vec![Layer::noise(&unique("layer"), 10_000)]).build();
        let reference = registry.add_new(&image);
        Pullctl::pull(&daemon, &reference).run().succeeded();
        const LABEL: &str = "io.cri-containerd.image";
        daemon.ctr(KUBERNETES, &["images", "label", &reference, &format!("{LABEL}=")]);
        let config = fs::read_to_string(daemon.config_file()).unwrap();
        let (_, with_cri) = config.split_once('\n').unwrap();
        fs::write(daemon.config_file(), with_cri).unwrap();
        daemon.kill();
        // What is whole the CRI takes care of when it starts.
        let manifest = blob_file(&daemon, &image.digest());
        let bytes = fs::read(&manifest).unwrap();
        fs::remove_file(&manifest).unwrap();
        daemon.restart();
        let cri = Cri::new(&daemon);
        daemon.wait_until("the CRI", || cri.runtime_is_ready().then_some(()));
        fs::write(&manifest, bytes).unwrap();
        let outcome = check(&daemon, &reference, &[]).ended_with(7);
        let expected = ("name-unmanaged".to_owned(), reference.clone());
        assert_eq!(found(&outcome), [expected], "{version}");
        check(&daemon, &reference, &["--repair"]).succeeded();
        let labels = &Store::new(&daemon, KUBERNETES).images()[&reference].labels;
        assert_eq!(labels[LABEL], "managed", "{version}: {labels:?}");
        assert!(found(&check(&daemon, &reference, &[]).succeeded()).is_empty(), "{version}");
    }
}
