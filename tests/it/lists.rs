//! What a real docker-registry says of a repository: its tags, and what refers to a manifest. This is
//! the library's own behaviour, below the commands.

use std::sync::Arc;

use pullctl::config::{HostOptions, Keychain, own_registry};
use pullctl::failure::{Diagnose as _, Failure};
use pullctl::oci::Digest;
use pullctl::progress::{Event, Sink};
use pullctl::registry::{Policy, Registry, Repository};

use crate::support::image::{Family, Image};
use crate::support::registry::Registry as DockerRegistry;
use crate::support::{block_on, unique};

struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: Event) {}
}

fn repository(registry: &DockerRegistry, name: &str) -> Repository {
    let reference = format!("{}/{name}", registry.authority()).parse().unwrap();
    let options = HostOptions { plain_http: true, ..HostOptions::default() };
    let hosts = vec![own_registry(registry.authority(), &options)];
    let run = Registry::new(Policy::default(), Arc::new(Keychain::default()), Arc::new(Nobody));
    run.unwrap().repository(hosts, &reference)
}

#[test]
fn the_tags_of_a_repository_are_listed() {
    let registry = DockerRegistry::start();
    let (image, name) = (Image::small(), unique("team/tags"));
    let tags: Vec<String> = (10..40).map(|number| format!("v{number}")).collect();
    for tag in &tags {
        registry.push(&image, &name, tag);
    }
    assert_eq!(block_on(repository(&registry, &name).tags()).unwrap(), tags);
    let error = block_on(repository(&registry, "no/such").tags()).unwrap_err();
    assert_eq!(error.failure(), Failure::NotFound);
}

#[test]
fn what_refers_to_a_manifest_is_found_by_the_tag_that_stands_for_it() {
    let registry = DockerRegistry::start();
    let (subject, signature) = (Image::small(), Image::small());
    let name = unique("team/referrers");
    registry.push(&subject, &name, "v1");
    let digest: Digest = subject.digest().parse().unwrap();
    let repository = repository(&registry, &name);
    assert!(block_on(repository.referrers(digest)).unwrap().is_empty());

    let index = Image::index(Family::Oci, vec![signature]);
    registry.push(&index, &name, &digest.to_string().replace(':', "-"));
    assert_eq!(block_on(repository.referrers(digest)).unwrap().len(), 1);
}
