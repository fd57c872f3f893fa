//! `--memory`: what a run is given it keeps to, whatever the image is made of and whatever it is asked to do
//! at once.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use pullctl::oci::{Digest, Hasher};
use serde_json::json;

use crate::memory::{header, many_processors, serve_large};
use crate::support::cli::{OF_DEBUG, Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Blob, Layer, OCI_LAYER, Packing, Recipe, noise};
use crate::support::registry::Registry;
use crate::support::tree::Tree;
use crate::support::unique;

const MIB: u64 = 1 << 20;

/// The least that `--memory` takes, in MiB.
const LEAST: u64 = 64;

/// Sizes of the layers of an image that has many large ones.
const LARGE: usize = 16 << 20;

/// A zstd layer with the widest window that layers may have.
fn zstd_layer() -> Layer {
    let seed = unique("zstd");
    let tar = Tree::new().file(&seed, &noise(&seed, LARGE)).into_tar();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(23).unwrap();
    encoder.write_all(&tar).unwrap();
    let blob = Blob::new(&format!("{OCI_LAYER}+zstd"), encoder.finish().unwrap());
    Layer { blob, diff_id: Digest::of(&tar) }
}

fn gzip_layer() -> Layer {
    let seed = unique("gzip");
    let tar = Tree::new().file(&seed, &noise(&seed, LARGE)).into_tar();
    Layer::pack(&tar, Packing::Gzip)
}

/// A gzip layer whose only file is `length` zeros.
fn zeros(length: u64) -> Layer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut hasher = Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(bytes);
        encoder.write_all(bytes).unwrap();
    };
    add(&header(length));
    let piece = vec![0; 1 << 20];
    (0..length).step_by(piece.len()).for_each(|_| add(&piece));
    add(&[0; 1024]);
    let blob = Blob::new(&format!("{OCI_LAYER}+gzip"), encoder.finish().unwrap());
    Layer { blob, diff_id: hasher.finish() }
}

/// Has the measured run, which has `budget` in MiB, succeed within it.
#[track_caller]
fn within(budget: u64, run: Pullctl) -> Outcome {
    let outcome = run.args(["--memory", &format!("{budget}MiB")]).run().succeeded();
    let peak = outcome.peak_memory_bytes();
    assert!(peak <= budget * MIB + OF_DEBUG, "{} of {budget} MiB", peak as f64 / MIB as f64);
    outcome
}

fn pull(daemon: &Containerd, reference: &str) -> Pullctl {
    let pull = Pullctl::measured().on(daemon).args(["pull", "--plain-http", reference]);
    pull.args(["-n", &unique("budget")])
}

#[test]
fn eight_layers_sixteen_at_once_stay_within_what_they_are_given() {
    let layers = (0..8).map(|position| match position {
        0..3 => gzip_layer(),
        3..6 => zstd_layer(),
        _ => Layer::noise(&unique("plain"), LARGE),
    });
    let registry = Registry::start();
    let reference = registry.push_new(&Recipe::new(layers.collect()).build());
    let daemon = Containerd::shared(Version::V2_1);
    let folder = tempfile::tempdir().unwrap();
    let many = many_processors(folder.path());
    let pull = pull(daemon, &reference).env("LD_PRELOAD", &many);
    within(LEAST, pull.args(["--concurrency", "16"]));
    each_command(daemon, &registry, &reference, folder.path());
}

/// The other commands that move blobs.
fn each_command(daemon: &Containerd, registry: &Registry, reference: &str, folder: &Path) {
    let namespace = unique("budget");
    Pullctl::pull(daemon, reference).args(["-n", &namespace]).run().succeeded();
    let archive = folder.join("images.tar");
    let measured = || Pullctl::measured().on(daemon).args(["-n", &namespace]);
    within(LEAST, measured().args(["save", "-o"]).args([&archive]).args([reference]));
    within(LEAST, measured().args(["check", "--deep", reference]));
    let elsewhere = || format!("{}/{}:v1", registry.authority(), unique("elsewhere"));
    let many = ["--plain-http", "--concurrency", "16"];
    within(LEAST, measured().args(["push", reference, &elsewhere()]).args(many));
    within(LEAST, measured().args(["copy", reference, &elsewhere()]).args(many));
    let load = Pullctl::measured().on(daemon).args(["-n", &unique("budget"), "load", "-i"]);
    within(LEAST, load.args([&archive]));
}

#[test]
fn many_layers_and_large_documents_need_no_more() {
    let layers = (0..128).map(|_| Layer::file(&unique("small"), &noise(&unique("s"), 100_000)));
    let history: Vec<_> = (0..1500).map(|_| json!({ "created_by": "x".repeat(1000) })).collect();
    let image = Recipe::new(layers.collect()).config("history", json!(history)).build();
    let image = image.edit_manifest(|manifest| {
        manifest["annotations"] = json!({ "long": "x".repeat(1_000_000) });
    });
    let reference = FaultyRegistry::start().add_new(&image);
    within(LEAST, pull(Containerd::shared(Version::V2_1), &reference));
    within(LEAST, pull(Containerd::shared(Version::V1_6), &reference));
}

#[test]
fn neither_a_layer_that_inflates_to_a_gibibyte_nor_ranges_of_one_need_more() {
    let daemon = Containerd::shared(Version::V2_1);
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Recipe::new(vec![zeros(1 << 30)]).build());
    within(LEAST, pull(daemon, &reference));
    let reference = serve_large(&registry, 1 << 29);
    within(LEAST, pull(daemon, &reference).args(["--chunk-size", "1GiB"]));
}

#[test]
fn too_little_is_refused_and_where_it_means_nothing_it_is_not_offered() {
    let refused = Pullctl::new().args(["pull", "--memory", "63MiB", "busybox"]).run().ended_with(2);
    assert!(refused.stderr.contains("say --memory 64MiB"), "{}", refused.stderr);
    for command in [&["images"][..], &["tag", "a", "b"], &["rm", "a"], &["load", "--list"]] {
        Pullctl::new().args(command).args(["--memory", "64MiB"]).run().ended_with(2);
    }
}

#[test]
fn an_archive_with_a_wider_window_than_there_is_memory_for_says_what_to_do() {
    let daemon = Containerd::shared(Version::V2_1);
    let reference = FaultyRegistry::start().add_new(&Recipe::new(vec![gzip_layer()]).build());
    let namespace = unique("budget");
    Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
    let folder = tempfile::tempdir().unwrap();
    let [plain, packed] = ["images.tar", "images.tar.zst"].map(|name| folder.path().join(name));
    let save = Pullctl::new().on(daemon).args(["-n", &namespace, "save", "-o"]);
    save.args([&plain]).args([&reference]).run().succeeded();
    let file = std::fs::File::create(&packed).unwrap();
    let mut encoder = zstd::Encoder::new(file, 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&std::fs::read(&plain).unwrap()).unwrap();
    encoder.finish().unwrap();
    let load = || {
        let namespace = unique("budget");
        Pullctl::measured().on(daemon).args(["-n", &namespace, "load", "-i"]).args([&packed])
    };
    let refused = load().args(["--memory", "64MiB"]).run().ended_with(7);
    assert!(refused.stderr.contains("--memory 256MiB"), "{}", refused.stderr);
    within(256, load());
}
