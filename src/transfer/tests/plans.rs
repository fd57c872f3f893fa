//! What is chosen of an index, and which documents are read for it.

use std::sync::Arc;

use super::image::{INDEX, Tree, config, image, image_for, layer, manifest};
use super::memory::{MemorySink, MemorySource};
use super::{Told, host};
use crate::failure::Failure;
use crate::oci::Digest;
use crate::platform::Platform;
use crate::progress::{BlobKind, Event};
use crate::sync::lock;
use crate::transfer::documents::Documents;
use crate::transfer::error::Error;
use crate::transfer::plan::Plan;
use crate::transfer::{Names, PlatformChoice, planner};

/// What came of planning, and which documents the source was asked for.
struct Planned {
    plan: Result<Plan, Error>,
    asked: Vec<Digest>,
    events: Vec<Event>,
}

async fn plan(tree: &Tree, platforms: PlatformChoice) -> Planned {
    plan_with(tree, platforms, MemorySink::default()).await
}

async fn plan_with(tree: &Tree, platforms: PlatformChoice, sink: MemorySink) -> Planned {
    let source = Arc::new(MemorySource::new(tree));
    let mut documents = Documents::new(Arc::clone(&source) as Arc<_>, Arc::new(sink), None);
    let names = Arc::new(Names::new("example.org/app:1".parse().unwrap()));
    let (told, target) = (Told::default(), tree.descriptor.clone());
    let plan = planner::build(&mut documents, target, &names, &platforms, &told).await;
    let asked = lock(&source.documents).clone();
    Planned { plan, asked, events: told.0.into_inner().unwrap() }
}

impl Planned {
    /// The platforms of the images chosen, and whether each is unpacked.
    fn chosen(&self) -> Vec<(String, bool)> {
        let images = &self.plan.as_ref().unwrap().images;
        images.iter().map(|image| (image.platform.to_string(), image.unpack)).collect()
    }

    fn error(&self) -> &Error {
        self.plan.as_ref().unwrap_err()
    }
}

fn strict(architectures: &[&str]) -> PlatformChoice {
    let platform = |architecture: &&str| Platform::from_parts("linux", architecture, "", "");
    PlatformChoice::Strict(architectures.iter().map(platform).collect())
}

fn all() -> PlatformChoice {
    PlatformChoice::All { host: Platform::from_parts("linux", "amd64", "", "") }
}

/// An index of an image for each architecture.
fn index_of(architectures: &[&str]) -> Tree {
    let entry = |architecture: &&str| {
        image_for(architecture, &[&format!("layer for {architecture}")]).on("linux", architecture)
    };
    Tree::index(&architectures.iter().map(entry).collect::<Vec<_>>())
}

fn attestation() -> Tree {
    let statement = Tree::of("application/vnd.in-toto+json", "{}");
    manifest(&config("unknown", std::slice::from_ref(&statement)), &[statement])
        .on("unknown", "unknown")
        .annotated("vnd.docker.reference.type", "attestation-manifest")
}

#[tokio::test]
async fn of_an_index_the_image_for_this_host_is_read_and_no_other() {
    let tree = index_of(&["arm64", "amd64", "s390x"]);
    let planned = plan(&tree, host()).await;
    assert_eq!(planned.chosen(), [("linux/amd64".to_owned(), true)]);
    assert_eq!(planned.asked.len(), 3, "an index, a manifest, a configuration");
    let documents = &planned.plan.unwrap().documents;
    let kinds: Vec<_> = documents.iter().map(|document| document.kind).collect();
    assert_eq!(kinds, [BlobKind::Config, BlobKind::Manifest, BlobKind::Index]);
    assert_eq!(documents[2].children.len(), 3);
}

