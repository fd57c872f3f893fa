//! Where images go and what they become there.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::StoreArgs;
use crate::cli::Session;
use crate::cli::values::Destination;
use crate::containerd::{self, Client};
use crate::layout::Layout;
use crate::output::Progress;
use crate::progress;
use crate::reference::Reference;
use crate::transfer::{self, ContainerdSink, LayoutSink, Sink};

/// Where images go and what they become there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub struct PlaceArgs {
    /// What they become in containerd.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Write an OCI image layout into a directory instead; needs no containerd
    #[arg(long, value_name = "oci:DIR", conflicts_with_all = ["pin", "labels", "no_unpack", "unpacker", "max_unpacked"])]
    pub to: Option<Destination>,
}

impl PlaceArgs {
    /// The place, before anything is done there. That no daemon answers is told by [`Place::sink`],
    /// after what is wrong on this side.
    pub(in crate::cli) async fn find(&self, session: &Session<'_>) -> Place<'_> {
        match &self.to {
            Some(Destination::Layout(directory)) => Place::Layout(directory),
            None => Place::Daemon(self, session.connect().await),
        }
    }

    /// Where `images` go, of one run. The daemon's configuration names the snapshotter `configured`.
    async fn containerd(
        &self,
        client: Client,
        images: impl Iterator<Item = &Reference>,
        configured: Option<String>,
        progress: &Arc<Progress>,
        session: &Session<'_>,
    ) -> Result<ContainerdSink, transfer::Error> {
        let unpack = self.store.unpacking(&client, configured, progress, session).await?;
        let images = images.map(Reference::to_string);
        let progress = Arc::clone(progress) as Arc<dyn progress::Sink>;
        Ok(ContainerdSink::new(client, unpack, images, progress))
    }
}

/// The place that the flags name.
pub(in crate::cli) enum Place<'a> {
    /// A directory.
    Layout(&'a Path),
    /// The daemon, if there is one.
    Daemon(&'a PlaceArgs, Result<Client, containerd::Error>),
}

impl Place<'_> {
    /// The daemon, by whose version depends how its configuration is read.
    pub(in crate::cli) fn daemon(&self) -> Option<&Client> {
        match self {
            Self::Layout(_) => None,
            Self::Daemon(_, client) => client.as_ref().ok(),
        }
    }

    /// Where `images` go, of one run. The daemon's configuration names the snapshotter `configured`.
    ///
    /// # Errors
    /// When there is no daemon, or the directory can't be written.
    pub(in crate::cli) async fn sink(
        self,
        images: impl Iterator<Item = &Reference>,
        configured: Option<String>,
        progress: &Arc<Progress>,
        session: &Session<'_>,
    ) -> Result<Arc<dyn Sink>, transfer::Error> {
        match self {
            Self::Layout(directory) => Ok(Arc::new(LayoutSink::new(Layout::create(directory)?))),
            Self::Daemon(args, client) => {
                Ok(Arc::new(args.containerd(client?, images, configured, progress, session).await?))
            }
        }
    }
}
