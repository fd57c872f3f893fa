//! `pullctl rm`: removes images from containerd under all the names that a pull gave them.

use std::collections::BTreeSet;

use super::args::{GlobalArgs, RmArgs};
use super::inventory::{self, NameKind, StoredImage};
use crate::containerd::{self, Client, Image};
use crate::failure::{Diagnose, Failure};
use crate::output::{self, Printer, printable};
use crate::reference::{Reference, without_user_info};

/// Fewest hex digits that are taken for the beginning of an ID.
const MIN_ID_DIGITS: usize = 6;

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No such name, digest or ID.
    #[error("no such image in containerd's namespace {namespace}: {}", printable(&missing.join(", ")))]
    NotFound {
        /// Where it was looked for.
        namespace: String,
        /// What was asked for.
        missing: Vec<String>,
    },
    /// The beginning of several IDs.
    #[error("{0} is the beginning of several images' IDs")]
    Ambiguous(String),
    /// The daemon refused.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// Standard output could not be written.
    #[error(transparent)]
    Output(#[from] output::Error),
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } => Failure::NotFound,
            Self::Ambiguous(_) => Failure::Usage,
            Self::Containerd(error) => error.failure(),
            Self::Output(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { namespace, .. } => {
                Some(format!("pullctl -n {namespace} images lists what is there"))
            }
            Self::Ambiguous(_) => Some("write more of its digits".to_owned()),
            Self::Containerd(error) => error.hint(),
            Self::Output(error) => error.hint(),
        }
    }
}

/// Removes the images and prints the names that went.
///
/// | asked for | goes |
/// |---|---|
/// | a tag | the tag; its repository's digest name and the ID with the last tag that they belong to |
/// | `repository@digest` | that name, the repository's tags for it; the ID with the last name |
/// | an ID, or its first digits | every name |
///
/// What exists is removed even when something else that was asked for does not exist.
///
/// # Errors
/// [`Error::NotFound`] after everything else was removed; [`Error::Ambiguous`] before anything was.
pub(super) async fn run(
    global: &GlobalArgs,
    args: &RmArgs,
    printer: &Printer,
) -> Result<(), Error> {
    let client = super::connect(global).await?;
    let images = inventory::load(&client).await?;
    let mut missing = Vec::new();
    let mut doomed = BTreeSet::new();
    for text in &args.references {
        match find(&images, text)? {
            Some(found) => doomed.extend(found),
            // Nothing keeps a password from being pasted here.
            None => missing.push(without_user_info(text).unwrap_or(text).to_owned()),
        }
    }
    for image in &images {
        doomed.extend(left_over(image, &doomed));
    }
    remove(&client, &doomed, printer).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NotFound { namespace: client.namespace().to_owned(), missing })
}

async fn remove(
    client: &Client,
    doomed: &BTreeSet<String>,
    printer: &Printer,
) -> Result<(), Error> {
    let store = client.images();
    let mut names: Vec<&String> = doomed.iter().collect();
    names.sort_by_key(|name| NameKind::of(name));
    let last = names.len().saturating_sub(1);
    for (position, name) in names.into_iter().enumerate() {
        // The daemon frees the space before the last call returns, once for all of them.
        if store.delete(name, position == last).await? {
            printer.out(&printable(name))?;
        }
    }
    Ok(())
}

/// The names that `text` asks for; `None` when there is no such image.
fn find(images: &[StoredImage], text: &str) -> Result<Option<Vec<String>>, Error> {
    let reference = text.parse::<Reference>().ok();
    let normalised = reference.map(|reference| reference.to_string());
    let is_meant = |name: &&Image| name.name == text || Some(&name.name) == normalised.as_ref();
    for image in images {
        if let Some(name) = image.names.iter().find(is_meant) {
            return Ok(Some(same_in_repository(image, name)));
        }
    }
    let mut found = images.iter().filter(|image| has_id(image, text));
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(Some(all_names(image))),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
        (None, _) => Ok(None),
    }
}

/// Whether `text` is the image's ID, its beginning, or the digest of what its names point to.
fn has_id(image: &StoredImage, text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.len() >= MIN_ID_DIGITS
        && image.digests().into_iter().chain(image.id).any(|id| id.hex().starts_with(digits))
}

fn all_names(image: &StoredImage) -> Vec<String> {
    image.names.iter().map(|name| name.name.clone()).collect()
}

/// `name` alone when it is a tag; with a digest name the repository's tags for the digest; with an
/// ID all names.
fn same_in_repository(image: &StoredImage, name: &Image) -> Vec<String> {
    match NameKind::of(&name.name) {
        NameKind::Tag => vec![name.name.clone()],
        NameKind::Id => all_names(image),
        NameKind::RepositoryDigest => {
            let same = |other: &&Image| is_of(other, name);
            image.names.iter().filter(same).map(|other| other.name.clone()).collect()
        }
    }
}

/// Whether two names are of one repository and stand for the same content.
fn is_of(name: &Image, other: &Image) -> bool {
    let repository = |image: &Image| image.name.parse::<Reference>().ok().map(|r| r.name());
    name.target.digest == other.target.digest && repository(name) == repository(other)
}

