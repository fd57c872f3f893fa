//! What a pull leaves in a namespace, as far as two pulls of one image can be compared.

use std::collections::BTreeMap;

use super::store::Store;
use super::walk::walk;

/// Everything comparable that a pull leaves in a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Labels of each blob.
    pub(crate) content: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

/// What there is of one snapshot. Labels differ between ctr and the kubelet's own pulls already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    parent: String,
    committed: bool,
    /// Bytes and inodes.
    usage: (i64, i64),
    /// The mounted tree.
    tree: BTreeMap<String, String>,
    /// The layer's own directory, with whiteouts as they are.
    layer: BTreeMap<String, String>,
}

impl Left {
    pub(crate) fn in_namespace(store: &Store<'_>) -> Self {
        let content = store.content().into_iter().map(|(digest, blob)| (digest, blob.labels));
        let snapshots = store.snapshots().into_iter().map(|(chain_id, record)| {
            let (tree, layer) =
                store.with_layers(&chain_id, |point, layers| (walk(point), walk(&layers[0])));
            let usage = store.usage(&chain_id);
            let (parent, committed) = (record.parent, record.committed);
            (chain_id, Snapshot { parent, committed, usage, tree, layer })
        });
        Self { content: content.collect(), snapshots: snapshots.collect() }
    }
}
