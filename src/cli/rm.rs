//! `pullctl rm`: removes images from containerd under all the names that a pull gave them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::values::duration;
use super::{Error, Session, sandbox};
use crate::config::Locations;
use crate::containerd::Client;
use crate::failure::printable;
use crate::images::{self, Doomed, Freed, Stock, StoredImage, Unused, Users};
use crate::output::units;

const RM_EXAMPLES: &str = "\
Examples:
  What would go, and how much room it takes, if all went that no container uses:
    pullctl rm --unused --dry-run

  Those of them that have been here for more than a week:
    pullctl rm --unused --older-than 7d";

/// What may take a busy daemon long.
const LIST: &str = "containerd's list of images";

/// `pullctl rm`.
#[derive(Debug, Args)]
#[command(after_long_help = RM_EXAMPLES)]
pub struct RmArgs {
    /// Images by name, by name@sha256:… or by ID, of which the first 6 digits do
    #[arg(value_name = "REF", required_unless_present_any = ["leftovers", "unused"])]
    pub references: Vec<String>,

    /// End what pulls that ended early hold for the next try, and free its room
    #[arg(long, conflicts_with_all = ["references", "unused"])]
    pub leftovers: bool,

    /// Every image that no container is made of, that is not pinned, and that is not the one of pods'
    /// sandboxes
    #[arg(long, conflicts_with = "references")]
    pub unused: bool,

    /// Of the unused images, those that were stored longer ago than this: 12h, 7d
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "unused")]
    pub older_than: Option<Duration>,

    /// Print what would go and how much that would free, and remove nothing
    #[arg(long, conflicts_with = "leftovers")]
    pub dry_run: bool,

    /// Remove pinned images too
    #[arg(long, conflicts_with_all = ["leftovers", "unused"])]
    pub force: bool,

    /// containerd's configuration, which names the image of pods' sandboxes [default:
    /// /etc/containerd/config.toml, else that of k3s, RKE2, MicroK8s or k0s]
    #[arg(long, value_name = "FILE", requires = "unused")]
    pub containerd_config: Option<PathBuf>,
}

/// Removes the images and prints the names that went.
///
/// # Errors
/// When something that was asked for is not there, after everything else was removed.
pub(super) async fn run(args: &RmArgs, session: &Session<'_>) -> Result<(), Error> {
    let client = session.connect().await?;
    if args.leftovers {
        let leftovers = images::leftovers(&client).await?;
        session.patiently("containerd to free the room", images::end(&client, &leftovers)).await?;
        for leftover in &leftovers {
            session.printer.out(&leftover.images.join(", "))?;
        }
        return Ok(());
    }
    let images = session.patiently(LIST, images::load(&client)).await?;
    let stock = session.patiently(LIST, Stock::read(&client)).await?;
    let doomed = match args.unused {
        true => unused(args, &images, &stock, &client).await?,
        false => Doomed::by(&images, &args.references)?,
    };
    if !args.force {
        doomed.spare_pinned(&images)?;
    }
    let names: Vec<_> = images.iter().flat_map(|image| image.names.clone()).collect();
    let freed = stock.freed(&client, &names, doomed.names()).await?;
    if args.dry_run {
        for name in doomed.names() {
            session.printer.out(&printable(name))?;
        }
        tell(freed, "would be freed", session);
        return Ok(doomed.check_missing(&client)?);
    }
    // What has lost its names could not be freed any more, once the disk can be written again.
    client.introspection().check_writable("free what is removed").await?;
    let removed =
        doomed.remove(&client, |name| Ok::<_, Error>(session.printer.out(&printable(name))?)).await;
    // What is not there frees nothing, and keeps nothing from being freed.
    if matches!(removed, Ok(()) | Err(Error::Images(images::Error::NotFound { .. }))) {
        tell(freed, "freed", session);
    }
    removed
}

/// The images that nobody uses.
async fn unused(
    args: &RmArgs,
    images: &[StoredImage],
    stock: &Stock,
    client: &Client,
) -> Result<Doomed, Error> {
    let locations =
        Locations { containerd_config: args.containerd_config.clone(), ..Locations::default() };
    let configured = || {
        let node = sandbox::node(client, locations)?;
        Ok(node.containerd.and_then(|config| config.sandbox_image))
    };
    let sandbox = sandbox::image(client, configured).await?;
    let unused = Unused {
        stored_before: args
            .older_than
            .map(|age| Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN)),
        needed: sandbox.iter().map(ToString::to_string).collect(),
    };
    let users = Users::of(client, stock).await?;
    Ok(Doomed::all_of(unused.of(images, &users)))
}

/// `freed 12.30 MiB: 7 blobs, 3 layers`.
fn tell(freed: Freed, how: &str, session: &Session<'_>) {
    let Freed { blobs, snapshots, .. } = freed;
    let plural = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let (blobs, layers) = (plural(blobs, "blob"), plural(snapshots, "unpacked layer"));
    let bytes = units::bytes(freed.total_bytes());
    session.printer.err(&format!("{bytes} {how}: {blobs}, {layers}"));
}
