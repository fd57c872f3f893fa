//! Faults that no retry cures, as a table has them, and how a pull has to end that meets one.

use super::cli::Pullctl;
use super::containerd::{Containerd, KUBERNETES};
use super::faulty::{Body, Fault, FaultyRegistry};
use super::image::{Image, Layer, Recipe};
use super::store::Store;
use super::unique;

/// A fault that no retry cures.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Sets it up for an image; answers what to pull.
    pub(crate) arrange: fn(&FaultyRegistry) -> String,
    pub(crate) code: i32,
    /// What standard error says, among other things.
    pub(crate) says: &'static [&'static str],
}

impl Case {
    /// Checks that a pull with these further arguments ends for each of `cases` in the exit code,
    /// the message and a hint, and that nothing can be seen of the image.
    #[track_caller]
    pub(crate) fn check_all(cases: &[Self], daemon: &Containerd, arguments: &[&str]) {
        let complaints: Vec<String> =
            cases.iter().flat_map(|case| case.complaints(daemon, arguments)).collect();
        assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    }

    /// What is wrong with how the case ended.
    fn complaints(&self, daemon: &Containerd, arguments: &[&str]) -> Vec<String> {
        let registry = FaultyRegistry::start();
        let reference = (self.arrange)(&registry);
        let namespace = unique("fault");
        let pull = Pullctl::pull(daemon, &reference).args(["-n", &namespace, "--retries", "1"]);
        let outcome = pull.args(arguments).run();
        let mut complaints = Vec::new();
        let mut wants = |holds: bool, what: String| {
            if !holds {
                complaints.push(format!("{}: {what}\n{}", self.name, outcome.stderr));
            }
        };
        let code = outcome.code;
        wants(code == Some(self.code), format!("code {code:?}, not {}", self.code));
        wants(outcome.stderr.contains("error: "), "no error".to_owned());
        wants(outcome.stderr.contains("hint: "), "no hint".to_owned());
        for text in self.says {
            wants(outcome.stderr.contains(text), format!("no \"{text}\""));
        }
        let store = Store::new(daemon, &namespace);
        let (images, snapshots) = (store.images(), store.snapshots());
        wants(images.is_empty(), format!("visible: {images:?}"));
        // The images have one layer, which the fault keeps from being complete.
        wants(snapshots.is_empty(), format!("left over: {snapshots:?}"));
        complaints
    }
}

/// An image with one layer of 300 KB.
pub(crate) fn layered() -> Image {
    Recipe::new(vec![Layer::noise(&unique("faulty"), 300_000)]).build()
}

/// Digest of the image's lowest layer.
pub(crate) fn layer_of(image: &Image) -> String {
    image.layers()[0].digest.to_string()
}

/// Serves an image and lets `fault` befall its layer.
pub(crate) fn with_layer_fault(registry: &FaultyRegistry, fault: Fault) -> String {
    let image = layered();
    registry.always(&layer_of(&image), fault);
    registry.add_new(&image)
}

/// Serves an image and lets `fault` befall its manifest.
pub(crate) fn with_manifest_fault(registry: &FaultyRegistry, fault: Fault) -> String {
    registry.always("/manifests/", fault);
    registry.add_new(&layered())
}

/// A body of text.
pub(crate) fn text(text: impl Into<String>) -> Body {
    Body::from(text.into().into_bytes())
}

/// Pulls, expects success, and checks that the image's layer is what it should be.
#[track_caller]
pub(crate) fn survives(daemon: &Containerd, reference: &str, image: &Image) {
    Pullctl::pull(daemon, reference).args(["--chunk-size", "1MiB"]).run().succeeded();
    let store = Store::new(daemon, KUBERNETES);
    assert!(store.images().contains_key(reference));
    assert!(store.blob(&layer_of(image)) == image.layers()[0].bytes, "the layer differs");
}
