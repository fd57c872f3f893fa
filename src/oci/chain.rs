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

/// The chain ID of each layer, base first, from the diff IDs in the same order.
pub fn chain_ids(diff_ids: &[DiffId]) -> Vec<ChainId> {
    diff_ids
        .iter()
        .scan(None, |below: &mut Option<ChainId>, diff_id| {
            let chain = match below {
                None => ChainId(diff_id.0),
                Some(parent) => ChainId(Digest::of(format!("{parent} {diff_id}").as_bytes())),
            };
            *below = Some(chain);
            Some(chain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_each_layer_to_the_ones_below() {
        let ids = [DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b")), DiffId(Digest::of(b"c"))];
        let chains = chain_ids(&ids);
        assert_eq!(chains[0].0, ids[0].0);
        assert_eq!(chains[1].0, Digest::of(format!("{} {}", ids[0], ids[1]).as_bytes()));
        assert_eq!(chains[2].0, Digest::of(format!("{} {}", chains[1], ids[2]).as_bytes()));
        assert!(chain_ids(&[]).is_empty());
    }
}
