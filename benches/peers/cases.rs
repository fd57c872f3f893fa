//! The table of cases: which images, over which network.

use crate::content::{Texture, Tree};
use crate::layer::Packing;
use crate::network::Network;
use crate::publish::Recipe;

/// Repository of the image that several cases share.
const ONE_LAYER: &str = "bench/one-layer";

const MIB: usize = 1 << 20;

/// How many layers `tiny` has.
const TINY_LAYERS: usize = 100;

/// What is done with the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Pull,
    /// They are there already and are pulled again.
    PullAgain,
    /// They are there already, in the kubelet's namespace, and somebody sees to it that they are.
    Ensure,
    /// They are there already and are saved in an archive; the yardstick is `cp` of that, the floor `cp`
    /// and SHA-256 of the blobs.
    Save,
    Load(Input),
    /// From the daemon, or from a layout where there is none, to an empty registry; the floor is to send
    /// the same bytes there.
    Push,
    /// The same where all of it is at the registry already.
    PushAgain,
    /// From one registry to an empty one, without a daemon; the floor is to send what comes of one to the
    /// other.
    Copy,
    /// From one namespace of the daemon, which has them unpacked, to another one; the floor is `cp -a`
    /// of the layers' files.
    CopyNamespaces,
    /// They are there already, unpacked, and every byte and file is checked; the floor is `sha256sum` of
    /// the blobs and `igzip -d | tar d` of the layers.
    Check,
}

/// What images are loaded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// An archive in a file.
    File,
    /// The same out of `zstd -dc`.
    Pipe,
    /// One archive of all images; one an image for who takes one at a time.
    Files,
}

/// What shows what the machine can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The layers go through `curl | igzip -d | tar x`.
    Unpack,
    /// `cp` of the archive.
    Copy,
    /// What waits for what in the pull of one small image, by itself.
    Steps,
}

/// One race.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Name on the command line.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) images: Vec<Recipe>,
    pub(crate) network: Network,
    pub(crate) act: Act,
    /// What is also measured, to show what the machine can.
    pub(crate) limit: Option<Limit>,
    /// How many rounds count as one: of what takes milliseconds, a few tell nothing.
    pub(crate) rounds: u32,
    /// What no client gets around is also done by itself, which shows what is left to one.
    pub(crate) floor: bool,
}

impl Case {
    fn new(name: &'static str, title: &'static str, images: Vec<Recipe>) -> Self {
        Self {
            name,
            title,
            images,
            network: Network::Direct,
            act: Act::Pull,
            limit: None,
            rounds: 1,
            floor: false,
        }
    }

