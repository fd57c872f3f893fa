//! Further names for an image that is there.

use futures_util::future::try_join_all;

use super::Error;
use super::lookup::Match;
use crate::containerd::{Client, labels};
use crate::reference::Reference;

/// Gives the image that was `found` the names that a pull of each of `references` would give it, with
/// the labels that it has, a pin among them. Returns the names that people ask for. Blobs are not
/// touched, nor is any registry asked.
///
/// # Errors
/// [`Error::OtherDigest`] before anything is written; when the daemon refuses.
pub async fn tag(
    client: &Client,
    found: Match<'_>,
    references: &[Reference],
) -> Result<Vec<String>, Error> {
    let Some(source) = found.name.or_else(|| found.image.names.first()) else {
        return Ok(Vec::new());
    };
    let target = &source.target;
    for reference in references {
        if reference.digest().is_some_and(|digest| digest != target.digest) {
            let (reference, digest) = (reference.to_string(), target.digest);
            return Err(Error::OtherDigest { reference, digest });
        }
    }
    let labels = labels::image_labels(found.image.has_pin(), &source.labels);
    let images = client.images();
    let mut tagged = Vec::with_capacity(references.len());
    for reference in references {
        let stored = match &found.image.id {
            Some(id) => labels::image_names(reference, &target.digest, id),
            // Without its content nobody knows the ID.
            None => labels::digest_names(reference, &target.digest),
        };
        let known = try_join_all(stored.iter().map(|name| images.get(name))).await?;
        // The name that people ask for comes last: who finds it finds the others.
        for (name, known) in stored.iter().zip(&known).rev() {
            images.put(name, target, &labels, known.as_ref()).await?;
        }
        tagged.push(labels::image_name(reference, &target.digest));
    }
    Ok(tagged)
}
