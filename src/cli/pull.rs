//! `pullctl pull`: images from registries into containerd, or into an OCI image layout.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use secrecy::SecretString;

use super::groups::{DownloadArgs, ImageArgs, OutputArgs, PlaceArgs, RegistryArgs, TransportArgs};
use super::values::Destination as To;
use super::{Error, Session, prompt, references};
use crate::config::{self, NodeConfig, RegistryHost};
use crate::containerd::{self, Client};
use crate::failure::{Failure, Notice};
use crate::layout::Layout;
use crate::output::{Options, Progress};
use crate::platform::Platform;
use crate::progress::{Event, Sink};
use crate::reference::Reference;
use crate::transfer::{
    self, ContainerdSink, LayoutSink, PullRequest, Sink as Destination, UnpackOptions,
};

const PULL_EXAMPLES: &str = "\
Examples:
  One image, where the kubelet looks:
    pullctl pull docker.io/library/nginx:1.27

  All that kubeadm needs, kept from the kubelet's image garbage collection:
    kubeadm config images list | pullctl pull --pin -f -

  From a registry that wants a login, asking for the password:
    pullctl pull -u robot harbor.example.net/team/app:v1

  For another machine, without containerd:
    pullctl pull --platform linux/arm64 --to oci:./app harbor.example.net/team/app:v1

  For a script:
    digest=$(pullctl pull -q busybox)
    pullctl pull --progress json busybox 2>events.jsonl

An interrupted pull goes on where it stopped when it is repeated.";

/// How an interrupted pull goes on.
const GOES_ON: &str = "run the same command again: the pull goes on where it stopped";

/// `pullctl pull`.
#[derive(Debug, Args)]
#[command(after_long_help = PULL_EXAMPLES)]
pub struct PullArgs {
    /// Images, as docker and containerd write them: busybox, host:5000/a/b:tag, name@sha256:…
    #[arg(value_name = "REF", required_unless_present = "file")]
    pub references: Vec<String>,

