//! `pullctl pin` and `pullctl unpin`: keeping the kubelet's image garbage collection away from images
//! that are there.

use clap::Args;

use super::{Error, Session};
use crate::failure::printable;
use crate::images;

/// `pullctl pin` and `pullctl unpin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Images by name, by name@sha256:… or by ID, of which the first 6 digits do
    #[arg(value_name = "REF", required = true)]
    pub references: Vec<String>,
}

/// What is done with the pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// They are set.
    Pin,
    /// They are taken away.
    Unpin,
}

/// Changes the images' pins and prints the names that had other ones.
///
/// # Errors
/// When one of the images is not there, before anything is changed; when the daemon refuses.
pub(super) async fn run(
    args: &PinArgs,
    change: Change,
    session: &Session<'_>,
) -> Result<(), Error> {
    let client = session.connect().await?;
    let images = session.patiently("containerd's list of images", images::load(&client)).await?;
    let mut found = Vec::new();
    for text in &args.references {
        match images::lookup(&images, text)? {
            Some(image) => found.push(image),
            None => return Err(images::not_found(&client, text).await?.into()),
        }
    }
    let notice = client.cri().pin_notice().filter(|_| change == Change::Pin);
    if let Some(notice) = notice {
        session.printer.warning(&notice);
    }
    for image in found {
        let changed = match change {
            Change::Pin => images::pin(&client, image).await?,
            Change::Unpin => images::unpin(&client, image).await?,
        };
        for name in changed {
            session.printer.out(&printable(&name))?;
        }
    }
    Ok(())
}
