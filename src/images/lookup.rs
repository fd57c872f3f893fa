//! An image by what was typed: a name, `name@digest`, an ID or its first digits.

use super::Error;
use super::inventory::StoredImage;
use crate::containerd::{Client, Image};
use crate::reference::{Reference, without_user_info};

/// Fewest hex digits that are taken for the beginning of an ID.
const MIN_ID_DIGITS: usize = 6;

/// What was found.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// The image, with all its names.
    pub image: &'a StoredImage,
    /// The name that was typed; `None` where it was an ID.
    pub name: Option<&'a Image>,
}

/// The one of `images` that `text` asks for.
///
/// # Errors
/// [`Error::Ambiguous`].
pub fn lookup<'a>(images: &'a [StoredImage], text: &str) -> Result<Option<Match<'a>>, Error> {
    let normalised = normalised(text);
    let is_meant = |name: &&Image| name.name == text || Some(&name.name) == normalised.as_ref();
    for image in images {
        if let Some(name) = image.names.iter().find(is_meant) {
            return Ok(Some(Match { image, name: Some(name) }));
        }
    }
    let mut found = images.iter().filter(|image| has_id(image, text));
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(Some(Match { image, name: None })),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
        (None, _) => Ok(None),
    }
}

/// That no image is called `text`, and in which other namespaces there is one.
///
/// # Errors
/// When the daemon refuses to look there.
pub async fn not_found(client: &Client, text: &str) -> Result<Error, Error> {
    let elsewhere = namespaces_with(client, text).await?;
    let missing = without_user_info(text).unwrap_or(text).to_owned();
    let namespace = client.namespace().to_owned();
    Ok(Error::NotFound { namespace, missing: vec![missing], elsewhere })
}

async fn namespaces_with(client: &Client, text: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let names: Vec<String> =
        [Some(text.to_owned()), normalised(text)].into_iter().flatten().collect();
    for namespace in client.namespaces().await? {
        if namespace == client.namespace() {
            continue;
        }
        let images = Client::connect(client.address(), &namespace).await?.images();
        for name in &names {
            if images.get(name).await?.is_some() {
                found.push(namespace);
                break;
            }
        }
    }
    Ok(found)
}

fn normalised(text: &str) -> Option<String> {
    text.parse::<Reference>().ok().map(|reference| reference.to_string())
}

/// Whether `text` is the image's ID, its beginning, or the digest of what its names point to.
fn has_id(image: &StoredImage, text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.len() >= MIN_ID_DIGITS
        && image.digests().into_iter().chain(image.id).any(|id| id.hex().starts_with(digits))
}
