//! What the images of an archive are to be called: by the archive, or by whoever loads it.
//!
//! Names are written out as the kubelet asks for them (`busybox:1` becomes
//! `docker.io/library/busybox:1`), and one that says a digest must say the image's.

use super::Error;
use super::error::Problem;
use super::images::{ArchiveImage, GivenName};
use crate::oci::Descriptor;
use crate::reference::Reference;

/// What images are to be called that do not say it themselves.
#[derive(Debug, Clone, Default)]
pub struct ImageNames {
    /// The names of the one image, in place of its own.
    pub typed: Vec<Reference>,
    /// The repository of what has a tag only, `docker.io/library/busybox`.
    pub base: Option<String>,
}

/// An image, and what it is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// Its name; `None` when it has but its digest.
    pub reference: Option<Reference>,
    /// What a registry has it as, as far as the archive tells it.
    pub origin: Option<Reference>,
    /// What the name stands for: one index or manifest, or several for different platforms, of which
    /// the one that is wanted is to be chosen.
    pub targets: Vec<Descriptor>,
}

impl ImageNames {
    /// The names of `images`, those of the archive at `place`, each once.
    ///
    /// # Errors
    /// When a name is none, is given to two images, says another digest than the image's, or is a tag
    /// without a repository.
    pub fn of(&self, images: &[ArchiveImage], place: &str) -> Result<Vec<NamedImage>, Error> {
        self.named(images).map_err(|problem| problem.at(place))
    }

    fn named(&self, images: &[ArchiveImage]) -> Result<Vec<NamedImage>, Problem> {
        let mut named: Vec<NamedImage> = Vec::new();
        if self.typed.is_empty() {
            for image in images {
                for reference in self.references(image)? {
                    let origin = reference.clone().filter(|_| !image.is_remade);
                    add(&mut named, reference, origin, image.target.clone());
                }
            }
        } else {
            for reference in &self.typed {
                for image in images {
                    let origin = image.origin();
                    add(&mut named, Some(reference.clone()), origin, image.target.clone());
                }
            }
        }
        for image in &mut named {
            self.check(image)?;
        }
        Ok(named)
    }

    fn references(&self, image: &ArchiveImage) -> Result<Vec<Option<Reference>>, Problem> {
        if image.names.is_empty() {
            return Ok(vec![None]);
        }
        image.names.iter().map(|name| self.reference(name).map(Some)).collect()
    }

    fn reference(&self, name: &GivenName) -> Result<Reference, Problem> {
        match (name, &self.base) {
            (GivenName::Full(name), _) => name.parse(),
            (GivenName::Tag(tag), Some(base)) => format!("{base}:{tag}").parse(),
            (GivenName::Tag(tag), None) => return Err(Problem::BareTag(tag.clone())),
        }
        .map_err(Problem::Reference)
    }

    /// A name stands for one image, or for one a platform; a digest in it says which.
    fn check(&self, image: &mut NamedImage) -> Result<(), Problem> {
        let Some(reference) = &image.reference else { return Ok(()) };
        if let Some(digest) = reference.digest() {
            let actual = image.targets.first().map_or(digest, |target| target.digest);
            image.targets.retain(|target| target.digest == digest);
            if image.targets.is_empty() {
                return Err(Problem::OtherDigest { name: reference.to_string(), actual });
            }
        }
        if image.targets.len() > 1 && !are_for_different_platforms(&image.targets) {
            return Err(match self.typed.is_empty() {
                true => Problem::TwoImages(reference.to_string()),
                false => Problem::SeveralImages(image.targets.len()),
            });
        }
        Ok(())
    }
}

/// Adds a name for `target`; images without a name stay apart unless they are for different platforms.
fn add(
    named: &mut Vec<NamedImage>,
    reference: Option<Reference>,
    origin: Option<Reference>,
    target: Descriptor,
) {
    let same = named.iter_mut().find(|image| {
        image.reference == reference
            && (reference.is_some() || {
                let targets: Vec<_> = image.targets.iter().chain([&target]).cloned().collect();
                are_for_different_platforms(&targets)
            })
    });
    match same {
        Some(image) if image.targets.iter().any(|known| known.digest == target.digest) => {}
        Some(image) => image.targets.push(target),
        None => named.push(NamedImage { reference, origin, targets: vec![target] }),
    }
}

