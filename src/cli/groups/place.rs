//! Where images go and what they become there.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::cli::Session;
use crate::cli::values::{ByteCount, Destination, Label};
use crate::containerd::{self, Client};
use crate::layout::Layout;
use crate::output::Progress;
use crate::progress;
use crate::reference::Reference;
use crate::transfer::{self, ContainerdSink, LayoutSink, Names, Sink, UnpackOptions};
use crate::unpack::Way;

/// Where images go and what they become there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub struct PlaceArgs {
    /// Keep the kubelet's image garbage collection away from the images
    #[arg(long)]
    pub pin: bool,

    /// Label for the images' names in containerd. Can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,

    /// Store the images without unpacking their layers
    #[arg(long)]
    pub no_unpack: bool,

    /// Who unpacks the layers: pullctl while they come in, or containerd afterwards
    #[arg(long, value_enum, value_name = "WAY", default_value_t, conflicts_with = "no_unpack")]
    pub unpacker: UnpackWay,

    /// Most that all images of the run may be, unpacked: 20GiB. A small blob can be a very large layer
    /// [default: what is free]
    #[arg(long, value_name = "SIZE", conflicts_with = "no_unpack")]
    pub max_unpacked: Option<ByteCount>,

    /// Write an OCI image layout into a directory instead; needs no containerd
    #[arg(long, value_name = "oci:DIR", conflicts_with_all = ["pin", "labels", "no_unpack", "unpacker", "max_unpacked"])]
    pub to: Option<Destination>,
}

impl PlaceArgs {
    /// What an image is to be called there, and what is noted beside its names.
    pub(in crate::cli) fn names(&self, reference: &Reference) -> Names {
        let labels = self.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
        Names { reference: reference.clone(), pin: self.pin, labels: labels.collect() }
    }

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
        progress.warn(client.cri().pin_notice().filter(|_| self.pin));
        let unpack = match self.no_unpack {
            true => None,
            false => Some(UnpackOptions {
                snapshotter: session.snapshotter(&client, configured).await?,
                way: self.unpacker.into(),
                max_bytes: self.max_unpacked.map(|limit| limit.0),
            }),
        };
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

/// Who unpacks layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum UnpackWay {
    /// pullctl where that is sound (as root, overlayfs, the daemon on this machine), else containerd
    #[default]
    Auto,
    /// pullctl, or fail
    Direct,
    /// containerd
    Daemon,
}

impl From<UnpackWay> for Way {
    fn from(way: UnpackWay) -> Self {
        match way {
            UnpackWay::Auto => Self::Auto,
            UnpackWay::Direct => Self::Direct,
            UnpackWay::Daemon => Self::Daemon,
        }
    }
}
