//! Removing images under all the names that a pull gave them.
//!
//! | asked for | goes |
//! |---|---|
//! | a tag | the tag; its repository's digest name and the ID with the last tag that they belong to |
//! | `repository@digest` | that name, the repository's tags for it; the ID with the last name |
//! | an ID, or its first digits | every name |

use std::collections::BTreeSet;

use super::Error;
use super::inventory::StoredImage;
use super::lookup::{lookup, near};
use super::names::{NameKind, all_names, left_over, same_in_repository};
use crate::containerd::{Client, Image, labels};
use crate::reference::without_user_info;

/// What is to be removed.
#[derive(Debug, Default)]
pub struct Doomed {
    /// The names that go.
    names: BTreeSet<String>,
    /// What was asked for and is not there.
    missing: Vec<String>,
    /// What may have been meant by that.
    near: Vec<String>,
}

impl Doomed {
    /// The names of `images` that go when `texts` are removed.
    ///
    /// # Errors
    /// [`Error::Ambiguous`].
    pub fn by(images: &[StoredImage], texts: &[impl AsRef<str>]) -> Result<Self, Error> {
        let mut doomed = Self::default();
        for text in texts {
            let text = text.as_ref();
            match find(images, text)? {
                Some(found) => doomed.names.extend(found),
                // Nothing keeps a password from being pasted here.
                None => {
                    doomed.missing.push(without_user_info(text).unwrap_or(text).to_owned());
                    let names = images.iter().flat_map(|image| &image.names);
                    doomed.near.extend(near(names.map(|name| name.name.as_str()), text));
                }
            }
        }
        for image in images {
            doomed.names.extend(left_over(&image.names, &doomed.names));
        }
        Ok(doomed)
    }

    /// All names of `images`.
    pub fn all_of<'a>(images: impl IntoIterator<Item = &'a StoredImage>) -> Self {
        let names = images.into_iter().flat_map(|image| all_names(&image.names)).collect();
        Self { names, ..Self::default() }
    }

    /// The names that go.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Refuses to take pinned names of `images` away.
    ///
    /// # Errors
    /// [`Error::Pinned`] with those of them that people ask for.
    pub fn spare_pinned(&self, images: &[StoredImage]) -> Result<(), Error> {
        let is_doomed = |name: &&Image| self.names.contains(&name.name);
        let mut pinned = Vec::new();
        for image in images {
            let doomed = image.names.iter().filter(is_doomed);
            let mut doomed = doomed.filter(|name| labels::is_pinned(&name.labels));
            // The first is that of the best kind.
            pinned.extend(doomed.next().map(|name| name.name.clone()));
        }
        if pinned.is_empty() { Ok(()) } else { Err(Error::Pinned(pinned)) }
    }

    /// That something was asked for which is not there, if so.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn check_missing(&self, client: &Client) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let (namespace, missing) = (client.namespace().to_owned(), self.missing.clone());
        Err(Error::NotFound { namespace, missing, elsewhere: Vec::new(), near: self.near.clone() })
    }

    /// Removes them one after the other, and hands each that went to `gone`. What exists is removed
    /// even when something else that was asked for does not exist.
    ///
    /// # Errors
    /// [`Error::NotFound`] after everything else was removed; when the daemon refuses or `gone` does.
    pub async fn remove<E: From<Error>>(
        &self,
        client: &Client,
        mut gone: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let store = client.images();
        let mut names: Vec<&String> = self.names.iter().collect();
        names.sort_by_key(|name| NameKind::of(name));
        let last = names.len().saturating_sub(1);
        for (position, name) in names.into_iter().enumerate() {
            // The daemon frees the space before the last call returns, once for all of them.
            if store.delete(name, position == last).await.map_err(Error::from)? {
                gone(name)?;
            }
        }
        Ok(self.check_missing(client)?)
    }
}

/// The names that `text` asks for; `None` when there is no such image.
fn find(images: &[StoredImage], text: &str) -> Result<Option<Vec<String>>, Error> {
    let found = lookup(images, text)?;
    Ok(found.map(|found| match found.name {
        Some(name) => same_in_repository(&found.image.names, name),
        None => all_names(&found.image.names),
    }))
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
        StoredImage {
            id: Some(id),
            names,
            size_bytes: None,
            blobs: Vec::new(),
            made: None,
            tells_pins: true,
        }
    }

    fn target() -> Digest {
        Digest::of(b"target")
    }

    /// The names that `pullctl rm` of `texts` would remove, digests abbreviated.
    fn removed(images: &[StoredImage], texts: &[&str]) -> Vec<String> {
        let doomed = Doomed::by(images, texts).unwrap().names;
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