fn are_for_different_platforms(targets: &[Descriptor]) -> bool {
    targets.iter().enumerate().all(|(position, target)| {
        let others = &targets[..position];
        target.platform.is_some() && others.iter().all(|other| other.platform != target.platform)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Diagnose as _, Failure};
    use crate::oci::{Digest, MediaType};
    use crate::platform::Platform;

    fn image(content: &str, names: &[&str]) -> ArchiveImage {
        let target = Descriptor::new(MediaType::new("x"), Digest::of(content.as_bytes()), 1);
        let names = names.iter().map(|name| GivenName::of_reference_name(name)).collect();
        ArchiveImage { names, target, is_remade: false }
    }

    fn on(mut image: ArchiveImage, architecture: &str) -> ArchiveImage {
        image.target.platform = Some(Platform::from_parts("linux", architecture, "", ""));
        image
    }

    /// The names, each with the number of targets.
    fn named(names: &ImageNames, images: &[ArchiveImage]) -> Result<Vec<(String, usize)>, Failure> {
        let named = names.of(images, "a.tar").map_err(|error| error.failure())?;
        let shown = |image: &NamedImage| {
            let name = image.reference.as_ref().map(ToString::to_string).unwrap_or_default();
            (name, image.targets.len())
        };
        Ok(named.iter().map(shown).collect())
    }

    fn listed(names: &[(&str, usize)]) -> Result<Vec<(String, usize)>, Failure> {
        Ok(names.iter().map(|(name, targets)| ((*name).to_owned(), *targets)).collect())
    }

    #[test]
    fn names_are_written_out() {
        let own = ImageNames::default();
        let images = [image("a", &["busybox:1", "tools/hello:1"]), image("b", &[])];
        let expected =
            [("docker.io/library/busybox:1", 1), ("docker.io/tools/hello:1", 1), ("", 1)];
        assert_eq!(named(&own, &images), listed(&expected));
    }

    #[test]
    fn a_tag_needs_a_repository() {
        let images = [image("a", &["1.35"])];
        assert_eq!(named(&ImageNames::default(), &images), Err(Failure::Usage));
        let base = Some("quay.io/a".to_owned());
        let based = ImageNames { base, ..ImageNames::default() };
        assert_eq!(named(&based, &images), listed(&[("quay.io/a:1.35", 1)]));
    }

    #[test]
    fn typed_names_take_the_place_of_those_of_one_image() {
        let typed = ["a:1", "a:2"].map(|name| name.parse().unwrap()).to_vec();
        let typed = ImageNames { typed, base: None };
        let expected = [("docker.io/library/a:1", 1), ("docker.io/library/a:2", 1)];
        assert_eq!(named(&typed, &[image("a", &["b:1", "c:1"])]), listed(&expected));
        let two = [image("a", &[]), image("b", &[])];
        assert_eq!(named(&typed, &two), Err(Failure::Usage));
        let platforms = two.map(|image| image);
        let [one, other] = platforms;
        let platforms = [on(one, "amd64"), on(other, "arm64")];
        let expected = [("docker.io/library/a:1", 2), ("docker.io/library/a:2", 2)];
        assert_eq!(named(&typed, &platforms), listed(&expected));
    }

    #[test]
    fn a_typed_name_does_not_change_where_the_image_came_from() {
        let typed = ImageNames { typed: vec!["a:1".parse().unwrap()], base: None };
        let own = ImageNames::default();
        let remade = ArchiveImage { is_remade: true, ..image("a", &["quay.io/b:1"]) };
        for (names, image, origin) in [
            (&own, image("a", &["quay.io/b:1"]), Some("quay.io/b:1")),
            (&typed, image("a", &["quay.io/b:1"]), Some("quay.io/b:1")),
            (&typed, image("a", &["1.35"]), None),
            (&typed, image("a", &[]), None),
            (&own, remade.clone(), None),
            (&typed, remade, None),
        ] {
            let named = names.of(&[image], "a.tar").unwrap();
            let found = named[0].origin.as_ref().map(ToString::to_string);
            assert_eq!(found.as_deref(), origin, "{named:?}");
        }
    }

    #[test]
    fn one_name_is_not_for_two_images_unless_they_are_for_two_platforms() {
        let own = ImageNames::default();
        let [a, b] = ["a", "b"].map(|content| image(content, &["x:1"]));
        assert_eq!(named(&own, &[a.clone(), b.clone()]), Err(Failure::Verification));
        assert_eq!(
            named(&own, &[on(a.clone(), "amd64"), on(b.clone(), "amd64")]),
            Err(Failure::Verification)
        );
        let expected = listed(&[("docker.io/library/x:1", 2)]);
        assert_eq!(named(&own, &[on(a, "amd64"), on(b, "arm64")]), expected);
        let [a, b] = ["a", "b"].map(|content| image(content, &[]));
        assert_eq!(named(&own, &[a.clone(), b.clone()]), listed(&[("", 1), ("", 1)]));
        assert_eq!(named(&own, &[on(a, "amd64"), on(b, "arm64")]), listed(&[("", 2)]));
    }

    #[test]
    fn a_digest_in_a_name_must_be_the_images() {
        let own = ImageNames::default();
        let [right, wrong] = ["a", "b"]
            .map(|content| image("a", &[&format!("quay.io/a@{}", Digest::of(content.as_bytes()))]));
        let expected = format!("quay.io/a@{}", Digest::of(b"a"));
        assert_eq!(named(&own, &[right]), listed(&[(&expected, 1)]));
        assert_eq!(named(&own, &[wrong]), Err(Failure::Verification));
        assert_eq!(named(&own, &[image("a", &["Bad/Name:x y"])]), Err(Failure::Verification));
    }
}
