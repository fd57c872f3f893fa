//! The image at a place, as a source.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::location::Location;
use crate::archive::{ArchiveImage, GivenName, MAX_ARCHIVE_WINDOW, Opened};
use crate::config::RegistryHost;
use crate::containerd::{self, Client};
use crate::layout::{Entry, Layout};
use crate::progress;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{
    self, ArchiveSource, ContainerdSource, LayoutSource, Provenance, RegistrySource, Source,
};

/// What the image at a place is had by.
pub(super) struct Origin<'a> {
    /// The place.
    pub(super) place: &'a Location,
    /// The daemon, where the place is in one.
    pub(super) client: Option<Client>,
    /// Registries, and the hosts to ask where the place is in one.
    pub(super) registry: &'a Registry,
    pub(super) hosts: Vec<RegistryHost>,
    /// Who is told.
    pub(super) told: Arc<dyn progress::Sink>,
}

/// An image, and the whole name that it has where it is.
pub(super) type Found = (Arc<dyn Source>, Option<Reference>);

impl Origin<'_> {
    /// The image.
    ///
    /// # Errors
    /// When the place has no such image, or can't be read.
    pub(super) async fn source(self) -> Result<Found, Error> {
        match (self.place, &self.client) {
            (Location::Registry(reference), _) => {
                let source = RegistrySource::new(self.registry, self.hosts, reference);
                Ok((Arc::new(source), Some(reference.clone())))
            }
            (Location::Containerd { name, reference, .. }, Some(client)) => {
                let name = stored_name(client, name, reference).await?;
                let source = ContainerdSource::new(client.clone(), name, self.told);
                Ok((Arc::new(source), Some(reference.clone())))
            }
            (Location::Layout { directory, tag }, _) => self.laid_out(directory, tag).await,
            (Location::Archive { file, name, .. }, _) => self.archived(file, name.as_deref()),
            (Location::Containerd { .. }, None) => Err(transfer::Error::Closed.into()),
        }
    }

    /// The image of the layout in `directory` that `tag` means, and the whole name that it has there.
    async fn laid_out(&self, directory: &Path, tag: &Option<String>) -> Result<Found, Error> {
        let layout = Layout::open(directory).map_err(transfer::Error::from)?;
        let entries = layout.entries().await.map_err(transfer::Error::from)?;
        let names = |entry: &Entry| {
            [entry.full_name(), entry.reference_name()].map(|name| name.map(str::to_owned))
        };
        let tagged = |entry: &&Entry| match tag {
            Some(tag) => entry.reference_name() == Some(tag),
            None => true,
        };
        let called = |entry: &&Entry| names(entry).contains(tag);
        let mut meant: Vec<_> = entries.iter().filter(tagged).collect();
        if meant.is_empty() {
            meant = entries.iter().filter(called).collect();
        }
        let [entry] = meant.as_slice() else {
            let listed = entries.iter().flat_map(|entry| names(entry).into_iter().flatten());
            let mut listed: Vec<String> = listed.collect();
            listed.dedup();
            let place = directory.to_owned();
            let (form, tag) = (self.place.one_of(), tag.clone());
            return Err(Error::NotOneImage { place, form, tag, listed });
        };
        // A bare tag is no name.
        let whole = names(entry).into_iter().flatten().find(|name| name.contains('/'));
        let whole: Option<Reference> = whole.and_then(|name| name.parse().ok());
        let provenance = whole.as_ref().map(Provenance::of).unwrap_or_default();
        let source = LayoutSource::new(layout, entry.target.clone(), Arc::clone(&self.told));
        Ok((Arc::new(source.from(provenance)), whole))
    }

    /// The image of the archive `file` that `name` means, and the whole name that it has there.
    fn archived(&self, file: &Path, name: Option<&str>) -> Result<Found, Error> {
        let opened = Opened::at(file, MAX_ARCHIVE_WINDOW).map_err(transfer::Error::from)?;
        // What can be read once only is for `load`.
        let Opened::File(archive) = opened else { return Err(Error::NoFile(file.to_owned())) };
        let is_meant = |image: &&ArchiveImage| match name {
            Some(name) => image.names.iter().any(|known| is_called(known, name)),
            None => true,
        };
        let meant: Vec<&ArchiveImage> = archive.images().iter().filter(is_meant).collect();
        let [image] = meant.as_slice() else {
            let listed = archive.images().iter().flat_map(|image| &image.names);
            let listed = listed.map(ToString::to_string).collect();
            let (place, tag) = (file.to_owned(), name.map(str::to_owned));
            let form = self.place.one_of();
            return Err(Error::NotOneImage { place, form, tag, listed });
        };
        let full = image.names.iter().find_map(|name| match name {
            GivenName::Full(name) => name.parse().ok(),
            GivenName::Tag(_) => None,
        });
        let source =
            ArchiveSource::new(archive.clone(), image.target.clone(), Arc::clone(&self.told));
        let provenance = image.origin().as_ref().map(Provenance::of).unwrap_or_default();
        Ok((Arc::new(source.from(provenance)), full))
    }
}

/// What the store calls the image: as it was typed, where it was put under a short name, or written
/// out.
///
/// # Errors
/// When the daemon refuses.
pub(super) async fn stored_name(
    client: &Client,
    typed: &str,
    reference: &Reference,
) -> Result<String, containerd::Error> {
    Ok(match client.images().get(typed).await? {
        Some(image) => image.name,
        None => reference.to_string(),
    })
}

/// Whether `name` is what was typed: as it stands, or the same written out.
fn is_called(name: &GivenName, typed: &str) -> bool {
    let written_out = |text: &str| text.parse::<Reference>().ok();
    match name {
        GivenName::Tag(tag) => tag == typed,
        GivenName::Full(full) => {
            full == typed || written_out(full).is_some_and(|full| written_out(typed) == Some(full))
        }
    }
}