    fn over(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    fn by(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    /// All cases, in the order of the report.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self {
                limit: Some(Limit::Unpack),
                floor: true,
                ..Self::new("one-layer", "one layer of 200 MiB, many files", vec![one_layer()])
            },
            Self::new("ten-layers", "ten layers of 100 MiB", vec![layers("ten", 10, 295, 5)]),
            Self {
                floor: true,
                ..Self::new("eight-layers", "eight layers, 750 MB of 1.9 GB", vec![eight_layers()])
            },
            Self {
                floor: true,
                ..Self::new(
                    "incompressible",
                    "512 MB that does not compress",
                    vec![incompressible()],
                )
            },
            Self {
                floor: true,
                ..Self::new("one-layer-zstd", "the one layer, zstd", vec![one_layer().zstd()])
            },
            Self {
                floor: true,
                ..Self::new(
                    "eight-layers-zstd",
                    "the eight layers, zstd",
                    vec![eight_layers().zstd()],
                )
            },
            Self {
                limit: Some(Limit::Steps),
                rounds: 5,
                floor: true,
                ..Self::new("pause", "one small image", vec![pause()])
            },
            Self { floor: true, ..Self::new("tiny", "100 tiny layers", vec![tiny()]) },
            Self::new("again", "a repeated pull", vec![one_layer()]).by(Act::PullAgain),
            Self {
                act: Act::Save,
                limit: Some(Limit::Copy),
                floor: true,
                ..Self::new("save", "eight layers into an archive", vec![eight_layers()])
            },
            Self {
                floor: true,
                ..Self::new("capped", "200 MiB at 20 MB/s a connection", vec![one_layer()])
                    .over(Network::Capped)
            },
            Self {
                floor: true,
                ..Self::new("far", "the same 50 ms away, redirected", vec![one_layer()])
                    .over(Network::Far)
            },
            Self {
                limit: Some(Limit::Unpack),
                floor: true,
                ..Self::new("fleet", "50 images that share layers", fleet())
            },
            Self::new("present", "50 images of a list that are there", fleet()).by(Act::Ensure),
            Self::new(
                "starved",
                "one connection in eight at 100 KB/s",
                vec![layers("starved", 8, 12, 5)],
            )
            .over(Network::Starved),
            Self::new("load", "the eight layers, loaded from an archive", vec![eight_layers()])
                .by(Act::Load(Input::File)),
            Self::new("load-piped", "the same out of zstd -dc", vec![eight_layers()])
                .by(Act::Load(Input::Pipe)),
            Self::new("fifty-load", "50 images that share layers, loaded", fleet())
                .by(Act::Load(Input::Files)),
            Self {
                act: Act::Push,
                floor: true,
                ..Self::new("push", "eight layers to an empty registry", vec![eight_layers()])
            },
            Self::new("push-again", "a repeated push", vec![eight_layers()]).by(Act::PushAgain),
            Self {
                act: Act::Copy,
                floor: true,
                ..Self::new("copy", "eight layers from registry to registry", vec![eight_layers()])
            },
            Self {
                act: Act::CopyNamespaces,
                floor: true,
                ..Self::new(
                    "copy-namespaces",
                    "eight layers to another namespace",
                    vec![eight_layers()],
                )
            },
            Self {
                act: Act::Check,
                floor: true,
                ..Self::new("check", "eight layers, checked file by file", vec![eight_layers()])
            },
        ]
    }
}

fn usr(seed: u64, bytes: usize, pictures: u32) -> Tree {
    Tree { seed, bytes, texture: Texture::Usr { pictures } }
}

fn gzip(repository: &str, layers: Vec<Tree>) -> Recipe {
    Recipe { repository: repository.to_owned(), layers, packing: Packing::Gzip }
}

impl Recipe {
    /// The same, packed with zstd.
    fn zstd(self) -> Self {
        let repository = format!("{}-zstd", self.repository);
        Self { repository, packing: Packing::Zstd, ..self }
    }
}

fn one_layer() -> Recipe {
    gzip(ONE_LAYER, vec![usr(0x100, 590 * MIB, 5)])
}

/// `count` layers of `mebibytes` of files each.
fn layers(name: &str, count: u64, mebibytes: usize, pictures: u32) -> Recipe {
    let seed = 0x1000 * mebibytes as u64;
    let trees = (0..count).map(|layer| usr(seed + layer, mebibytes * MIB, pictures));
    gzip(&format!("bench/{name}"), trees.collect())
}

fn eight_layers() -> Recipe {
    layers("eight", 8, 228, 80)
}

fn incompressible() -> Recipe {
    let tree = Tree { seed: 0x200, bytes: 512_000_000, texture: Texture::Noise };
    gzip("bench/incompressible", vec![tree])
}

fn tiny() -> Recipe {
    let trees = (0x300..).take(TINY_LAYERS).map(|seed| usr(seed, 1500, 5));
    gzip("bench/tiny", trees.collect())
}

/// As large as the pause image.
fn pause() -> Recipe {
    gzip("bench/pause", vec![usr(0x600, 800_000, 5)])
}

/// Services of one team: a base, a runtime, and a small layer of its own each.
fn fleet() -> Vec<Recipe> {
    let recipe = |service: u64| {
        let own = usr(0x500 + service, 3 * MIB, 5);
        let layers = vec![usr(0x400, 90 * MIB, 5), usr(0x401, 60 * MIB, 5), own];
        gzip(&format!("bench/fleet-{service:02}"), layers)
    };
    (0..50).map(recipe).collect()
}
