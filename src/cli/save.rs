//! `pullctl save`: images from containerd into one file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::groups::{ImageArgs, OutputArgs};
use super::{Error, Session, references};
use crate::archive::Target;
use crate::failure::Failure;
use crate::output::Options;
use crate::platform::Platform;
use crate::progress::{Sink, Verb};
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
    let OutputArgs { progress, quiet } = args.shown;
    let is_stdout_taken = target == Target::StandardOutput;
    let progress = session.progress(Options {
        progress,
        quiet,
        verb: Verb::Save,
        is_stdout_taken,
        ..Options::default()
    });
    let work = async {
        let client = session.connect().await?;
        let sink = Arc::clone(&progress) as Arc<dyn Sink>;
        let requests: Vec<Request> = references
            .iter()
            .map(|reference| {
                let name = reference.to_string();
                let source = ContainerdSource::new(client.clone(), name, Arc::clone(&sink));
                Request {
                    source: Arc::new(source),
                    names: Arc::new(Names::new(reference.clone())),
                    platforms: args.image.choice(Platform::host()),
                }
            })
            .collect();
        let archive = Arc::new(ArchiveSink::new(target));
        Ok::<_, transfer::Error>(transfer::run(&requests, archive, CONCURRENCY, sink).await)
    };
    let outcome = signals.or(work).await;
    let written = progress.finish();
    match failure(&outcome??) {
        Some(failure) => Err(Error::AlreadyTold(failure)),
        None => Ok(written?),
    }
}

/// No image is saved when one fails: the exit code says why, unless there are several reasons.
fn failure(failures: &[Failure]) -> Option<Failure> {
    let first = *failures.first()?;
    Some(if failures.iter().all(|failure| *failure == first) { first } else { Failure::Batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_reason_when_there_is_one() {
        use Failure::{Batch, NotFound, Verification};
        for (failures, expected) in [
            (&[][..], None),
            (&[NotFound], Some(NotFound)),
            (&[NotFound, NotFound], Some(NotFound)),
            (&[NotFound, Verification], Some(Batch)),
        ] {
            assert_eq!(failure(failures), expected);
        }
    }
}
