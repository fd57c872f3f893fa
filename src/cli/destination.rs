//! Where images go: a place, as a sink, and what they are called there.

use std::sync::Arc;

use super::Error;
use super::groups::StoreArgs;
use super::location::Location;
use super::session::Session;
use crate::archive::{Target, Wrapping};
use crate::config::RegistryHost;
use crate::containerd::{self, Client};
use crate::layout::Layout;
use crate::output::Progress;
use crate::progress;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{
    self, ArchiveSink, ContainerdSink, LayoutSink, NodeRules, RegistrySink, Sink, UnpackOptions,
};
use crate::verifiers::Verifiers;

/// What a place takes images by.
pub(super) struct Destination<'a> {
    /// The place.
    pub(super) place: &'a Location,
    /// The daemon, where the place is in one, and how layers become snapshots there.
    pub(super) client: Option<Client>,
    pub(super) unpack: Option<UnpackOptions>,
    /// Who has to agree there.
    pub(super) verifiers: Option<Verifiers>,
    /// What the node wants.
    pub(super) rules: NodeRules,
    /// Registries, and the hosts to ask where the place is in one.
    pub(super) registry: &'a Registry,
    pub(super) hosts: Vec<RegistryHost>,
    /// Who is told.
    pub(super) told: Arc<dyn progress::Sink>,
}

impl Destination<'_> {
    /// The sink for images of these names.
    ///
    /// # Errors
    /// When the place can't be written, or is no place to push to.
    pub(super) fn sink(
        self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Arc<dyn Sink>, transfer::Error> {
        match (self.place, self.client) {
            (Location::Registry(reference), _) => {
                Ok(Arc::new(RegistrySink::new(self.registry, self.hosts, reference)?))
            }
            (Location::Containerd { .. }, Some(client)) => {
                let sink = ContainerdSink::new(client, self.unpack, names, self.rules, self.told);
                Ok(Arc::new(sink.verified_by(self.verifiers)))
            }
            (Location::Layout { directory, tag }, _) => {
                Ok(Arc::new(LayoutSink::new(Layout::create(directory)?).called(tag.clone())))
            }
            (Location::Archive { file, form, .. }, _) => {
                let wrapping = Wrapping::of_name(file);
                Ok(Arc::new(ArchiveSink::new(Target::of(file)?, *form, wrapping)))
            }
            (Location::Containerd { .. }, None) => Err(transfer::Error::Closed),
        }
    }
}

/// How layers become snapshots at `place`, by `client` of its daemon, whose configuration names the
/// snapshotter `configured`; `None` where they do not.
///
/// # Errors
/// [`Error::NotInContainerd`] for flags that are for containerd only; when the daemon refuses.
pub(super) async fn unpacking(
    place: &Location,
    client: Option<&Client>,
    store: &StoreArgs,
    configured: Option<String>,
    progress: &Progress,
    session: &Session<'_>,
) -> Result<Option<UnpackOptions>, Error> {
    match client.filter(|_| matches!(place, Location::Containerd { .. })) {
        Some(client) => {
            let snapshotter = session.snapshotter(client, configured);
            Ok(store.unpacking(client, snapshotter, progress, session).await?)
        }
        None => match store.given() {
            Some(flag) => Err(Error::NotInContainerd(flag, place.to_string())),
            None => Ok(None),
        },
    }
}

/// The daemon, where `place` is in one.
///
/// # Errors
/// When there is none, or it does not answer.
pub(super) async fn daemon_of(
    place: &Location,
    session: &Session<'_>,
) -> Result<Option<Client>, containerd::Error> {
    match place {
        Location::Containerd { namespace, .. } => {
            session.connect_to(namespace.as_deref()).await.map(Some)
        }
        Location::Registry(_) | Location::Layout { .. } | Location::Archive { .. } => Ok(None),
    }
}

/// What the image is to be called at `place`, which is called `name` where it comes from.
///
/// # Errors
/// [`Error::NoDestinationName`].
pub(super) fn name_at(place: &Location, name: Option<&Reference>) -> Result<Reference, Error> {
    match place {
        Location::Registry(reference) | Location::Containerd { reference, .. } => {
            Ok(reference.clone())
        }
        Location::Layout { tag, .. } | Location::Archive { name: tag, .. } => {
            // A bare tag is no name.
            let typed = tag.as_deref().filter(|tag| tag.contains('/'));
            let typed = typed.and_then(|tag| tag.parse().ok());
            typed.or(name.cloned()).ok_or(Error::NoDestinationName)
        }
    }
}
