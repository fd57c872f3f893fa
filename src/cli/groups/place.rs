//! Where images go and what they become there.

use clap::{Args, ValueEnum};

use crate::cli::values::{ByteCount, Destination, Label};
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
