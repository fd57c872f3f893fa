//! What snapshots are labelled with, whoever made them.

use crate::support::cli::Pullctl;
use crate::support::containerd::Version;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::store::Store;
use crate::support::tree::{self, Tree};
use crate::support::{each_version, unique};

/// Three layers that are extracted where they stay, apart from the others, and from memory (where that
/// would have to move).
fn three_layers() -> Image {
    let [lower, upper] = ["lower", "upper"].map(unique);
    let packed = |tree: Tree| Layer::pack(&tree.into_tar(), Packing::Gzip);
    Recipe::new(vec![
        Layer::noise(&lower, 400_000),
        Layer::noise(&upper, 400_000),
        packed(tree::curious()),
    ])
    .build()
}

each_version! {
    fn snapshots_are_labelled_with_their_chain_id_and_are_as_ctr_leaves_them(daemon) {
        let image = three_layers();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let namespace = unique("by-ctr");
        daemon.ctr(&namespace, &["images", "pull", "--plain-http", &reference]);
        let mut by_ctr = Store::new(daemon, &namespace).snapshots();
        assert_eq!(by_ctr.len(), 3, "{by_ctr:#?}");
        if matches!(daemon.version(), Version::V1_6 | Version::V1_7) {
            // Its ctr leaves the label on while it unpacks and no longer; the CRI's pulls keep it.
            for (chain_id, snapshot) in &mut by_ctr {
                let label = ("containerd.io/snapshot.ref".to_owned(), chain_id.clone());
                snapshot.labels.extend([label]);
            }
        }
        for unpacker in ["direct", "daemon"] {
            let namespace = unique(unpacker);
            let flags = ["-n", &namespace, "--unpacker", unpacker];
            Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
            let snapshots = Store::new(daemon, &namespace).snapshots();
            assert_eq!(snapshots, by_ctr, "{unpacker}");
        }
    }
}
