//! Pins: the labels that keep the kubelet's image garbage collection away from an image.
//!
//! An image is pinned when one of its names is, so a pin is given to the name that was asked for, its
//! repository's digest name and the ID, as by a pull, and taken from all names.

use super::Error;
use super::lookup::Match;
use super::names::NameKind;
use crate::containerd::{Client, labels};
use crate::reference::Reference;

/// Pins the image that was `found`. Returns the names that were not pinned before.
///
/// # Errors
/// When the daemon refuses.
pub async fn pin(client: &Client, found: Match<'_>) -> Result<Vec<String>, Error> {
    let repository = found.name.and_then(|name| repository(&name.name));
    let (key, value) = labels::PINNED;
    let mut pinned = Vec::new();
    for name in &found.image.names {
        let belongs = match (found.name, NameKind::of(&name.name)) {
            (None, _) | (_, NameKind::Id) => true,
            (Some(asked), _) if asked.name == name.name => true,
            (Some(asked), NameKind::RepositoryDigest) => {
                name.target.digest == asked.target.digest
                    && self::repository(&name.name) == repository
            }
            (Some(_), NameKind::Tag) => false,
        };
        if belongs && !labels::is_pinned(&name.labels) {
            client.images().set_label(name, key, Some(value)).await?;
            pinned.push(name.name.clone());
        }
    }
    Ok(pinned)
}

/// Takes the pins from the image that was `found`. Returns the names that were pinned before.
///
/// # Errors
/// When the daemon refuses.
pub async fn unpin(client: &Client, found: Match<'_>) -> Result<Vec<String>, Error> {
    let mut unpinned = Vec::new();
    let names = &found.image.names;
    for name in names.iter().filter(|name| labels::is_pinned(&name.labels)) {
        client.images().set_label(name, labels::PINNED.0, None).await?;
        unpinned.push(name.name.clone());
    }
    Ok(unpinned)
}

fn repository(name: &str) -> Option<String> {
    name.parse::<Reference>().ok().map(|reference| reference.name())
}
