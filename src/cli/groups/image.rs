//! Which of an image's platforms are meant.

use clap::Args;

use crate::cli::values::platform;
use crate::platform::{Matcher, Platform};
use crate::transfer::PlatformChoice;

/// Which of an image's platforms are meant.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub struct ImageArgs {
    /// Platform, os/architecture[/variant], and no other. Can be repeated [default: what this
    /// machine runs best]
    #[arg(long, value_name = "PLATFORM", value_parser = platform, conflicts_with = "all_platforms")]
    pub platform: Vec<Platform>,

    /// All platforms that the image has
    #[arg(long)]
    pub all_platforms: bool,
}

impl ImageArgs {
    /// What is taken of an index on a machine that is `host`.
    pub(in crate::cli) fn choice(&self, host: Platform) -> PlatformChoice {
        if self.all_platforms {
            PlatformChoice::All { host }
        } else if self.platform.is_empty() {
            PlatformChoice::Host(host)
        } else {
            Self::strictly(self.platform.clone(), &host)
        }
    }

    /// These platforms, the one first that runs best on `host`.
    pub(in crate::cli) fn strictly(mut wanted: Vec<Platform>, host: &Platform) -> PlatformChoice {
        let matcher = Matcher::default_for(host);
        wanted.sort_by_key(|platform| matcher.rank(platform).unwrap_or(usize::MAX));
        PlatformChoice::Strict(wanted)
    }
}
