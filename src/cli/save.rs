//! `pullctl save`: images from containerd into one file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::groups::{ImageArgs, OutputArgs};
use super::recipe::{self, Work};
use super::{Error, Session, references};
use crate::archive::Target;
use crate::output::Options;
use crate::platform::Platform;
use crate::progress::{Sink, Verb};
use crate::reference::Reference;
use crate::transfer::{self, ArchiveSink, ContainerdSource, Names, Request};

const SAVE_EXAMPLES: &str = "\
Examples:
  Three images on a stick, to be loaded on a node without network:
    pullctl save -o /media/stick/images.tar nginx:1.27 redis:7 registry.k8s.io/pause:3.10

  Straight to another node, by hand or by cron:
    pullctl save -o - registry.k8s.io/pause:3.10 | ssh NODE pullctl load

  Out of docker's own namespace:
    pullctl -n moby save -o app.tar team/app:v1

The file appears under its name when all images are in it, and not at all otherwise.";

/// Blobs on their way at one time: an archive takes one after the other.
const CONCURRENCY: usize = 1;

/// `pullctl save`.
#[derive(Debug, Args)]
#[command(after_long_help = SAVE_EXAMPLES)]
pub struct SaveArgs {
    /// Images in containerd, as docker and containerd write them: busybox, host:5000/a/b:tag
    #[arg(value_name = "REF", required_unless_present = "file")]
    pub references: Vec<String>,

    /// File to write, - for standard output
    #[arg(short, long = "output", value_name = "FILE")]
    pub output: PathBuf,

    /// File with one reference a line, - for standard input; blank lines and lines that begin with
    /// # are skipped. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// What to save.
    #[command(flatten)]
    pub image: ImageArgs,
    /// What is shown.
    #[command(flatten)]
    pub shown: OutputArgs,
}

/// Saves all images named by `args`.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed, after which there is no archive.
pub(super) async fn run(args: &SaveArgs, session: &Session<'_>) -> Result<(), Error> {
    let references = references::read(&args.references, &args.file)?;
    let target = Target::of(&args.output).map_err(transfer::Error::from)?;
    let mut signals = session.catch_signals(None);
    let is_stdout_taken = target == Target::StandardOutput;
    let verb = Verb::Save;
    let progress = session.progress(Options { verb, is_stdout_taken, ..args.shown.options() });
    let work = async {
        let client = session.connect().await?;
        let source = |reference: &Reference| {
            let told = Arc::clone(&progress) as Arc<dyn Sink>;
            ContainerdSource::new(client.clone(), reference.to_string(), told)
        };
        let request = |reference: &Reference| Request {
            source: Arc::new(source(reference)),
            names: Arc::new(Names::new(reference.clone())),
            platforms: args.image.choice(Platform::host()),
        };
        let images = references.iter().map(request).collect();
        let sink = Arc::new(ArchiveSink::new(target));
        Ok(Work { images, sink, concurrency: CONCURRENCY, is_whole: true })
    };
    recipe::carry_out(work, &progress, &mut signals).await
}
