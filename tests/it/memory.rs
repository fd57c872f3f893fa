//! Memory stays bounded, however large an image is.

use std::fs;
use std::path::Path;
use std::process::Command;

use pullctl::oci::{Digest, Hasher};
use serde_json::json;

use crate::support::cli::{OF_DEBUG, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{Body, FaultyRegistry};
use crate::support::image::{Blob, Image, Layer, OCI_LAYER, Packing, Recipe, text};
use crate::support::registry::Registry;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// Most that a pull may need, in bytes (80 MiB).
const LIMIT: u64 = 80 << 20;
const GIB: u64 = 1 << 30;

/// How many bytes of the large file are the same (64 KiB).
const PIECE: u64 = 64 << 10;

/// Length of a tar's header, and of the zeros at its end, in bytes.
const BLOCK: u64 = 512;
const END: u64 = 2 * BLOCK;

/// An image whose one layer, a tar with a large file in it, has `length` bytes, which are made while
/// they are sent.
pub(crate) fn serve_large(registry: &FaultyRegistry, length: u64) -> String {
    let header = header(length - BLOCK - END);
    // A chunk that lags behind is asked for once more from wherever it stands.
    let fill = move |offset: u64, buffer: &mut [u8]| {
        let mut position = offset;
        let mut rest = &mut *buffer;
        while !rest.is_empty() {
            let length = usize::try_from(PIECE - position % PIECE).unwrap().min(rest.len());
            let (piece, after) = rest.split_at_mut(length);
            // Each piece differs from the next, so that misplaced bytes are noticed.
            piece.fill((position / PIECE).to_le_bytes()[0]);
            (position, rest) = (position + length as u64, after);
        }
        let beginning = usize::try_from(offset).ok().and_then(|offset| header.get(offset..));
        for (byte, of_header) in buffer.iter_mut().zip(beginning.unwrap_or_default()) {
            *byte = *of_header;
        }
        let end = usize::try_from((length - END).saturating_sub(offset)).unwrap();
        if let Some(end) = buffer.get_mut(end..) {
            end.fill(0);
        }
    };
    let digest = digest_of(length, fill);
    let rootfs = json!({ "type": "layers", "diff_ids": [digest.to_string()] });
    let placeholder = Layer {
        blob: Blob { media_type: OCI_LAYER.to_owned(), digest, bytes: Vec::new() },
        diff_id: digest,
    };
    let mut image: Image = Recipe::new(vec![placeholder])
        .config("rootfs", rootfs)
        .build()
        .edit_manifest(|manifest| manifest["layers"][0]["size"] = json!(length));
    image.blobs.truncate(1);
    let repository = unique("large/image");
    let reference = registry.add(&image, &repository, "v1");
    let path = format!("/v2/{repository}/blobs/{digest}");
    registry.serve(&path, "application/octet-stream", None, Body::generated(length, fill));
    reference
}

/// The header of a tar's only file.
pub(crate) fn header(size: u64) -> [u8; BLOCK as usize] {
    let mut header = tar::Header::new_ustar();
    header.set_path("large").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    *header.as_bytes()
}

fn digest_of(length: u64, fill: impl Fn(u64, &mut [u8])) -> Digest {
    let mut hasher = Hasher::new();
    let mut piece = vec![0; usize::try_from(PIECE).unwrap()];
    for offset in (0..length).step_by(piece.len()) {
        fill(offset, &mut piece);
        hasher.update(&piece);
    }
    hasher.finish()
}

#[test]
fn a_layer_longer_than_32_bits_count_needs_less_than_80_mib() {
    let registry = FaultyRegistry::start();
    let reference = serve_large(&registry, 4 * GIB + (64 << 20));
    let folder = tempfile::tempdir().unwrap();
    let to = format!("oci:{}", folder.path().display());
    let outcome = Pullctl::measured().args(["pull", "--plain-http", "--to", &to, &reference]);
    let outcome = outcome.run().succeeded();
    assert!(outcome.peak_memory_bytes() < LIMIT, "{} bytes", outcome.peak_memory_bytes());
}

#[test]
fn eight_layers_at_once_need_less_than_80_mib_however_many_processors_there_are() {
    let layers = (0..8).map(|_| Layer::noise(&unique("large"), 48 << 20)).collect();
    let registry = Registry::start();
    let reference = registry.push_new(&Recipe::new(layers).build());
    let daemon = Containerd::shared(Version::V2_1);
    let folder = tempfile::tempdir().unwrap();
    let many = many_processors(folder.path());
    // What is handed out takes 54 to 59 MiB, so that a debug build has no room for what it takes more.
    let limit = LIMIT + OF_DEBUG;
    for preloaded in ["", &many] {
        let namespace = unique("memory");
        let pull = Pullctl::measured().on(daemon).args(["pull", "--plain-http", "-n"]);
        let pull = pull.env("LD_PRELOAD", preloaded).args([&namespace, &reference]);
        let outcome = pull.run().succeeded();
        assert!(outcome.peak_memory_bytes() < limit, "{} bytes", outcome.peak_memory_bytes());
        let saved = Pullctl::measured().on(daemon).args(["save", "-n", &namespace, "-o"]);
        let saved = saved.args([folder.path().join("images.tar")]).args([&reference]);
        let saved = saved.env("LD_PRELOAD", preloaded).run().succeeded();
        assert!(saved.peak_memory_bytes() < limit, "{} bytes", saved.peak_memory_bytes());
    }
}

/// A library that tells a program of 96 processors.
pub(crate) fn many_processors(folder: &Path) -> String {
    let (code, library) = (folder.join("processors.c"), folder.join("processors.so"));
    let answer = "#define _GNU_SOURCE\n#include <sched.h>\n#include <string.h>\n\
         int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {\n\
         memset(set, 0, size);\n\
         for (int processor = 0; processor < 96; processor++) CPU_SET_S(processor, size, set);\n\
         return 0;\n}\n";
    fs::write(&code, answer).unwrap();
    // What Rust links with.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &code]);
    assert!(compiler.status().unwrap().success());
    library.into_os_string().into_string().unwrap()
}

#[test]
fn a_layer_inflated_by_four_threads_needs_less_than_80_mib() {
    let tar = Tree::new().file(&unique("large"), &text(1, 48 << 20)).into_tar();
    let registry = Registry::start();
    let layer = Layer::pack(&tar, Packing::SmallGzip);
    let reference = registry.push_new(&Recipe::new(vec![layer]).build());
    let daemon = Containerd::shared(Version::V2_1);
    let flags = ["--plain-http", "--inflate-threads", "4", "-n", &unique("memory"), &reference];
    let outcome = Pullctl::measured().on(daemon).args(["pull"]).args(flags).run().succeeded();
    assert!(outcome.peak_memory_bytes() < LIMIT, "{} bytes", outcome.peak_memory_bytes());
}

#[test]
fn saving_a_large_layer_needs_less_than_80_mib() {
    let daemon = Containerd::shared(Version::V2_1);
    let registry = FaultyRegistry::start();
    let reference = serve_large(&registry, GIB / 4);
    let namespace = unique("memory");
    let flags = ["-n", &namespace, "--no-unpack"];
    Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("large.tar");
    for from in [&["-n", &namespace][..], &["--from", "registry", "--plain-http"]] {
        let saved = Pullctl::measured().on(daemon).args(["save", "-o"]).args([&archive]);
        let saved = saved.args(from).args([&reference]).run().succeeded();
        assert!(saved.peak_memory_bytes() < LIMIT, "{} bytes", saved.peak_memory_bytes());
        assert!(archive.metadata().unwrap().len() > GIB / 4);
    }
}

each_version! {
    fn importing_and_unpacking_a_large_layer_needs_less_than_80_mib(daemon) {
        let registry = FaultyRegistry::start();
        // A size of its own for each daemon is not needed: each has its own store.
        let reference = serve_large(&registry, GIB / 4);
        let outcome = Pullctl::measured()
            .on(daemon)
            .args(["pull", "--plain-http", "-n", &unique("memory"), &reference])
            .run()
            .succeeded();
        assert!(outcome.peak_memory_bytes() < LIMIT, "{} bytes", outcome.peak_memory_bytes());
    }
}
