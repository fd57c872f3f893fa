//! `pullctl pull`: images from registries into containerd, or into an OCI image layout.

use std::sync::Arc;

use clap::Args;

use super::budget::Budget;
use super::groups::{
    AccessArgs, Configured, CourseArgs, DownloadArgs, ImageArgs, ListArgs, MemoryArgs, OutputArgs,
    PlaceArgs, PreviewForm, RoundsArgs, look_for_kubelet,
};
use super::outlook::Outlook;
use super::pod_logins::Registries;
use super::recipe::{self, Work};
use super::session::Signals;
use super::wanted::{Batch, Wanted};
use super::warned::Warned;
use super::{Error, LockError, SeedingError, Session, background, rounds, sandbox};
use crate::config::RegistryHost;
use crate::failure::Failure;
use crate::lists;
use crate::output::{Form, Progress, document};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::transfer::{Manner, RegistrySource, Request};

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

  Several images on a stick, straight from their registries:
    pullctl pull --to oci-archive:/media/stick/images.tar -f images.txt

  What pods' sandboxes are made of, through the node's mirrors, before the first pod starts:
    pullctl pull --sandbox

  For a script:
    digest=$(pullctl pull -q busybox)
    pullctl pull --progress json busybox 2>events.jsonl

An interrupted pull goes on where it stopped when it is repeated.";

/// How an interrupted pull goes on.
const GOES_ON: &str = "run the same command again: the pull goes on where it stopped";

/// `pullctl pull`.
#[derive(Debug, Args)]
#[command(after_long_help = PULL_EXAMPLES)]
#[command(mut_arg("references", |references| references.required_unless_present("sandbox")))]
pub struct PullArgs {
    /// Which images.
    #[command(flatten)]
    pub lists: ListArgs,

    /// Pull the digests of a lock, under its tags' names; without it a tag that has moved is an error
    #[arg(long, requires = "file")]
    pub locked: bool,

    /// The image of pods' sandboxes (the pause image) as this node's CRI is configured with it, and pin it
    #[arg(long, conflicts_with = "to")]
    pub sandbox: bool,

