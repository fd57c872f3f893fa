//! Where images go and what they become there.

use std::sync::Arc;

use clap::Args;
use tokio::try_join;

use super::{CourseArgs, StoreArgs};
use crate::cli::destination::{self, Destination};
use crate::cli::location::Location;
use crate::cli::{Error, Session, rules};
use crate::config::{Kubelet, NodeConfig, RegistryHost, VerifierSettings};
use crate::containerd::{self, Client};
use crate::output::Progress;
use crate::progress;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{self, ContainerdSink, Names, Sink};

/// Where images go and what they become there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub struct PlaceArgs {
    /// What they become in containerd.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Bring the images to another place than the namespace of -n: oci:DIR:TAG, oci-archive:FILE:REF,
    /// docker-archive:FILE:REF (TAG and REF may be left out), containerd://NAMESPACE/REF, or REF in a
    /// registry
    #[arg(long, value_name = "PLACE")]
    pub to: Option<Location>,
}

impl PlaceArgs {
    /// The place, before anything is done there. That no daemon answers is told by [`Place::sink`],
    /// after what is wrong on this side.
    pub(in crate::cli) async fn find(&self, session: &Session<'_>) -> Place<'_> {
        let daemon = match &self.to {
            None => Some(session.connect().await),
            Some(place) => destination::daemon_of(place, session).await.transpose(),
        };
        Place { args: self, daemon, snapshotter: None }
    }

    /// Refuses several images where there is a place for one.
    ///
    /// # Errors
    /// [`Error::PlaceOfOne`].
    pub(in crate::cli) fn check(&self, images: usize) -> Result<(), Error> {
        match self.to.as_ref().filter(|place| images > 1 && place.is_of_one()) {
            Some(place) => Err(Error::PlaceOfOne(place.to_string())),
            None => Ok(()),
        }
    }

    /// Refuses a look at what is there where that does not tell enough: a layout has of an index what was
    /// brought and not what it lists, an archive is written anew, and a registry would be asked in any
    /// case.
    ///
    /// # Errors
    /// [`Error::NotKept`].
    pub(in crate::cli) fn check_course(&self, course: &CourseArgs) -> Result<(), Error> {
        let flag = course.of_namespaces().filter(|_| !self.is_containerd());
        match (flag, &self.to) {
            (Some(flag), Some(place)) => Err(Error::NotKept(flag, place.to_string())),
            _ => Ok(()),
        }
    }

    /// Whether images go into a namespace of a daemon.
    pub(in crate::cli) fn is_containerd(&self) -> bool {
        matches!(&self.to, None | Some(Location::Containerd { .. }))
    }

    /// The reference, where the place is in a registry.
    pub(in crate::cli) fn in_registry(&self) -> Option<&Reference> {
        self.to.as_ref().and_then(Location::in_registry)
    }

    /// What an image is to be called there, and what is noted beside its names.
    ///
    /// # Errors
    /// [`Error::NoDestinationName`].
    pub(in crate::cli) fn names(&self, reference: &Reference) -> Result<Names, Error> {
        Ok(match &self.to {
            None => self.store.names(reference),
            Some(place) => self.store.names(&destination::name_at(place, Some(reference))?),
        })
    }
}

/// What the daemon's configuration, and the kubelet's, say of images that come.
#[derive(Debug, Default)]
pub(in crate::cli) struct Configured {
    /// The snapshotter, where it names one.
    pub(in crate::cli) snapshotter: Option<String>,
    /// The image of pods' sandboxes.
    pub(in crate::cli) sandbox: Option<String>,
    /// Who has to agree.
    pub(in crate::cli) verifiers: VerifierSettings,
    /// What the kubelet says of them.
    pub(in crate::cli) kubelet: Option<Kubelet>,
}

impl Configured {
    /// What `node` has of it.
    pub(in crate::cli) fn of(node: &NodeConfig) -> Self {
        let config = node.containerd.as_ref();
        Self {
            snapshotter: config.and_then(|config| config.snapshotter.clone()),
            sandbox: config.and_then(|config| config.sandbox_image.clone()),
            verifiers: node.verifiers(),
            kubelet: node.kubelet.clone(),
        }
    }
}

/// The place that the flags name.
pub(in crate::cli) struct Place<'a> {
    args: &'a PlaceArgs,
    /// The daemon, where it is in one, if that answers.
    daemon: Option<Result<Client, containerd::Error>>,
    /// What it says of its snapshotter, where it was asked.
    snapshotter: Option<Result<Option<String>, containerd::Error>>,
}

impl Place<'_> {
    /// The daemon, by whose version depends how its configuration is read.
    pub(in crate::cli) fn daemon(&self) -> Option<&Client> {
        self.daemon.as_ref().and_then(|daemon| daemon.as_ref().ok())
    }

    /// What `work` comes to, which has nothing to do with the daemon: that is asked meanwhile what
    /// [`Self::sink`] has to know of it.
    ///
    /// # Errors
    /// That of `work`. What the daemon refuses is told by [`Self::sink`].
    pub(in crate::cli) async fn asked_beside<T, E>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
        session: &Session<'_>,
    ) -> Result<T, E> {
        match self.daemon().filter(|_| self.args.to.is_none() && !self.args.store.no_unpack) {
            None => work.await,
            Some(client) => {
                let asking = async { Ok(session.daemons_snapshotter(client).await) };
                let (snapshotter, outcome) = try_join!(asking, work)?;
                self.snapshotter = Some(snapshotter);
                Ok(outcome)
            }
        }
    }

    /// Where images of these names go, of one run, as the daemon is `configured`; `hosts` are those of a
    /// place in a registry.
    ///
    /// # Errors
    /// When there is no daemon, or the place can't be written.
    pub(in crate::cli) async fn sink(
        self,
        names: impl Iterator<Item = String>,
        configured: Configured,
        (registry, hosts): (&Registry, Vec<RegistryHost>),
        progress: &Arc<Progress>,
        session: &Session<'_>,
    ) -> Result<Arc<dyn Sink>, Error> {
        let client = self.daemon.transpose()?;
        let told = Arc::clone(progress) as Arc<dyn progress::Sink>;
        let (store, told_before) = (&self.args.store, self.snapshotter);
        let Configured { snapshotter, sandbox, verifiers, kubelet } = configured;
        let verifiers = || store.verifiers.verifiers(verifiers, &*told);
        match (&self.args.to, client) {
            (None, Some(client)) => {
                let snapshotter = async {
                    match told_before {
                        Some(told) => Ok(session.global.snapshotter_or(told?, snapshotter)),
                        None => session.snapshotter(&client, snapshotter).await,
                    }
                };
                let unpack = store.unpacking(&client, snapshotter, progress, session).await?;
                let verifiers = verifiers();
                let rules = rules::of(kubelet.as_ref(), sandbox);
                let sink = ContainerdSink::new(client, unpack, names, rules, told);
                Ok(Arc::new(sink.verified_by(verifiers)))
            }
            (None, None) => Err(transfer::Error::Closed.into()),
            (Some(place), client) => {
                let unpack = destination::unpacking(
                    place,
                    client.as_ref(),
                    store,
                    snapshotter,
                    progress,
                    session,
                );
                let unpack = unpack.await?;
                let verifiers = client.as_ref().and_then(|_| verifiers());
                let rules = rules::of(kubelet.as_ref(), None);
                let to =
                    Destination { place, client, unpack, verifiers, rules, registry, hosts, told };
                Ok(to.sink(names)?)
            }
        }
    }
}
