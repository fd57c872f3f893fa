//! Who has to agree with images that containerd gets.

use clap::Args;

use crate::config::VerifierSettings;
use crate::failure::Notice;
use crate::progress::{Event, Sink};
use crate::verifiers::Verifiers;

/// Who has to agree with the images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub struct VerifierArgs {
    /// Do not ask containerd's image verifiers whether the images may be there
    #[arg(long)]
    pub ignore_verifiers: bool,
}

impl VerifierArgs {
    /// The verifiers of the daemon with these `settings`; a warning where there are some that are not
    /// asked.
    pub(in crate::cli) fn verifiers(
        &self,
        settings: VerifierSettings,
        told: &dyn Sink,
    ) -> Option<Verifiers> {
        let verifiers = Verifiers::of(settings);
        if !self.ignore_verifiers {
            return Some(verifiers);
        }
        if !verifiers.are_none() {
            let directory = verifiers.directory().display();
            let message = format!("the image verifiers in {directory} are not asked");
            told.event(Event::Warning(Notice::new("verifiers-ignored", message)));
        }
        None
    }
}
