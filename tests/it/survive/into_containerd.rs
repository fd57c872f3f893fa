//! The same into containerd: what the broken transfer left behind must not be seen, and the layer
//! is the upstream's, unpacked.

use super::bed::{Bed, PART, Trouble};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::each_version;
use crate::support::faulty::{Fault, Gate};
use crate::support::store::Store;

/// Pulls past a mirror in `trouble` and looks at what the daemon then holds.
fn comes_whole(daemon: &Containerd, trouble: &Trouble, flags: &[&str]) {
    let bed = Bed::new(trouble);
    let flags = [&["--progress", "json"], flags].concat();
    let outcome = bed.pull_by(Pullctl::new().on(daemon), &flags);
    if let Trouble::MidBlob(Fault::Stall(_, gate)) = trouble {
        gate.open();
    }
    outcome.succeeded();
    let asked = bed.asked_of_upstream();
    assert!(!asked.is_empty(), "{trouble:?}: the upstream is asked for nothing");

    let store = Store::new(daemon, KUBERNETES);
    let image = store.images().remove(&bed.reference).expect("the image has its name");
    assert_eq!(image.target, bed.image.digest(), "{trouble:?}");
    let layer = bed.layer().to_string();
    assert!(store.blob(&layer) == bed.image.layers()[0].bytes, "{trouble:?}: the layer differs");
    let snapshot = store.snapshots().remove(&bed.image.chain_id());
    assert!(snapshot.is_some_and(|snapshot| snapshot.committed), "{trouble:?}: no snapshot");
    // The file that the layer was made of.
    let content = store.with_mounted(&bed.image.chain_id(), |root| {
        std::fs::read_dir(root)
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect::<Vec<_>>()
    });
    let tar = &bed.image.layers()[0].bytes;
    let sizes: Vec<usize> = content.iter().map(Vec::len).collect();
    assert!(content.len() == 1 && tar[512..].starts_with(&content[0]), "{trouble:?}: {sizes:?}");
    let ingests = store.ingests();
    assert!(!ingests.keys().any(|key| key.contains(&layer)), "{trouble:?}: {ingests:?}");
}

each_version! {
    fn wrong_bytes_of_a_mirror_leave_no_trace_in_containerd(daemon) {
        comes_whole(daemon, &Trouble::Layer(Fault::Corrupt(PART)), &[]);
    }

    fn a_mirror_that_breaks_off_in_mid_blob_costs_containerd_nothing(daemon) {
        comes_whole(daemon, &Trouble::MidBlob(Fault::Truncate(PART)), &[]);
    }

    fn a_mirror_that_stalls_in_mid_blob_costs_containerd_nothing(daemon) {
        let trouble = Trouble::MidBlob(Fault::Stall(PART, Gate::new()));
        comes_whole(daemon, &trouble, &["--stall-timeout", "1s"]);
    }
}
