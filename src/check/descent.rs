//! Where an image's content came from, whatever it is called here: what is missing of it is asked for
//! there.

use std::collections::BTreeSet;

use crate::containerd::{Client, Error, Image, Labels, labels};
use crate::images::{NameKind, StoredImage};
use crate::oci::Digest;
use crate::reference::Reference;
use crate::transfer::Origin as Repository;

/// Most repositories that an image is looked for in (8): the labels of a base image that half a registry
/// is made of may name hundreds.
const MAX_LEADS: usize = 8;

/// A repository that may have an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The image there, by its digest.
    pub reference: Reference,
    /// Whether labels tell that the image came from there; otherwise it is only called so.
    pub is_source: bool,
}

/// Where `image` may be had again: first where it came from, then where its names lead.
///
/// # Errors
/// When the daemon refuses.
pub async fn leads(client: &Client, image: &StoredImage) -> Result<Vec<Lead>, Error> {
    let mut leads = Vec::new();
    let mut targets = BTreeSet::new();
    for name in &image.names {
        // An ID is the same under all of its names.
        if !targets.insert(name.target.digest) {
            continue;
        }
        let digest = name.target.digest;
        let labels = client.content().info(&digest).await?.map(|info| info.labels);
        let names = image.names.iter().filter(|it| it.target.digest == digest);
        leads.extend(leads_of(&digest, names, &labels.unwrap_or_default()));
    }
    // What one target came from may have what is missing of another.
    leads.sort_by_key(|lead| !lead.is_source);
    leads.truncate(MAX_LEADS);
    Ok(leads)
}

/// Those of one of its targets, whose content has `labels`.
fn leads_of<'a>(
    target: &Digest,
    names: impl Iterator<Item = &'a Image> + Clone,
    labels: &Labels,
) -> Vec<Lead> {
    let origins: Vec<Repository> =
        labels::origins(labels).map(|(host, repository)| Repository { host, repository }).collect();
    // They know the port, which the labels of content leave out.
    let sources = names.clone().filter_map(|name| labels::named_source(&name.labels));
    let mut found: Vec<Lead> = Vec::new();
    sources.for_each(|source| add(&mut found, &source.name(), target, true));
    let names: Vec<Reference> = names.filter_map(|name| reference(&name.name)).collect();
    for name in names.iter().filter(|name| origins.contains(&Repository::of(name))) {
        add(&mut found, &name.name(), target, true);
    }
    for origin in &origins {
        if !found.iter().any(|lead| Repository::of(&lead.reference) == *origin) {
            add(&mut found, &origin.name(), target, true);
        }
    }
    // What was built here or came in an archive is had where it is called to be, if at all.
    names.iter().for_each(|name| add(&mut found, &name.name(), target, false));
    found
}

/// Adds the repository `name`, unless it is there.
fn add(found: &mut Vec<Lead>, name: &str, target: &Digest, is_source: bool) {
    let Ok(reference) = format!("{name}@{target}").parse::<Reference>() else { return };
    if !found.iter().any(|lead| lead.reference == reference) {
        found.push(Lead { reference, is_source });
    }
}

/// The reference that a name in the store is. An ID would be taken for that of a repository.
fn reference(name: &str) -> Option<Reference> {
    match NameKind::of(name) {
        NameKind::Id => None,
        _ => name.parse::<Reference>().ok().filter(|it| !it.is_nameless()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Descriptor, MediaType};

    fn image(name: &str, source: Option<&str>) -> Image {
        let target = Descriptor::new(MediaType::new("x"), Digest::of(b"target"), 1);
        let source = source.map(|source| source.parse().unwrap());
        let labels = source.and_then(|source| labels::source_name(&source)).into_iter().collect();
        Image { name: name.to_owned(), target, labels, created: None }
    }

    fn found(names: &[(&str, Option<&str>)], origins: &[(&str, &str)]) -> Vec<(String, bool)> {
        let target = Digest::of(b"target");
        let names: Vec<Image> = names.iter().map(|(name, source)| image(name, *source)).collect();
        let mut labels = Labels::new();
        for (host, repository) in origins {
            labels.extend(labels::source_at(host, repository, &labels));
        }
        let leads = leads_of(&target, names.iter(), &labels).into_iter();
        let name = |lead: Lead| (lead.reference.name(), lead.is_source);
        leads.map(name).collect()
    }

    #[test]
    fn where_content_came_from_is_before_what_it_is_called() {
        let id = format!("sha256:{}", "a".repeat(64));
        let harbor = "harbor.example:8443/k8s/pause:3.6";
        let pause = "registry.k8s.io/pause:3.6";
        for (names, origins, expected) in [
            // By its own name.
            (
                vec![("quay.io/a/b:1", None), (id.as_str(), None)],
                vec![("quay.io", "a/b")],
                vec![("quay.io/a/b", true)],
            ),
            // Its registry has a port, which the label of the content has not.
            (
                vec![("localhost:5000/a:1", None)],
                vec![("localhost", "a")],
                vec![("localhost:5000/a", true)],
            ),
            // Under another name, by us.
            (
                vec![(pause, Some(harbor))],
                vec![("harbor.example", "k8s/pause")],
                vec![("harbor.example:8443/k8s/pause", true), ("registry.k8s.io/pause", false)],
            ),
            // By `ctr images tag`.
            (
                vec![(pause, None)],
                vec![("harbor.example", "k8s/pause"), ("fd00::1", "k8s/pause")],
                vec![
                    ("fd00::1/k8s/pause", true),
                    ("harbor.example/k8s/pause", true),
                    ("registry.k8s.io/pause", false),
                ],
            ),
            // Out of an archive.
            (vec![(pause, None)], vec![], vec![("registry.k8s.io/pause", false)]),
        ] {
            let expected: Vec<(String, bool)> = expected
                .into_iter()
                .map(|(name, is_source)| (name.replace("fd00::1/", "[fd00::1]/"), is_source))
                .collect();
            assert_eq!(found(&names, &origins), expected, "{names:?}");
        }
    }
}
