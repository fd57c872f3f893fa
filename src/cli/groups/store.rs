//! What images become in containerd.

use clap::{Args, ValueEnum};

use super::VerifierArgs;
use crate::cli::Session;
use crate::cli::values::{ByteCount, Label, ThreadCount};
use crate::containerd::{self, Client};
use crate::output::Progress;
use crate::reference::Reference;
use crate::transfer::{self, Names, UnpackOptions};
use crate::unpack::{Inflating, Way};

/// What images become in containerd.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub struct StoreArgs {
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

    /// Who has to agree with them.
    #[command(flatten)]
    pub verifiers: VerifierArgs,

    /// Most that all images of the run may be, unpacked: 20GiB. A small blob can be a very large layer
    /// [default: what is free]
    #[arg(long, value_name = "SIZE", conflicts_with = "no_unpack")]
    pub max_unpacked: Option<ByteCount>,

    /// Threads that inflate one gzip layer, if pullctl unpacks: a number, or auto: half the processors, 4
    /// at most, for a layer of 16 MiB or more where there are 4 processors, and otherwise 1, as with --memory
    #[arg(long, value_name = "N", default_value_t, conflicts_with_all = ["memory", "no_unpack"])]
    pub inflate_threads: ThreadCount,

    /// Do not check whether all images have room before the first of them is written
    #[arg(long)]
    pub no_space_check: bool,
}

impl StoreArgs {
    /// What an image is to be called there, and what is noted beside its names.
    pub(in crate::cli) fn names(&self, reference: &Reference) -> Names {
        let labels = self.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
        Names { reference: reference.clone(), pin: self.pin, labels: labels.collect() }
    }

    /// The first of these flags that was given: they do nothing where images go elsewhere.
    pub(in crate::cli) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--pin", self.pin),
            ("--label", !self.labels.is_empty()),
            ("--no-unpack", self.no_unpack),
            ("--unpacker", self.unpacker != UnpackWay::Auto),
            ("--max-unpacked", self.max_unpacked.is_some()),
            ("--inflate-threads", self.inflate_threads != ThreadCount::default()),
            ("--ignore-verifiers", self.verifiers.ignore_verifiers),
            ("--no-space-check", self.no_space_check),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }

    /// How layers become snapshots of `client`'s, if they do, which `snapshotter` is asked for then;
    /// warns where a pin is of no use.
    ///
    /// # Errors
    /// When the daemon has to be asked and refuses.
    pub(in crate::cli) async fn unpacking(
        &self,
        client: &Client,
        snapshotter: impl Future<Output = Result<String, containerd::Error>>,
        progress: &Progress,
        session: &Session<'_>,
    ) -> Result<Option<UnpackOptions>, transfer::Error> {
        progress.warn(client.cri().pin_notice().filter(|_| self.pin));
        Ok(match self.no_unpack {
            true => None,
            false => Some(UnpackOptions {
                snapshotter: snapshotter.await?,
                way: self.unpacker.into(),
                max_bytes: self.max_unpacked.map(|limit| limit.0),
                inflating: match self.inflate_threads {
                    // What further threads take is not in the budget.
                    ThreadCount::Auto if session.budget.is_set() => Inflating::exactly(1),
                    ThreadCount::Auto => Inflating::auto(),
                    ThreadCount::Exactly(threads) => Inflating::exactly(threads),
                },
                held_bytes: session.budget.held_bytes(),
                beside: None,
            }),
        })
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
