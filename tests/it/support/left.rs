//! What a pull leaves in a namespace, as far as two pulls of one image can be compared.

use std::collections::BTreeMap;

use super::store::Store;
use super::walk::walk;

/// By how many bytes the usage of two equal trees may differ (32 KiB): it counts the blocks in which
/// a file system notes where a file's pieces are, and a busy one cuts files into more pieces. Far
/// less than the hole of any sparse file here.
const BOOKKEEPING: u64 = 32 << 10;

/// Everything comparable that a pull leaves in a namespace.
#[derive(Debug)]
pub(crate) struct Left {
    /// Labels of each blob.
    pub(crate) content: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

/// What there is of one snapshot. Labels differ between ctr and the kubelet's own pulls already.
#[derive(Debug)]
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

    /// Fails, with all that differs, unless `other` is the same.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self, what: &str) {
        assert_eq!(self.content, other.content, "{what}: labels of blobs");
        let keys = |left: &Self| left.snapshots.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(self), keys(other), "{what}: snapshots");
        for (chain_id, one) in &self.snapshots {
            let another = &other.snapshots[chain_id];
            let differ = |which: fn(&Snapshot) -> &BTreeMap<String, String>| {
                let (one, another) = (which(one), which(another));
                let paths = one.keys().chain(another.keys());
                let differing = paths.filter(|path| one.get(*path) != another.get(*path));
                differing.map(|path| (path, one.get(path), another.get(path))).collect::<Vec<_>>()
            };
            assert_eq!(differ(|snapshot| &snapshot.tree), [], "{what}: mounted {chain_id}");
            assert_eq!(differ(|snapshot| &snapshot.layer), [], "{what}: layer of {chain_id}");
            let record = |snapshot: &Snapshot| (snapshot.parent.clone(), snapshot.committed);
            assert_eq!(record(one), record(another), "{what}: {chain_id}");
            let ((bytes, inodes), (other_bytes, other_inodes)) = (one.usage, another.usage);
            assert_eq!(inodes, other_inodes, "{what}: inodes of {chain_id}");
            let is_alike = bytes.abs_diff(other_bytes) <= BOOKKEEPING;
            assert!(is_alike, "{what}: {bytes} and {other_bytes} bytes of {chain_id}");
        }
    }
}