#[tokio::test]
async fn platforms_are_chosen_as_they_are_asked_for() {
    let tree = index_of(&["arm64", "amd64", "386"]);
    for (choice, expected) in [
        (strict(&["arm64"]), vec![("linux/arm64", true)]),
        (strict(&["386", "amd64"]), vec![("linux/386", true), ("linux/amd64", true)]),
        (all(), vec![("linux/amd64", true), ("linux/arm64", false), ("linux/386", false)]),
    ] {
        let chosen = plan(&tree, choice).await.chosen();
        let chosen: Vec<_> = chosen.iter().map(|(name, unpack)| (name.as_str(), *unpack)).collect();
        assert_eq!(chosen, expected);
    }
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_an_error_that_lists_what_is() {
    let planned = plan(&index_of(&["arm64", "s390x"]), strict(&["riscv64"])).await;
    let Error::NoPlatform { wanted, available } = planned.error() else { panic!() };
    assert_eq!(wanted, "linux/riscv64");
    assert_eq!(available, &["linux/arm64", "linux/s390x"]);
}

#[tokio::test]
async fn attestations_come_along_with_all_platforms_only_and_are_not_unpacked() {
    let amd64 = image(&["layer"]).on("linux", "amd64");
    let tree = Tree::index(&[amd64, attestation()]);
    assert_eq!(plan(&tree, host()).await.chosen().len(), 1);
    let chosen = plan(&tree, all()).await.chosen();
    assert_eq!(chosen[1], ("unknown/unknown".to_owned(), false));
}

#[tokio::test]
async fn an_entry_without_platform_is_asked_for_its_configuration() {
    let tree = Tree::index(&[image_for("arm64", &["a"]), image(&["b"])]);
    assert_eq!(plan(&tree, host()).await.chosen(), [("linux/amd64".to_owned(), true)]);
}

#[tokio::test]
async fn a_single_manifest_for_another_platform_is_taken_with_a_warning() {
    let planned = plan(&image_for("s390x", &["layer"]), host()).await;
    assert_eq!(planned.chosen(), [("linux/s390x".to_owned(), true)]);
    let [Event::Warning(notice)] = &planned.events[..] else { panic!("{:?}", planned.events) };
    assert_eq!(notice.code, "platform-mismatch");
}

#[tokio::test]
async fn indexes_in_indexes_are_followed_four_deep() {
    let nested = |depth: usize| {
        let image = image(&["layer"]).on("linux", "amd64");
        (0..depth).fold(image, |tree, _| Tree::index(&[tree]))
    };
    assert_eq!(plan(&nested(4), host()).await.chosen().len(), 1);
    assert!(matches!(plan(&nested(5), host()).await.error(), Error::IndexTooDeep(_)));
}

#[tokio::test]
async fn an_index_that_lists_itself_or_another_twice_is_read_once() {
    let inner = Tree::index(&[image(&["layer"]).on("linux", "amd64")]);
    let planned = plan(&Tree::index(&[inner.clone(), inner]), host()).await;
    assert_eq!(planned.chosen().len(), 1);
    assert_eq!(planned.asked.len(), 4);
}

#[tokio::test]
async fn an_index_may_list_512_manifests_and_cost_as_many_requests() {
    let entries = |count: usize| {
        let amd64 = image(&["layer"]).on("linux", "amd64");
        Tree::index(&vec![amd64; count])
    };
    assert_eq!(plan(&entries(512), host()).await.chosen().len(), 1);
    assert!(matches!(plan(&entries(513), host()).await.error(), Error::TooManyManifests(512)));
    let unnamed = (0..600).map(|number| Tree::of(INDEX, format!("{{\"n\":{number}}}")));
    let planned = plan(&Tree::index(&unnamed.collect::<Vec<_>>()), host()).await;
    assert!(planned.plan.is_err());
    assert!(planned.asked.len() <= 512, "{}", planned.asked.len());
}

#[tokio::test]
async fn documents_in_their_descriptors_are_not_asked_for() {
    let layers = [layer("layer")];
    let image = manifest(&config("amd64", &layers).embedded(), &layers).on("linux", "amd64");
    let planned = plan(&Tree::index(&[image.embedded()]), host()).await;
    assert_eq!(planned.chosen().len(), 1);
    assert_eq!(planned.asked.len(), 1, "the index alone");
    assert_eq!(planned.plan.unwrap().documents.len(), 3);
}

#[tokio::test]
async fn what_the_sink_has_is_not_asked_for_unless_it_is_damaged() {
    let tree = image(&["layer"]);
    let [.., manifest] = &tree.blobs[..] else { panic!() };
    for (stored, asked) in [(manifest.clone(), 1), ("damaged".into(), 2)] {
        let sink = MemorySink::default();
        sink.put(tree.descriptor.digest, stored);
        let planned = plan_with(&tree, host(), sink).await;
        assert_eq!(planned.asked.len(), asked);
        assert_eq!(planned.chosen().len(), 1);
    }
}

#[tokio::test]
async fn what_is_no_image_or_too_large_is_refused() {
    use crate::failure::Diagnose as _;
    let chart = Tree::of("application/vnd.cncf.helm.config.v1+json", "{}");
    let planned = plan(&manifest(&chart, &[layer("chart")]), host()).await;
    assert!(matches!(planned.error(), Error::NotAnImage(_)), "{:?}", planned.error());
    let mut large = image(&["layer"]);
    large.descriptor.size = 5 << 20;
    let planned = plan(&large, host()).await;
    assert!(matches!(planned.error(), Error::DocumentTooLarge { .. }), "{:?}", planned.error());
    assert_eq!(planned.error().failure(), Failure::Verification);
    assert_eq!(planned.asked, []);
}
