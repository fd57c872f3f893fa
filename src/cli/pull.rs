//! `pullctl pull`: wires a registry, a destination and a progress display together.

use std::pin::pin;
use std::sync::Arc;

use super::args::{GlobalArgs, PullArgs};
use super::values::Destination as To;
use super::{Error, fail, settings};
use crate::config::{NodeConfig, Warning};
use crate::containerd::{self, Client};
use crate::failure::{Diagnose, Failure, Notice};
use crate::layout::Layout;
use crate::output::{self, Options, Printer, Progress, ProgressMode};
use crate::progress::{Event, Sink};
use crate::registry::Registry;
use crate::transfer::{
    self, ContainerdSink, LayoutSink, PullRequest, Request, Sink as Destination, UnpackOptions,
};

/// Pulls all images named by `args`; returns the kind of failure, if any. `interrupted` ends it.
pub(super) async fn run(
    global: &GlobalArgs,
    args: &PullArgs,
    printer: &Printer,
    interrupted: impl Future<Output = ()>,
) -> Option<Failure> {
    let Work { requests, node, warnings, snapshotter } = match work(args) {
        Ok(work) => work,
        Err(error) => return fail(printer, &*error),
    };
    let mut interrupted = pin!(interrupted);
    let keychain = tokio::select! {
        // Signals are caught from here on, before anybody is asked. What was read so far can't be
        // given up: there they end the process.
        biased;
        () = &mut interrupted => return fail(printer, &Error::Interrupted),
        keychain = settings::keychain(args.registry.user.as_ref(), &requests, node) => keychain,
    };
    let keychain = match keychain {
        Ok(keychain) => keychain,
        Err(error) => return fail(printer, &error),
    };
    let options = Options {
        progress: args.output.progress,
        quiet: args.output.quiet,
        verbosity: global.verbose,
    };
    let progress = Progress::start(printer, &options);
    for warning in &warnings {
        progress.event(warning_event(warning));
    }
    let work = async {
        let sink = Arc::clone(&progress) as Arc<dyn Sink>;
        let destination = destination(global, args, &requests, snapshotter, &sink).await?;
        let registry = Registry::new(settings::policy(args), keychain, Arc::clone(&sink))
            .map_err(transfer::Error::from)?;
        let images: Vec<_> = requests.iter().map(|request| request.from(&registry)).collect();
        let show = |request: &Request, error: &transfer::Error| {
            tell(request, error, &progress, printer, args.output.progress);
        };
        let concurrency = args.download.concurrency;
        Ok::<_, transfer::Error>(
            transfer::run(&images, destination, concurrency, sink, &show).await,
        )
    };
    let outcome = tokio::select! {
        outcome = work => Some(outcome),
        () = interrupted => None,
    };
    let written = progress.finish();
    match outcome {
        None => fail(printer, &Error::Interrupted),
        Some(Err(error)) => fail(printer, &error),
        Some(Ok(failures)) => match (batch_failure(&failures, requests.len()), written) {
            (None, Err(error)) => fail(printer, &error),
            (failure, _) => failure,
        },
    }
}

/// What the arguments and the node's files come to.
struct Work {
    requests: Vec<PullRequest>,
    node: NodeConfig,
    warnings: Vec<Warning>,
    /// The snapshotter that containerd's configuration names.
    snapshotter: Option<String>,
}

fn work(args: &PullArgs) -> Result<Work, Box<dyn Diagnose>> {
    let references = settings::references(args)?;
    let node = settings::node(&args.registry).map_err(boxed)?;
    let (requests, warnings) = settings::requests(args, references, &node).map_err(boxed)?;
    let snapshotter = node.containerd.as_ref().and_then(|config| config.snapshotter.clone());
    Ok(Work { requests, node, warnings, snapshotter })
}

fn boxed(error: impl Diagnose + 'static) -> Box<dyn Diagnose> {
    Box::new(error)
}

fn warning_event(warning: &Warning) -> Event {
    Event::Warning(Notice {
        code: warning.kind.code(),
        message: warning.to_string(),
        hint: warning.hint.clone(),
    })
}

/// Where the images go.
async fn destination(
    global: &GlobalArgs,
    args: &PullArgs,
    requests: &[PullRequest],
    configured: Option<String>,
    sink: &Arc<dyn Sink>,
) -> Result<Arc<dyn Destination>, transfer::Error> {
    if let Some(To::Layout(directory)) = &args.destination.to {
        return Ok(Arc::new(LayoutSink::new(Layout::create(directory)?)));
    }
    let client = super::connect(global).await?;
    let unpack = match args.destination.no_unpack {
        true => None,
        false => Some(UnpackOptions {
            snapshotter: snapshotter(global, &client, configured).await?,
            way: args.destination.unpacker.into(),
        }),
    };
    let images = requests.iter().map(|request| request.reference.to_string());
    Ok(Arc::new(ContainerdSink::new(client, unpack, images, Arc::clone(sink))))
}

async fn snapshotter(
    global: &GlobalArgs,
    client: &Client,
    configured: Option<String>,
) -> Result<String, containerd::Error> {
    let daemons = match global.snapshotter() {
        // The daemon need not be asked.
        Some(_) => None,
        None => client.cri().status().await?.and_then(|status| status.snapshotter),
    };
    Ok(settings::snapshotter(global, daemons, configured))
}

/// Shows that an image failed, as soon as it did.
fn tell(
    request: &Request,
    error: &transfer::Error,
    progress: &Progress,
    printer: &Printer,
    mode: ProgressMode,
) {
    let image = request.names.reference.to_string();
    progress.event(output::failed(image, error));
    if mode != ProgressMode::Json {
        printer.error(error);
    }
}

/// One failed image of one is its own kind of failure; some of several are a failed batch, unless
/// all failed alike.
fn batch_failure(failures: &[Failure], images: usize) -> Option<Failure> {
    let first = *failures.first()?;
    let alike = failures.len() == images && failures.iter().all(|failure| *failure == first);
    Some(if alike { first } else { Failure::Batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_failed_alike_has_that_failures_exit_code() {
        use Failure::{Batch, NotFound, RateLimited};
        for (failures, images, expected) in [
            (&[][..], 2, None),
            (&[NotFound], 1, Some(NotFound)),
            (&[NotFound], 2, Some(Batch)),
            (&[NotFound, NotFound], 2, Some(NotFound)),
            (&[NotFound, RateLimited], 2, Some(Batch)),
        ] {
            assert_eq!(batch_failure(failures, images), expected);
        }
    }
}
