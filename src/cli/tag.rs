//! `pullctl tag`: further names for images that are there.

use clap::Args;

use super::{Error, Session};
use crate::failure::printable;
use crate::images;
use crate::reference::Reference;

const TAG_EXAMPLES: &str = "\
Examples:
  The pause image that kubeadm wants, from another registry:
    pullctl tag mirror.example/pause:3.6 registry.k8s.io/pause:3.6

  A name that the kubelet finds, for an image that ctr imported as app:v1:
    pullctl tag app:v1 docker.io/library/app:v1

No registry is asked.";

/// `pullctl tag`.
#[derive(Debug, Args)]
#[command(after_long_help = TAG_EXAMPLES)]
pub struct TagArgs {
    /// Image by name, by name@sha256:… or by ID, of which the first 6 digits do
    #[arg(value_name = "SRC")]
    pub source: String,

    /// Names to give it, as for pull; one that stands for another image is moved
    #[arg(value_name = "DST", required = true)]
    pub destinations: Vec<String>,
}

/// Gives the image its further names and prints them.
///
/// # Errors
/// When there is no such image, or the daemon refuses.
pub(super) async fn run(args: &TagArgs, session: &Session<'_>) -> Result<(), Error> {
    let parse = |text: &String| text.parse::<Reference>();
    let references = args.destinations.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let client = session.connect().await?;
    let images = session.patiently("containerd's list of images", images::load(&client)).await?;
    let Some(found) = images::lookup(&images, &args.source)? else {
        return Err(images::not_found(&client, &args.source).await?.into());
    };
    for name in images::tag(&client, found, &references).await? {
        session.printer.out(&printable(&name))?;
    }
    Ok(())
}
