//! `pullctl rm`: removes images from containerd under all the names that a pull gave them.

use clap::Args;

use super::{Error, Session};
use crate::failure::printable;
use crate::images::{self, Doomed};

/// `pullctl rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Images by name, by name@sha256:… or by ID, of which the first 6 digits do
    #[arg(value_name = "REF", required_unless_present = "leftovers")]
    pub references: Vec<String>,

    /// End what pulls that ended early hold for the next try, and free its room
    #[arg(long, conflicts_with = "references")]
    pub leftovers: bool,
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
    let images = session.patiently("containerd's list of images", images::load(&client)).await?;
    let doomed = Doomed::by(&images, &args.references)?;
    doomed.remove(&client, |name| Ok::<_, Error>(session.printer.out(&printable(name))?)).await
}
