//! Images from anywhere to anywhere, and the same digest at the other end.

use std::process::Command;

use serde_json::json;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Blob, Family, Image, Layer, OCI_INDEX, OCI_MANIFEST, Recipe};
use crate::support::receiver::{Received, Receiver, Trick};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

fn image() -> Image {
    let layers = [200_000, 5 << 20].map(|size| Layer::noise(&unique("layer"), size));
    Recipe::new(layers.to_vec()).build()
}

pub(crate) fn copy(arguments: &[&str]) -> Outcome {
    Pullctl::new()
        .args(["copy", "--plain-http", "--ignore-containerd-config"])
        .args(arguments)
        .run()
}

pub(crate) fn copy_on(daemon: &Containerd, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(["copy", "--plain-http"]).args(arguments).run()
}

#[test]
fn an_index_is_copied_between_registries_with_attestations_and_streams_through_memory() {
    let own = image();
    let (attestation, entry) = own.attestation();
    let arm = Recipe::new(vec![Layer::file("arm", b"arm")]).platform("linux/arm64/v8").build();
    let entries = vec![own.entry(), arm.entry(), entry];
    let index = Image::index_of(Family::Oci, entries, vec![own.clone(), arm, attestation]);
    let (source, to) = (Registry::start(), Receiver::start());
    let from = format!("docker://{}", source.push_new(&index));
    let name = to.name();
    copy(&["--all-platforms", &from, &name]).succeeded();
    assert_eq!(to.digest_of(&name), Some(index.digest()));
    for blob in &index.blobs {
        assert!(to.blob(&blob.digest.to_string()).as_ref() == Some(&blob.bytes));
    }
    // Without the flag it is what this machine runs.
    let name = to.name();
    copy(&[&from, &name]).succeeded();
    assert_eq!(to.digest_of(&name), Some(own.digest()));
}

#[test]
fn a_copy_that_is_there_already_reads_and_sends_no_blob() {
    let (image, source, to) = (image(), Registry::start(), Receiver::start());
    let (from, name) = (source.push_new(&image), to.name());
    copy(&[&from, &name]).succeeded();
    let before = source.requests().len();
    let again = copy(&["--progress", "json", &from, &name]).succeeded();
    let asked = source.requests().split_off(before);
    let layers = image.layers().iter().map(|layer| layer.digest.to_string());
    let layers: Vec<String> = layers.collect();
    assert!(!asked.iter().any(|line| layers.iter().any(|layer| line.contains(layer))), "{asked:?}");
    let finished = again.events().into_iter().find(|event| event["event"] == "finished").unwrap();
    assert_eq!(finished["sent_bytes"], 0);
}

#[test]
fn between_repositories_of_one_registry_layers_are_mounted() {
    let (image, registry) = (image(), Registry::start());
    let from = registry.push_new(&image);
    let to = format!("{}/{}:v1", registry.authority(), unique("team/copy"));
    copy(&[&from, &to]).succeeded();
    let asked = registry.requests();
    let layers = image.layers().iter().map(|layer| layer.digest.to_string());
    for layer in layers {
        let of = asked
            .iter()
            .filter(|line| line.contains(&layer) || line.contains(&layer.replace(':', "%3A")));
        assert!(
            of.clone().all(|line| line.starts_with("HEAD ") || line.starts_with("POST ")),
            "{asked:?}"
        );
    }
    let sends = asked.iter().filter(|line| line.starts_with("PUT ") || line.starts_with("PATCH "));
    assert_eq!(sends.count(), 2, "a configuration and a manifest");
}

#[test]
fn a_layout_is_a_place_with_and_without_a_tag() {
    let (image, source, to) = (image(), Registry::start(), Receiver::start());
    let from = source.push_new(&image);
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}", folder.path().display());
    copy(&[&from, &layout]).succeeded();
    copy(&[&from, &format!("{layout}:v2")]).succeeded();
    for (place, reference) in
        [(format!("{layout}:v2"), "by tag"), (format!("{layout}:{from}"), "by name")]
    {
        let name = to.name();
        copy(&[&place, &name]).succeeded();
        assert_eq!(to.digest_of(&name), Some(image.digest()), "{reference}");
    }
    let write = format!("hint: write {layout}:TAG; it has ");
    copy(&[&layout, &to.name()]).ended_with(2).says("several images").says(&write).says("v2");
    copy(&[&format!("{layout}:v3"), &to.name()]).ended_with(3).says("v3").says(&write).says(&from);
    let archive = format!("oci-archive:{}/images.tar", folder.path().display());
    copy(&[&format!("{layout}:v2"), &format!("{archive}:{from}")]).succeeded();
    let write = format!("hint: write {archive}:REF; it has {from}");
    copy(&[&format!("{archive}:v3"), &to.name()]).ended_with(3).says("v3").says(&write);
    let (absent, file) = (format!("{layout}/none"), format!("{layout}/images.tar"));
    copy(&[&absent, &to.name()]).ended_with(2).says("does not exist").says("oci-layout");
    copy(&[&file, &to.name()]).ended_with(2).says("is no OCI image layout").says("oci-layout");
    let inspected = Command::new("skopeo")
        .args(["inspect", "--format", "{{.Digest}}", &format!("{layout}:v2")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&inspected.stdout).trim(), image.digest());
}

