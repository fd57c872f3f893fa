//! The names of an image: what each is, and which of them go together.

use std::collections::BTreeSet;

use crate::containerd::Image;
use crate::oci::Digest;
use crate::reference::Reference;

/// What a name in the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameKind {
    /// `repository:tag`, or any name that is none of the others.
    Tag,
    /// `repository@sha256:…`.
    RepositoryDigest,
    /// `sha256:…`, the image ID.
    Id,
}

impl NameKind {
    /// What `name` is.
    pub fn of(name: &str) -> Self {
        if name.parse::<Digest>().is_ok() {
            Self::Id
        } else if name.parse::<Reference>().is_ok_and(|reference| reference.digest().is_some()) {
            Self::RepositoryDigest
        } else {
            Self::Tag
        }
    }
}

/// Whether two names are of one repository and stand for the same content.
fn is_of(name: &Image, other: &Image) -> bool {
    let repository = |image: &Image| image.name.parse::<Reference>().ok().map(|r| r.name());
    name.target.digest == other.target.digest && repository(name) == repository(other)
}

pub(super) fn all_names(names: &[Image]) -> Vec<String> {
    names.iter().map(|name| name.name.clone()).collect()
}

/// `name` alone when it is a tag; with a digest name the repository's tags for the digest; with an
/// ID all names.
/// `names` are all those of the image.
pub(super) fn same_in_repository(names: &[Image], name: &Image) -> Vec<String> {
    match NameKind::of(&name.name) {
        NameKind::Tag => vec![name.name.clone()],
        NameKind::Id => all_names(names),
        NameKind::RepositoryDigest => {
            let same = |other: &&Image| is_of(other, name);
            names.iter().filter(same).map(|other| other.name.clone()).collect()
        }
    }
}

/// Those of an image's `names` that make no sense any more once `doomed` are gone: a digest name whose last
/// tag goes, and the ID when no other name stays.
pub(super) fn left_over(names: &[Image], doomed: &BTreeSet<String>) -> Vec<String> {
    let of_kind = |kind| names.iter().filter(move |name| NameKind::of(&name.name) == kind);
    let goes = |name: &Image| doomed.contains(&name.name);
    let mut left_over: Vec<String> = of_kind(NameKind::RepositoryDigest)
        .filter(|digest| {
            let mut tags = of_kind(NameKind::Tag).filter(|tag| is_of(tag, digest)).peekable();
            tags.peek().is_some() && tags.all(goes)
        })
        .map(|digest| digest.name.clone())
        .collect();
    let stays = |name: &Image| !goes(name) && !left_over.contains(&name.name);
    let mut others = names.iter().filter(|name| NameKind::of(&name.name) != NameKind::Id);
    let is_touched = names.iter().any(goes);
    if is_touched && !others.any(stays) {
        left_over.extend(of_kind(NameKind::Id).map(|id| id.name.clone()));
    }
    left_over
}

/// Whether the kubelet can ask for an image by `name`: it asks by references as containerd writes them
/// out, so what `ctr images import` left as `busybox:1` it does not find. Names that are digests are
/// the image ID.
pub fn is_found_by_kubelet(name: &str) -> bool {
    NameKind::of(name) == NameKind::Id
        || name.parse::<Reference>().is_ok_and(|reference| reference.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_finds_names_that_are_written_out() {
        let id = Digest::of(b"").to_string();
        for (name, is_found) in [
            ("docker.io/library/busybox:1", true),
            (&*format!("docker.io/library/busybox@{id}"), true),
            ("quay.io/a/b:c", true),
            (&*id, true),
            ("busybox:1", false),
            ("library/busybox:1", false),
            ("docker.io/busybox:1", false),
            ("docker.io/library/busybox", false),
            ("Some Name", false),
            ("import-2026-11-28@sha256:00", false),
        ] {
            assert_eq!(is_found_by_kubelet(name), is_found, "{name}");
        }
    }
}
