//! How large layers will be, unpacked: nothing tells it before, so it is estimated from those that are
//! unpacked already.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::containerd::labels::UNCOMPRESSED;
use crate::containerd::{Error, Info, Snapshots};
use crate::oci::{Compression, Descriptor, Digest, MediaKind};

/// Layers that are looked at, the largest first.
const MAX_SAMPLES: usize = 32;

/// Size in bytes from which on a blob says something (256 KiB): small ones are mostly the ends of blocks.
const MIN_SAMPLE_BYTES: u64 = 256 << 10;

/// Bytes of blobs from which on what was measured counts (16 MiB).
const MIN_MEASURED_BYTES: u64 = 16 << 20;

/// An annotation by which eStargz tells what a layer is, unpacked.
const ESTARGZ_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// What a compressed layer is, unpacked, in hundredths of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio(u64);

impl Ratio {
    /// Of a namespace that has nothing to measure: README's 212 MiB of a layer are 590 MiB of files.
    pub(super) const USUAL: Self = Self(280);

    /// The most that is believed of layers in general.
    pub(super) const MOST: Self = Self(500);

    /// Less than this is a layer that was packed for nothing.
    const LEAST: Self = Self(100);

    /// That of the lowest layers, whose snapshots stand for them alone.
    pub(super) async fn measured(
        snapshots: &Snapshots,
        blobs: &HashMap<Digest, Info>,
        present: &HashSet<String>,
    ) -> Result<Self, Error> {
        let mut samples: Vec<(u64, String)> = blobs
            .values()
            .filter(|info| info.size >= MIN_SAMPLE_BYTES)
            .filter_map(|info| Some((info.size, info.labels.get(UNCOMPRESSED)?.clone())))
            .filter(|(_, diff_id)| present.contains(diff_id))
            .collect();
        samples.sort_unstable_by(|a, b| b.cmp(a));
        samples.truncate(MAX_SAMPLES);
        let looks = samples.into_iter().map(|(size, diff_id)| async move {
            match snapshots.usage(&diff_id).await {
                Ok(usage) => Ok((size, usage.size_bytes)),
                Err(Error::NotFound { .. }) => Ok((0, 0)),
                Err(error) => Err(error),
            }
        });
        let pairs: Vec<(u64, u64)> =
            stream::iter(looks).buffer_unordered(MAX_SAMPLES).try_collect().await?;
        Ok(Self::of_pairs(&pairs))
    }

    /// That of blobs and what they are, unpacked.
    fn of_pairs(pairs: &[(u64, u64)]) -> Self {
        let sum = |sum: (u64, u64), pair: &(u64, u64)| {
            (sum.0.saturating_add(pair.0), sum.1.saturating_add(pair.1))
        };
        let (packed, unpacked) = pairs.iter().fold((0, 0), sum);
        if packed < MIN_MEASURED_BYTES {
            return Self::USUAL;
        }
        let hundredths = u128::from(unpacked) * 100 / u128::from(packed);
        let hundredths = u64::try_from(hundredths).unwrap_or(u64::MAX);
        Self(hundredths.clamp(Self::LEAST.0, Self::MOST.0))
    }

    /// What `bytes` are, unpacked.
    pub(super) fn of(self, bytes: u64) -> u64 {
        u64::try_from(u128::from(bytes) * u128::from(self.0) / 100).unwrap_or(u64::MAX)
    }

    /// What `layer` is, unpacked.
    pub(super) fn of_layer(self, layer: &Descriptor) -> u64 {
        let told = layer.annotations.get(ESTARGZ_SIZE).and_then(|size| size.parse().ok());
        match (layer.kind(), told) {
            // Whoever tells nonsense is not believed.
            (_, Some(told)) if (layer.size..=Self(2000).of(layer.size)).contains(&told) => told,
            (MediaKind::Layer { compression: Compression::None, .. }, _) => layer.size,
            _ => self.of(layer.size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    #[test]
    fn what_is_there_tells_what_comes_within_reason() {
        const MIB: u64 = 1 << 20;
        for (pairs, hundredths) in [
            (&[][..], 280),
            (&[(MIB, 2 * MIB)], 280),
            (&[(10 * MIB, 20 * MIB), (10 * MIB, 30 * MIB)], 250),
            (&[(100 * MIB, 50 * MIB)], 100),
            (&[(100 * MIB, 5000 * MIB)], 500),
            (&[(u64::MAX, u64::MAX), (1, 1)], 100),
        ] {
            assert_eq!(Ratio::of_pairs(pairs), Ratio(hundredths), "{pairs:?}");
        }
    }

    #[test]
    fn a_layer_that_tells_its_size_or_is_not_packed_needs_no_estimate() {
        let layer = |media_type: &str, told: Option<&str>| {
            let media_type =
                MediaType::new(format!("application/vnd.oci.image.layer.v1.{media_type}"));
            let mut layer = Descriptor::new(media_type, Digest::of(b""), 1000);
            let told = told.map(|told| (ESTARGZ_SIZE.to_owned(), told.to_owned()));
            layer.annotations = told.into_iter().collect();
            Ratio::USUAL.of_layer(&layer)
        };
        assert_eq!(layer("tar+gzip", None), 2800);
        assert_eq!(layer("tar+zstd", None), 2800);
        assert_eq!(layer("tar", None), 1000);
        assert_eq!(layer("tar+gzip", Some("3500")), 3500);
        for nonsense in ["", "-1", "0", "999", "20001", "99999999999999999999"] {
            assert_eq!(layer("tar+gzip", Some(nonsense)), 2800, "{nonsense}");
        }
    }
}