#[test]
fn places_that_are_none_are_refused_with_what_can_be_written() {
    for place in ["dir:/x", "https://quay.io/x", "oci:", "containerd://x"] {
        copy(&[place, "quay.io/a/b:c"]).ended_with(2).says("containerd://NAMESPACE/REF");
    }
}

#[test]
fn eight_large_layers_stream_through_little_memory() {
    let layers = (0..8).map(|_| Layer::noise(&unique("large"), 24 << 20)).collect();
    let image = Recipe::new(layers).build();
    let (source, to) = (Registry::start(), Registry::start());
    let from = source.push_new(&image);
    let name = format!("{}/team/large:v1", to.authority());
    let copied = Pullctl::measured()
        .args([
            "copy",
            "--plain-http",
            "--ignore-containerd-config",
            "--progress",
            "none",
            &from,
            &name,
        ])
        .run()
        .succeeded();
    let peak = copied.peak_memory_bytes();
    assert!(peak < 100 << 20, "{} MiB", peak >> 20);
}

each_version! {
    fn an_image_moves_out_of_one_namespace_into_that_of_kubernetes(daemon) {
        let (image, registry) = (image(), FaultyRegistry::start());
        let name = registry.add_new(&image);
        let namespace = unique("moby");
        Pullctl::pull(daemon, &name).args(["-n", &namespace, "--no-unpack"]).run().succeeded();
        registry.forget_requests();
        let from = format!("containerd://{namespace}/{name}");
        let to = format!("{}/{}:v1", registry.authority(), unique("team/app"));
        copy_on(daemon, &[&from, &format!("containerd:{to}")]).succeeded();
        assert_eq!(registry.requests(), []);
        let store = Store::new(daemon, KUBERNETES);
        assert_eq!(store.images()[&to].target, image.digest());
        assert!(store.snapshots()[&image.chain_id()].committed);
        assert!(Cri::new(daemon).image(&to).is_some());
    }

    fn an_image_goes_from_a_registry_into_containerd_and_on_to_another_registry(daemon) {
        let (image, registry, to) = (image(), Registry::start(), Receiver::start());
        let from = registry.push_new(&image);
        let inside = format!("containerd://{KUBERNETES}/{from}");
        copy_on(daemon, &[&from, &inside]).succeeded();
        let name = to.name();
        copy_on(daemon, &[&inside, &name]).succeeded();
        assert_eq!(to.digest_of(&name), Some(image.digest()));
    }
}

#[test]
fn what_copy_takes_needs_a_daemon_only_where_one_is_named() {
    let daemon = Containerd::shared(Version::V2_1);
    let to = Receiver::start();
    copy_on(daemon, &["containerd:no/such:image", &to.name()]).ended_with(3).says("no/such:image");
    let nowhere = ["-a", "/no/such.sock", "containerd:a:b", &to.name()];
    copy(&nowhere).ended_with(9);
}

/// A signature or the like of `subject`, as OCI has it.
fn referrer(subject: &Image, content: &str) -> Image {
    let blob = Blob::new("application/vnd.example.sbom", content.as_bytes().to_vec());
    let empty = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let mut image = Image::small();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.sbom",
        "config": empty.descriptor(), "layers": [blob.descriptor()],
        "subject": subject.root.descriptor(),
        "annotations": { "org.example.of": content },
    });
    image.root = Blob::new(OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap());
    image.blobs = vec![empty, blob];
    image
}

