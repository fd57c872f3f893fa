//! Diff IDs and chain IDs: how layers are named once they are unpacked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// Digest of a layer's uncompressed tar.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-diffid>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// Digest naming a layer and everything below it.
///
/// `ChainID(L0) = DiffID(L0)`;
/// `ChainID(L0|…|Ln) = Digest(ChainID(L0|…|Ln-1) + " " + DiffID(Ln))`. See
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-chainid>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a layer is named once it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerIdentity {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Names this layer with everything below.
    pub chain_id: ChainId,
    /// Chain ID of the layer below; `None` for the base.
    pub parent: Option<ChainId>,
}

impl LayerIdentity {
    /// The identity of each layer, base first, from the diff IDs in the same order.
    pub fn of_layers(diff_ids: &[DiffId]) -> Vec<Self> {
        let mut below: Option<ChainId> = None;
        diff_ids
            .iter()
            .map(|&diff_id| {
                let parent = below;
                let chain_id = match parent {
                    None => ChainId(diff_id.0),
                    Some(parent) => ChainId(Digest::of(format!("{parent} {diff_id}").as_bytes())),
                };
                below = Some(chain_id);
                Self { diff_id, chain_id, parent }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_each_layer_to_the_ones_below() {
        let ids = [DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b")), DiffId(Digest::of(b"c"))];
        let layers = LayerIdentity::of_layers(&ids);
        let chain = |position: usize| layers[position].chain_id;
        assert_eq!(chain(0).0, ids[0].0);
        assert_eq!(chain(1).0, Digest::of(format!("{} {}", ids[0], ids[1]).as_bytes()));
        assert_eq!(chain(2).0, Digest::of(format!("{} {}", chain(1), ids[2]).as_bytes()));
        assert_eq!(layers[0].parent, None);
        assert_eq!(layers[2].parent, Some(chain(1)));
        assert!(LayerIdentity::of_layers(&[]).is_empty());
    }
}
