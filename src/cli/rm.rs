//! `pullctl rm`: removes images from containerd under all the names that a pull gave them.

use clap::Args;

use super::{Error, Session};
use crate::failure::printable;
use crate::images::{self, Doomed};

/// `pullctl rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Images by name, by name@sha256:… or by ID
    #[arg(value_name = "REF", required = true)]
    pub references: Vec<String>,
}

/// Removes the images and prints the names that went.
///
/// # Errors
/// When something that was asked for is not there, after everything else was removed.
pub(super) async fn run(args: &RmArgs, session: &Session<'_>) -> Result<(), Error> {
    let client = session.connect().await?;
    let images = images::load(&client).await?;
    let doomed = Doomed::by(&images, &args.references)?;
    doomed.remove(&client, |name| Ok::<_, Error>(session.printer.out(&printable(name))?)).await
}
