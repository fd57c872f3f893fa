//! What an image is beyond its names: for which platform, from when, how large when it is unpacked, and
//! whether all of it is there.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Deserialize;

use super::inventory::{CONCURRENT_LOOKS, StoredImage};
use super::stock::Stock;
use crate::containerd::{Client, ContentStore, Error};
use crate::oci::{Digest, MAX_MANIFEST_BYTES};
use crate::platform::Platform;

/// What there is of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// What it runs on, by its configuration.
    pub platform: Option<Platform>,
    /// What its layers are, unpacked; `None` where they are not.
    pub unpacked_bytes: Option<u64>,
    /// Whether a container of it can be started: manifest and configuration are there, and all layers
    /// unpacked or their blobs.
    pub is_complete: bool,
}

/// Looks at each of `images` more closely: when it was made, its [`Condition`], and which of its blobs
/// are there in the namespace's `stock`; the others are left out of the image.
///
/// # Errors
/// When the daemon refuses. What is missing is no error.
pub async fn conditions(
    client: &Client,
    images: &mut [StoredImage],
    stock: &Stock,
) -> Result<Vec<Condition>, Error> {
    let content = client.content();
    let told: Vec<Option<Told>> = stream::iter(images.iter().map(|image| image.id))
        .map(|id| read(&content, id))
        .buffered(CONCURRENT_LOOKS)
        .try_collect()
        .await?;
    let chains: Vec<Option<Vec<(&str, &str)>>> =
        images.iter().map(|image| stock.chain(image.id.as_ref()?)).collect();
    let all: BTreeSet<(&str, &str)> = chains.iter().flatten().flatten().copied().collect();
    let sizes = stream::iter(all).map(|key| size(client, key));
    let sizes: HashMap<(&str, &str), u64> =
        sizes.buffer_unordered(CONCURRENT_LOOKS).try_collect().await?;
    let mut conditions = Vec::with_capacity(images.len());
    for ((image, told), chain) in images.iter_mut().zip(told).zip(chains) {
        let named = image.blobs.len();
        image.blobs.retain(|digest| stock.has_blob(digest));
        let sum = |chain: Vec<(&str, &str)>| {
            chain.iter().fold(0, |sum: u64, key| sum.saturating_add(sizes[key]))
        };
        let unpacked_bytes = chain.map(sum);
        let has_all_blobs = named > 0 && image.blobs.len() == named;
        image.made = told.as_ref().and_then(Told::made);
        conditions.push(Condition {
            is_complete: told.is_some() && (unpacked_bytes.is_some() || has_all_blobs),
            platform: told.map(Told::platform),
            unpacked_bytes,
        });
    }
    Ok(conditions)
}

async fn size<'a>(
    client: &Client,
    key: (&'a str, &'a str),
) -> Result<((&'a str, &'a str), u64), Error> {
    match client.snapshots(key.0).usage(key.1).await {
        Ok(usage) => Ok((key, usage.size_bytes)),
        Err(Error::NotFound { .. }) => Ok((key, 0)),
        Err(error) => Err(error),
    }
}

/// What a configuration tells of itself.
#[derive(Deserialize)]
struct Told {
    created: Option<String>,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Told {
    fn made(&self) -> Option<Timestamp> {
        self.created.as_ref()?.parse().ok()
    }

    fn platform(self) -> Platform {
        Platform::from_parts(&self.os, &self.architecture, &self.variant, "")
    }
}

async fn read(content: &ContentStore, config: Option<Digest>) -> Result<Option<Told>, Error> {
    let Some(config) = config else { return Ok(None) };
    match content.read(&config, MAX_MANIFEST_BYTES).await {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(Error::NotFound { .. } | Error::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
