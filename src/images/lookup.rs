//! An image by what was typed: a name, `name@digest`, an ID or its first digits.

use super::Error;
use super::inventory::StoredImage;
use super::names::NameKind;
use crate::containerd::{Client, Image};
use crate::reference::{Reference, without_user_info};

/// Fewest hex digits that are taken for the beginning of an ID.
const MIN_ID_DIGITS: usize = 6;

/// Most names that are guessed at.
const MAX_NEAR: usize = 3;

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
    let stored = client.images().list().await?;
    let near = near(stored.iter().map(|image| image.name.as_str()), text);
    Ok(Error::NotFound { namespace, missing: vec![missing], elsewhere, near })
}

/// Those of `names` that may have been meant by `text`: other tags of its repository, and repositories of
/// which it is the end.
pub(super) fn near<'a>(names: impl Iterator<Item = &'a str>, text: &str) -> Vec<String> {
    let typed = text.split_once('@').map_or(text, |(name, _)| name);
    let bare = match typed.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => typed,
    };
    let end = format!("/{}", bare.trim_matches('/'));
    let is_near = |name: &&str| {
        let is_tag = NameKind::of(name) == NameKind::Tag;
        is_tag
            && name.parse::<Reference>().is_ok_and(|it| {
                let repository = it.name();
                repository == bare || repository.ends_with(&end)
            })
    };
    if bare.is_empty() {
        Vec::new()
    } else {
        names.filter(is_near).take(MAX_NEAR).map(str::to_owned).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_by_half_is_told_with_what_there_is() {
        let names = [
            "harbor.example:5000/team/app:v1",
            "harbor.example:5000/team/app:v2",
            "harbor.example:5000/team/app@sha256:\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "docker.io/library/busybox:1",
            "docker.io/library/notbusybox:1",
            "no name",
        ];
        let app = &["harbor.example:5000/team/app:v1", "harbor.example:5000/team/app:v2"][..];
        for (typed, expected) in [
            ("team/app", app),
            ("app:v3", app),
            ("harbor.example:5000/team/app", app),
            ("harbor.example:5000/team/app:v3", app),
            ("busybox", &["docker.io/library/busybox:1"]),
            ("box", &[]),
            ("harbor.example:5000/team", &[]),
            ("", &[]),
            (":v1", &[]),
        ] {
            assert_eq!(near(names.into_iter(), typed), expected, "{typed}");
        }
        let many: Vec<String> = (0..9).map(|tag| format!("a.example/b:{tag}")).collect();
        assert_eq!(near(many.iter().map(String::as_str), "b").len(), MAX_NEAR);
    }
}
