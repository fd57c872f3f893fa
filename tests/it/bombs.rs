//! Layers that inflate to far more than they are: memory stays bounded all the same. What they
//! inflate to are zeros behind the archive's end, which have to be hashed but are written nowhere.

use std::io::{self, Read as _, Write};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use pullctl::oci::Hasher;

use crate::support::cli::Pullctl;
use crate::support::containerd::Containerd;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Blob, Image, Layer, OCI_LAYER, Packing, Recipe};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// Most that a pull may need, in bytes (150 MiB).
const LIMIT: u64 = 150 << 20;

/// What each layer inflates to, in bytes (128 MiB), and how many there are: as many as are extracted
/// at the same time.
const INFLATED: u64 = 128 << 20;
const LAYERS: usize = 4;

/// Makes a layer that inflates to an archive with one file and zeros, `length` bytes of both.
fn bomb<W: Write>(
    suffix: &str,
    length: u64,
    mut packer: W,
    finish: impl FnOnce(W) -> Vec<u8>,
) -> Layer {
    // So large that it does not wait in memory for the layers below.
    let tar = Tree::new().ballast(&unique("ballast")).into_tar();
    let mut content = tar.as_slice().chain(io::repeat(0)).take(length);
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let length = content.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        hasher.update(&piece[..length]);
        packer.write_all(&piece[..length]).unwrap();
    }
    let blob = Blob::new(&format!("{OCI_LAYER}+{suffix}"), finish(packer));
    assert!((blob.bytes.len() as u64) < length / 50, "{} bytes", blob.bytes.len());
    Layer { blob, diff_id: hasher.finish() }
}

fn gzip_bomb() -> Layer {
    let packer = GzEncoder::new(Vec::new(), Compression::fast());
    bomb("gzip", INFLATED, packer, |packer| packer.finish().unwrap())
}

/// `window_log` says how much of what it has inflated a decoder has to remember.
fn zstd_bomb(window_log: u32, length: u64) -> Layer {
    let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packer.window_log(window_log).unwrap();
    bomb("zstd", length, packer, |packer| packer.finish().unwrap())
}

fn image(layer: fn() -> Layer) -> Image {
    Recipe::new((0..LAYERS).map(|_| layer()).collect()).build()
}

/// Pulls `image` within the limit; answers what was said.
fn is_survived(image: &Image, way: &str, daemon: &Containerd) -> String {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(image);
    let namespace = unique("bomb");
    let pull = Pullctl::measured().on(daemon).args(["pull", "--plain-http", &reference]);
    let outcome = pull.args(["-n", &namespace, "--unpacker", way]).run().succeeded();
    assert!(outcome.peak_memory_bytes() < LIMIT, "{} bytes", outcome.peak_memory_bytes());
    assert!(Store::new(daemon, &namespace).snapshots()[&image.chain_id()].committed);
    outcome.stderr
}

each_version! {
    fn gzip_bombs_need_no_more_memory_than_other_layers(daemon) {
        static IMAGE: LazyLock<Image> = LazyLock::new(|| image(gzip_bomb));
        is_survived(&IMAGE, "direct", daemon);
    }

    fn zstd_bombs_need_no_more_memory_than_other_layers(daemon) {
        static IMAGE: LazyLock<Image> = LazyLock::new(|| image(|| zstd_bomb(23, INFLATED)));
        is_survived(&IMAGE, "direct", daemon);
    }

    fn zstd_layers_with_huge_windows_are_left_to_containerd(daemon) {
        // Not as much as would fill the windows: containerd takes its time over that.
        static IMAGE: LazyLock<Image> = LazyLock::new(|| image(|| zstd_bomb(27, INFLATED / 4)));
        let said = is_survived(&IMAGE, "auto", daemon);
        assert!(said.contains("containerd unpacks"), "{said}");
    }

    fn what_layers_may_be_unpacked_is_bounded_for_all_of_them_together(daemon) {
        let registry = FaultyRegistry::start();
        let layer = || {
            let noughts = vec![0; 3 << 20];
            Layer::pack(&Tree::new().file(&unique("large"), &noughts).into_tar(), Packing::Gzip)
        };
        let reference = registry.add_new(&Recipe::new(vec![layer(), layer()]).build());
        for way in ["direct", "daemon"] {
            let namespace = unique("bounded");
            let pull = |limit: &str| {
                let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http", &reference]);
                pull.args(["-n", &namespace, "--unpacker", way, "--max-unpacked", limit]).run()
            };
            let refused = pull("5MiB").ended_with(10).says("the 5242880 bytes of --max-unpacked");
            refused.says("hint: if the image is worth that much disk, raise --max-unpacked");
            assert!(Store::new(daemon, &namespace).images().is_empty(), "{way}");
            pull("7MiB").succeeded();
        }
    }
}