    /// File with one reference a line, - for standard input; blank lines and lines that begin with
    /// # are skipped. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// What to pull and how.
    #[command(flatten)]
    pub image: ImageArgs,
    /// Where it goes.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How registries are reached.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Read the password for -u from standard input
    #[arg(long, requires = "user", help_heading = "Registry")]
    pub password_stdin: bool,
    /// How requests travel.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// How blobs are fetched.
    #[command(flatten)]
    pub download: DownloadArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Pulls all images named by `args`.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed; everything else ends the run before the first image.
pub(super) async fn run(args: &PullArgs, session: &Session<'_>) -> Result<(), Error> {
    let piped = piped_password(args)?;
    let references = references::read(&args.references, &args.file)?;
    // What was read so far can't be given up: there signals end the process.
    let mut signals = session.catch_signals(Some(GOES_ON));
    let place = signals.or(Place::of(args, session)).await?;
    let node = args.registry.node(place.daemon())?;
    let (requests, mut warnings) = requests(args, references, &node)?;
    warnings.extend(visible_password(args));
    let configured = node.containerd.as_ref().and_then(|config| config.snapshotter.clone());
    let named = requests.iter().map(|request| &request.reference);
    let keychain = signals.or(args.registry.keychain(named, node, piped)).await??;

    let OutputArgs { progress, quiet } = args.output;
    let progress = session.progress(Options { progress, quiet, ..Options::default() });
    for warning in warnings {
        progress.event(Event::Warning(warning));
    }
    let work = async {
        let destination: Arc<dyn Destination> = match place {
            Place::Layout(directory) => Arc::new(LayoutSink::new(Layout::create(directory)?)),
            Place::Daemon(client) => Arc::new(
                containerd(args, client?, &requests, configured, &progress, session).await?,
            ),
        };
        let policy = args.download.policy(&args.transport);
        let registry = session.registry(policy, keychain, &progress)?;
        let sink = Arc::clone(&progress) as Arc<dyn Sink>;
        let images: Vec<_> = requests.iter().map(|request| request.from(&registry)).collect();
        let concurrency = args.download.concurrency;
        Ok::<_, transfer::Error>(transfer::run(&images, destination, concurrency, sink).await)
    };
    let outcome = signals.or(work).await;
    let written = progress.finish();
    match batch_failure(&outcome??, requests.len()) {
        Some(failure) => Err(Error::AlreadyTold(failure)),
        None => Ok(written?),
    }
}

/// The password that `--password-stdin` stands for.
///
/// # Errors
/// When standard input can't be read, is a list of images, or there is a password already.
fn piped_password(args: &PullArgs) -> Result<Option<SecretString>, Error> {
    if !args.password_stdin {
        return Ok(None);
    }
    if args.file.iter().any(|path| references::is_standard_input(path)) {
        return Err(Error::InputTwice);
    }
    if has_typed_password(args) {
        return Err(Error::PasswordTwice);
    }
    prompt::piped_password().map(Some)
}

fn has_typed_password(args: &PullArgs) -> bool {
    args.registry.user.as_ref().is_some_and(|login| login.password.is_some())
}

/// A warning when the password was typed.
fn visible_password(args: &PullArgs) -> Option<Notice> {
    let message = "other users of this machine can see a password in -u";
    let notice = Notice::new("visible-password", message);
    has_typed_password(args).then(|| notice.with_hint("use -u USER --password-stdin"))
}

/// One request a reference, and what in the configuration of their hosts looks wrong.
///
/// # Errors
/// A file that cannot be obeyed: no image is pulled from elsewhere than its owner wants.
fn requests(
    args: &PullArgs,
    references: Vec<Reference>,
    node: &NodeConfig,
) -> Result<(Vec<PullRequest>, Vec<Notice>), config::Error> {
    let options = args.registry.host_options();
    let mut warnings = node.warnings();
    let mut requests = Vec::new();
    for reference in references {
        let found = node.hosts(&reference, &options)?;
        warnings.extend(found.warnings);
        requests.push(request(args, reference, found.hosts));
    }
    // Images of one registry have its warnings in common.
    let mut seen = HashSet::new();
    warnings.retain(|warning| seen.insert(warning.to_string()));
    Ok((requests, warnings))
}

fn request(args: &PullArgs, reference: Reference, hosts: Vec<RegistryHost>) -> PullRequest {
    let labels = args.place.labels.iter();
    PullRequest {
        hosts,
        reference,
        platforms: args.image.choice(Platform::host()),
        pin: args.place.pin,
        labels: labels.map(|label| (label.key.clone(), label.value.clone())).collect(),
    }
}

/// Where the images go.
enum Place<'a> {
    Layout(&'a Path),
    /// That none answers is told after what is wrong on this side.
    Daemon(Result<Client, containerd::Error>),
}

impl<'a> Place<'a> {
    async fn of(args: &'a PullArgs, session: &Session<'_>) -> Self {
        match &args.place.to {
            Some(To::Layout(directory)) => Self::Layout(directory),
            None => Self::Daemon(session.connect().await),
        }
    }

    /// The daemon, by whose version depends how its configuration is read.
    fn daemon(&self) -> Option<&Client> {
        match self {
            Self::Layout(_) => None,
            Self::Daemon(client) => client.as_ref().ok(),
        }
    }
}

/// The daemon as the place where the images go; its configuration names the snapshotter `configured`.
async fn containerd(
    args: &PullArgs,
    client: Client,
    requests: &[PullRequest],
    configured: Option<String>,
    progress: &Arc<Progress>,
    session: &Session<'_>,
) -> Result<ContainerdSink, transfer::Error> {
    if let Some(notice) = client.cri().pin_notice().filter(|_| args.place.pin) {
        progress.event(Event::Warning(notice));
    }
    let unpack = match args.place.no_unpack {
        true => None,
        false => Some(UnpackOptions {
            snapshotter: session.snapshotter(&client, configured).await?,
            way: args.place.unpacker.into(),
            max_bytes: args.place.max_unpacked.map(|limit| limit.0),
        }),
    };
    let images = requests.iter().map(|request| request.reference.to_string());
    let sink = Arc::clone(progress) as Arc<dyn Sink>;
    Ok(ContainerdSink::new(client, unpack, images, sink))
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