    /// What to pull and how.
    #[command(flatten)]
    pub image: ImageArgs,
    /// Where it goes.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
    /// How they are gone about.
    #[command(flatten)]
    pub course: CourseArgs,
    /// How blobs are fetched.
    #[command(flatten)]
    pub download: DownloadArgs,
    /// How often, and who is told.
    #[command(flatten)]
    pub rounds: RoundsArgs,
    /// Take the lowest priority for processor and disk, one thread for the network, and two blobs at a
    /// time, and keep nothing that is written in the page cache: on a node that is at work
    #[arg(long, help_heading = "Download")]
    pub background: bool,
    /// How much memory it takes.
    #[command(flatten)]
    pub memory: MemoryArgs,

    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Pulls all images named by `args`, as often as they say.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed; everything else ends the run before the first image.
pub(super) async fn run(args: &PullArgs, session: &Session<'_>) -> Result<(), Error> {
    if args.rounds.interval.is_some() && args.reads_standard_input() {
        return Err(SeedingError::InputInRounds.into());
    }
    rounds::run(&args.rounds, session, async |session| once(args, session).await).await
}

impl PullArgs {
    /// Whether anything is read that can't be read a second time.
    fn reads_standard_input(&self) -> bool {
        let lists = self.lists.file.iter().any(|path| lists::is_standard_input(path));
        lists || self.access.password_stdin
    }
}

/// Pulls them once.
async fn once(args: &PullArgs, session: &Session<'_>) -> Result<(), Error> {
    let piped = args.access.piped_password(&args.lists.file)?;
    let mut batch = match args.sandbox && args.lists.is_empty() {
        true => Batch::default(),
        false => args.lists.read()?,
    };
    args.place.check(batch.images.len())?;
    args.place.check_course(&args.course)?;
    if let Some(loose) = batch.images.iter().find(|it| args.locked && it.locked.is_none()) {
        return Err(LockError::NotLocked(loose.name.to_string()).into());
    }
    // What was read so far can't be given up: there signals end the process.
    let mut signals = session.catch_signals(Some(GOES_ON));
    let kubelet = look_for_kubelet();
    let mut place = signals.or(args.place.find(session)).await?;
    let daemon = place.daemon().cloned();
    let node = args.access.registry.node_around(kubelet, daemon.as_ref());
    let node = signals.or(place.asked_beside(node, session)).await??;
    if args.sandbox {
        batch.add_pinned(signals.or(sandbox::needed(&node, session)).await??);
    }
    let pins = batch.images.iter().any(|wanted| wanted.pin) && !args.place.store.pin;
    let pin_notice = place.daemon().filter(|_| pins).and_then(|daemon| daemon.cri().pin_notice());
    let sources = || batch.images.iter().map(|wanted| &wanted.source);
    let (located, notices) = args.access.registry.locate(sources().cloned().collect(), &node)?;
    let to = args.place.in_registry().cloned().into_iter().collect();
    let hosts = args.access.registry.locate(to, &node)?.0.pop().map(|to| to.hosts);
    let configured = Configured::of(&node);
    let keychain = signals.or(args.access.registry.keychain(sources(), node, piped)).await??;

    let progress = session.progress(args.output.options());
    let to = args.place.to.as_ref().filter(|_| !args.place.is_containerd());
    let lost_pins = to.and_then(|place| batch.lost_pins(place));
    let said = batch.notices.iter().cloned().chain(notices);
    progress.warn(said.chain(pin_notice).chain(lost_pins));
    let work = Box::pin(async {
        let policy = args.download.policy(&args.access.transport);
        let registry = session.registry(policy, keychain, &progress)?;
        let registries = Registries::new(registry.clone(), &batch)?;
        let images = batch.images.iter().zip(located).map(|(wanted, located)| {
            request(args, wanted, source(args, wanted, located.hosts, &registries)?)
        });
        let images = images.collect::<Result<Vec<_>, Error>>()?;
        let names = images.iter().map(|image| image.names.reference.to_string());
        let registry = (&registry, hosts.unwrap_or_default());
        let sink = place.sink(names, configured, registry, &progress, session).await?;
        let is_whole = sink.is_sequential();
        Ok(Work { images, sink, manner: session.budget.manner(args.manner()), is_whole })
    });
    match args.course.dry_run {
        true => dry_run(args, work, &progress, &mut signals, session).await,
        false => recipe::carry_out(work, &progress, &mut signals).await,
    }
}

/// Says what the work that `prepared` comes to would do.
async fn dry_run(
    args: &PullArgs,
    prepared: impl Future<Output = Result<Work, Error>>,
    progress: &Arc<Progress>,
    signals: &mut Signals,
    session: &Session<'_>,
) -> Result<(), Error> {
    let (preview, count) = recipe::preview(prepared, progress, signals).await?;
    let form = match args.course.form {
        PreviewForm::Table => Form::Text,
        PreviewForm::Json => Form::Json,
    };
    session.printer.out(&document(&Warned::of(Outlook::of(&preview), progress), form))?;
    let failures: Vec<_> =
        preview.images.iter().filter_map(|image| image.found.as_ref().err()).copied().collect();
    match (preview.no_room, failures.is_empty()) {
        // All images are wanted, and together they do not fit.
        (Some(error), true) => Err(error.into()),
        (Some(error), false) => {
            session.printer.error(&error);
            Err(Error::AlreadyTold(Failure::Batch))
        }
        (None, _) => match recipe::batch_failure(&failures, count, false) {
            Some(failure) => Err(Error::AlreadyTold(failure)),
            None => Ok(()),
        },
    }
}

impl PullArgs {
    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.memory.bytes(), self.blobs_at_once())
    }

    fn manner(&self) -> Manner {
        let check_room = self.place.is_containerd() && !self.place.store.no_space_check;
        self.course.manner(self.blobs_at_once(), check_room)
    }

    fn blobs_at_once(&self) -> usize {
        background::blobs_at_once(self.background, self.download.concurrency)
    }
}

/// Where the image comes from: what its lock says, where it has one.
fn source(
    args: &PullArgs,
    wanted: &Wanted,
    hosts: Vec<RegistryHost>,
    registries: &Registries,
) -> Result<RegistrySource, Error> {
    let registry = registries.of(wanted);
    Ok(match wanted.locked {
        Some(digest) if args.locked => {
            let exact: Reference = format!("{}@{digest}", wanted.source.name()).parse()?;
            RegistrySource::new(registry, hosts, &exact)
        }
        Some(digest) => RegistrySource::new(registry, hosts, &wanted.source).expecting(digest),
        None => RegistrySource::new(registry, hosts, &wanted.source),
    })
}

/// The transfer that brings the image from `source`, under the name that is wanted.
fn request(args: &PullArgs, wanted: &Wanted, source: RegistrySource) -> Result<Request, Error> {
    let mut names = args.place.names(&wanted.name)?;
    names.pin |= wanted.pin;
    Ok(Request {
        source: Arc::new(source),
        names: Arc::new(names),
        platforms: wanted.choice(&args.image, Platform::host()),
    })
}