#[test]
fn what_refers_to_an_image_comes_along_by_tag_where_the_registry_does_not_list_it() {
    let subject = image();
    let (source, to) = (Registry::start(), Registry::start());
    let repository = unique("team/signed");
    let from = source.push(&subject, &repository, "v1");
    let stands_for = subject.digest().replace(':', "-");
    let sboms = [referrer(&subject, "one"), referrer(&subject, "two")];
    let entries = sboms.iter().map(|sbom| sbom.root.descriptor()).collect();
    let list = Image::index_of(Family::Oci, entries, sboms.to_vec());
    source.push(&list, &repository, &stands_for);
    // What cosign makes has no subject, and a tag of its own.
    source.push(&image(), &repository, &format!("{stands_for}.sig"));

    let name = format!("{}/{repository}:v2", to.authority());
    let copied = copy(&["--all-platforms", "--referrers", &from, &name]).succeeded();
    assert!(copied.stderr.contains("4 of 4 images copied"), "{}", copied.stderr);
    let raw = |reference: &str| {
        let output = Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let listed = raw(&format!("{}/{repository}:{stands_for}", to.authority()));
    let mut listed: Vec<(String, String)> = listed["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (text(&entry["digest"]), text(&entry["artifactType"]))
        })
        .collect();
    listed.sort();
    let mut expected =
        sboms.each_ref().map(|sbom| (sbom.digest(), "application/vnd.example.sbom".to_owned()));
    expected.sort();
    assert_eq!(listed, expected);
    raw(&format!("{}/{repository}:{stands_for}.sig", to.authority()));

    // What refers to one of them is two steps away; a platform's image is enough.
    let signature = referrer(&sboms[0], "of one");
    let entries = vec![signature.root.descriptor()];
    let list = Image::index_of(Family::Oci, entries, vec![signature.clone()]);
    source.push(&list, &repository, &sboms[0].digest().replace(':', "-"));
    let far = Registry::start();
    let there = format!("{}/{repository}:v2", far.authority());
    let copied = copy(&["--referrers", &from, &there]).succeeded();
    assert!(copied.stderr.contains("5 of 5 images copied"), "{}", copied.stderr);
    raw(&format!("{}/{repository}@{}", far.authority(), signature.digest()));

    // A second time, nothing is listed twice.
    copy(&["--all-platforms", "--referrers", &from, &name]).succeeded();
    let again = raw(&format!("{}/{repository}:{stands_for}", to.authority()));
    assert_eq!(again["manifests"].as_array().map(Vec::len), Some(2));
    copy(&["--all-platforms", "--referrers", &from, "oci:/tmp/none:v1"]).ended_with(2);
}

#[test]
fn a_registry_that_lists_referrers_itself_gets_no_tag_for_them() {
    let subject = image();
    let (source, to) = (Registry::start(), Receiver::start());
    let repository = unique("team/signed");
    let from = source.push(&subject, &repository, "v1");
    let sbom = referrer(&subject, "one");
    let list = Image::index_of(Family::Oci, vec![sbom.root.descriptor()], vec![sbom.clone()]);
    source.push(&list, &repository, &subject.digest().replace(':', "-"));
    to.always(&format!("PUT /v2/team/taken/manifests/{}", sbom.digest()), Trick::Lists);
    let name = format!("{}/team/taken:v1", to.authority());
    copy(&["--all-platforms", "--referrers", &from, &name]).succeeded();
    assert!(to.manifests().iter().any(|manifest| manifest["artifactType"].is_string()));
    assert!(to.requests_for("manifests/sha256-").is_empty());
}

/// docker-registry loses sight of a blob while it is sent again, and refuses manifests that name it.
#[test]
fn a_configuration_that_several_images_share_is_sent_once() {
    let subject = image();
    let (source, to) = (Registry::start(), Receiver::start());
    let repository = unique("team/signed");
    let from = source.push(&subject, &repository, "v1");
    let sboms = ["one", "two", "three", "four"].map(|content| referrer(&subject, content));
    let entries = sboms.iter().map(|sbom| sbom.root.descriptor()).collect();
    let list = Image::index_of(Family::Oci, entries, sboms.to_vec());
    source.push(&list, &repository, &subject.digest().replace(':', "-"));
    let name = format!("{}/team/taken:v1", to.authority());
    copy(&["--all-platforms", "--referrers", &from, &name]).succeeded();
    let empty = sboms[0].blobs[0].digest.to_string().replace(':', "%3A");
    let is_upload = |request: &&Received| request.target.replace(':', "%3A").contains(&empty);
    let sent = to.requests_for("PUT ").iter().filter(is_upload).count();
    assert_eq!(sent, 1, "{:#?}", to.requests());
}