/// The names of `image` that make no sense any more once `doomed` are gone: a digest name whose last
/// tag goes, and the ID when no other name stays.
fn left_over(image: &StoredImage, doomed: &BTreeSet<String>) -> Vec<String> {
    let of_kind = |kind| image.names.iter().filter(move |name| NameKind::of(&name.name) == kind);
    let goes = |name: &Image| doomed.contains(&name.name);
    let mut left_over: Vec<String> = of_kind(NameKind::RepositoryDigest)
        .filter(|digest| {
            let mut tags = of_kind(NameKind::Tag).filter(|tag| is_of(tag, digest)).peekable();
            tags.peek().is_some() && tags.all(goes)
        })
        .map(|digest| digest.name.clone())
        .collect();
    let stays = |name: &Image| !goes(name) && !left_over.contains(&name.name);
    let mut others = image.names.iter().filter(|name| NameKind::of(&name.name) != NameKind::Id);
    let is_touched = image.names.iter().any(goes);
    if is_touched && !others.any(stays) {
        left_over.extend(of_kind(NameKind::Id).map(|id| id.name.clone()));
    }
    left_over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::Labels;
    use crate::oci::{Descriptor, Digest, MediaType};

    fn image(id: &str, names: &[&str]) -> StoredImage {
        let id = Digest::of(id.as_bytes());
        let media_type = MediaType::new("application/vnd.oci.image.index.v1+json");
        let target = Descriptor::new(media_type, target(), 10);
        let name = |name: &&str| Image {
            name: (*name).replace("TARGET", &target.digest.to_string()),
            target: target.clone(),
            labels: Labels::new(),
            created: None,
        };
        let mut names: Vec<Image> = names.iter().map(name).collect();
        names.push(Image { name: id.to_string(), ..name(&"") });
        StoredImage { id: Some(id), names, size_bytes: None }
    }

    fn target() -> Digest {
        Digest::of(b"target")
    }

    /// The names that `pullctl rm` of `texts` would remove, digests abbreviated.
    fn removed(images: &[StoredImage], texts: &[&str]) -> Vec<String> {
        let mut doomed = BTreeSet::new();
        for text in texts {
            doomed.extend(find(images, text).unwrap().unwrap_or_default());
        }
        for image in images {
            doomed.extend(left_over(image, &doomed));
        }
        let short = |name: String| {
            let name = name.replace(&target().to_string(), "TARGET");
            if name.starts_with("sha256:") { "ID".to_owned() } else { name }
        };
        doomed.into_iter().map(short).collect()
    }

    const BUSYBOX: [&str; 2] =
        ["docker.io/library/busybox:latest", "docker.io/library/busybox@TARGET"];

    #[test]
    fn the_only_tag_takes_all_three_names_with_it() {
        let images = [image("a", &BUSYBOX), image("b", &["quay.io/b:1"])];
        let all = [BUSYBOX[0], BUSYBOX[1], "ID"];
        let by_digest = format!("busybox@{}", target());
        let id = Digest::of(b"a").to_string();
        for text in ["busybox", "docker.io/library/busybox:latest", &by_digest, &id, &id[7..19]] {
            assert_eq!(removed(&images, &[text]), all, "{text}");
        }
    }

    #[test]
    fn another_tag_keeps_the_image() {
        let images = [image("a", &[BUSYBOX[0], "docker.io/library/busybox:1", BUSYBOX[1]])];
        assert_eq!(removed(&images, &["busybox"]), [BUSYBOX[0]]);
        assert_eq!(removed(&images, &["busybox", "busybox:1"]).len(), 4);
    }

    #[test]
    fn another_repository_keeps_its_names_and_the_id() {
        let images = [image("a", &[BUSYBOX[0], BUSYBOX[1], "quay.io/a:1", "quay.io/a@TARGET"])];
        assert_eq!(removed(&images, &["busybox"]), BUSYBOX);
        assert_eq!(removed(&images, &[&Digest::of(b"a").to_string()]).len(), 5);
    }

    #[test]
    fn an_image_pulled_by_digest_goes_by_digest() {
        let images = [image("a", &[BUSYBOX[1]])];
        assert_eq!(removed(&images, &[&format!("busybox@{}", target())]), [BUSYBOX[1], "ID"]);
        assert!(removed(&images, &["busybox"]).is_empty());
    }

    #[test]
    fn names_that_are_no_references_are_found_as_they_are() {
        let images = [image("a", &["Some Name"])];
        assert_eq!(removed(&images, &["Some Name"]), ["Some Name", "ID"]);
    }

    #[test]
    fn what_is_not_there_is_not_found_and_what_is_unclear_is_refused() {
        let images = [image("a", &BUSYBOX), image("b", &["quay.io/b:1"])];
        assert!(find(&images, "alpine").unwrap().is_none());
        assert!(find(&images, "e3b").unwrap().is_none());
        let shared = target().hex();
        assert!(matches!(find(&images, &shared[..12]), Err(Error::Ambiguous(_))));
    }
}
