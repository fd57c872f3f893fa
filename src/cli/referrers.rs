//! What refers to an image, from one registry to another: signatures, SBOMs, what refers to those, and
//! the tags of cosign.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Error;
use crate::config::RegistryHost;
use crate::oci::Digest;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{Names, PlatformChoice, RegistrySource, Request};

/// How far away from the image (4): a signature of an SBOM of an image is two steps away.
const MAX_DEPTH: usize = 4;

/// Most manifests that are asked for what refers to them (1,024), each by a request.
const MAX_SUBJECTS: usize = 1024;

/// The repository of an image, and who answers for it.
pub(super) struct Repository<'a> {
    /// Access to registries.
    pub(super) registry: &'a Registry,
    /// In the order in which they are asked.
    pub(super) hosts: Vec<RegistryHost>,
    /// The image.
    pub(super) reference: &'a Reference,
}

impl Repository<'_> {
    /// What refers to `subjects`, and to what does so, to be brought to the repository of `to`. What
    /// refers to another comes after it.
    ///
    /// # Errors
    /// When the registry can't be asked, or [`Error::TooManyReferrers`].
    pub(super) async fn referrers(
        &self,
        subjects: Vec<Digest>,
        to: &Reference,
    ) -> Result<Vec<Request>, Error> {
        let repository = self.registry.repository(self.hosts.clone(), self.reference);
        let tags = repository.tags().await?;
        let mut seen = HashSet::new();
        let subjects = subjects.into_iter().filter(|subject| seen.insert(*subject));
        let mut waiting: VecDeque<(Digest, usize)> = subjects.map(|it| (it, 0)).collect();
        let mut names = Vec::new();
        while let Some((subject, depth)) = waiting.pop_front() {
            if seen.len() > MAX_SUBJECTS {
                return Err(Error::TooManyReferrers(MAX_SUBJECTS));
            }
            let stands_for = format!("{}.", subject.to_string().replace(':', "-"));
            let cosigns = tags.iter().filter(|tag| tag.starts_with(&stands_for));
            names.extend(cosigns.map(|tag| format!(":{tag}")));
            if depth == MAX_DEPTH {
                continue;
            }
            for referrer in repository.referrers(subject).await? {
                if seen.insert(referrer.digest) {
                    names.push(format!("@{}", referrer.digest));
                    waiting.push_back((referrer.digest, depth + 1));
                }
            }
        }
        names.iter().map(|name| self.request(to, name)).collect()
    }

    /// `name`, `@sha256:…` or `:tag`, from one repository to the other.
    fn request(&self, to: &Reference, name: &str) -> Result<Request, Error> {
        let source: Reference = format!("{}{name}", self.reference.name()).parse()?;
        let names = Names::new(format!("{}{name}", to.name()).parse()?);
        let source = RegistrySource::new(self.registry, self.hosts.clone(), &source);
        let platforms = PlatformChoice::AsItIs;
        Ok(Request { source: Arc::new(source), names: Arc::new(names), platforms })
    }
}