#[test]
fn an_archive_is_a_place_in_both_directions_and_both_forms() {
    let (image, source, to) = (image(), Registry::start(), Receiver::start());
    let from = source.push_new(&image);
    let folder = tempfile::tempdir().unwrap();
    for form in ["oci-archive", "docker-archive"] {
        let file = folder.path().join(form);
        let place = format!("{form}:{}", file.display());
        copy(&[&from, &place]).succeeded();
        for place in [place.clone(), format!("{place}:{from}")] {
            let name = to.name();
            copy(&[&place, &name]).succeeded();
            let config = image.config_digest();
            assert!(to.digest_of(&name).is_some() && to.blob(&config).is_some(), "{place}");
            // What docker's form says of an image, its manifest is not among.
            if form == "oci-archive" {
                assert_eq!(to.digest_of(&name), Some(image.digest()));
            }
        }
        copy(&[&format!("{place}:no/such:image"), &to.name()]).ended_with(3).says(&from);
    }
    let skopeo =
        format!("docker-archive:{}:quay.io/team/app:v1", folder.path().join("s").display());
    let copied = Command::new("skopeo")
        .args(["copy", "--src-tls-verify=false", &format!("docker://{from}"), &skopeo])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let name = to.name();
    copy(&[&skopeo, &name]).succeeded();
    assert!(to.blob(&image.config_digest()).is_some());
}

/// Has `registry` list `referrers` as those of `subject`.
fn list(registry: &FaultyRegistry, repository: &str, subject: &Image, referrers: &[&Image]) {
    let entries: Vec<_> = referrers.iter().map(|referrer| referrer.root.descriptor()).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let path = format!("/v2/{repository}/referrers/{}", subject.digest());
    registry.serve(&path, OCI_INDEX, None, index.to_string().into_bytes().into());
}

/// A registry of one image, which lists what refers to it, and the name of that image.
fn listing(subject: &Image) -> (FaultyRegistry, String, String) {
    let registry = FaultyRegistry::start();
    let repository = unique("team/signed");
    let from = registry.add(subject, &repository, "v1");
    let tags = json!({ "name": repository, "tags": ["v1"] }).to_string();
    let path = format!("/v2/{repository}/tags/list");
    registry.serve(&path, "application/json", None, tags.into_bytes().into());
    (registry, repository, from)
}

#[test]
fn what_refers_to_each_other_in_a_circle_or_too_far_away_ends() {
    let subject = image();
    let (source, repository, from) = listing(&subject);
    let mut chain = vec![subject];
    for step in ["one", "two", "three", "four", "five"] {
        let next = referrer(chain.last().unwrap(), step);
        source.add(&next, &repository, step);
        chain.push(next);
    }
    for pair in chain.windows(2) {
        // Back to the image as well, as nobody can sign it.
        list(&source, &repository, &pair[0], &[&pair[1], &chain[0], &pair[0]]);
    }
    let to = Registry::start();
    let name = format!("{}/{repository}:v2", to.authority());
    let copied = copy(&["--all-platforms", "--referrers", &from, &name]).succeeded();
    // The image, and four steps away from it.
    assert!(copied.stderr.contains("5 of 5 images copied"), "{}", copied.stderr);
    let asked =
        |path: &str| source.requests().iter().filter(|request| request.path.contains(path)).count();
    for (position, image) in chain.iter().enumerate() {
        let times = asked(&format!("/referrers/{}", image.digest()));
        assert_eq!(times, usize::from(position < 4), "{position}");
    }
    assert_eq!(asked(&chain[5].digest()), 0, "{:?}", source.requests());
}

#[test]
fn more_referrers_than_anybody_means_are_refused_before_any_is_copied() {
    let subject = image();
    let (source, repository, from) = listing(&subject);
    let entry = |number: u32| {
        let digest = pullctl::oci::Digest::of(number.to_string().as_bytes());
        json!({ "mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": 9 })
    };
    let entries: Vec<_> = (0..2000).map(entry).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let path = format!("/v2/{repository}/referrers/{}", subject.digest());
    source.serve(&path, OCI_INDEX, None, index.to_string().into_bytes().into());
    let to = Registry::start();
    let name = format!("{}/{repository}:v2", to.authority());
    let refused = copy(&["--all-platforms", "--referrers", &from, &name]);
    assert_ne!(refused.code, Some(0));
    refused.says("1024").says("copy those that are wanted by their digests");
    let asked: Vec<String> = source.requests().iter().map(|request| request.path.clone()).collect();
    let of_referrers = asked.iter().filter(|path| path.contains("/referrers/")).count();
    assert_eq!(of_referrers, 1, "{asked:?}");
}
