//! `pullctl load`: images from archives and OCI image layouts into containerd.

mod contents;
mod inputs;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::budget::{BLOBS_AT_ONCE, Budget};
use super::groups::{Configured, ImageArgs, OutputArgs, StoreArgs};
use super::recipe::batch_failure;
use super::session::Signals;
use super::values::{ByteCount, reference, repository};
use super::{Error, Session, background, rules, sandbox};
use crate::archive::{ArchiveImage, ImageNames, NamedImage};
use crate::config::Locations;
use crate::containerd::Client;
use crate::failure::{Diagnose as _, Diagnostic, Failure, Notice};
use crate::images::{self, Candidate};
use crate::oci::Descriptor;
use crate::output::{Options, Progress};
use crate::platform::Platform;
use crate::progress::{self, Event, Sink as _, Verb};
use crate::reference::Reference;
use crate::transfer::{
    self, ContainerdSink, Intake, Manner, NodeRules, PlatformChoice, Provenance, Request, Source,
    Staging, UnpackOptions,
};
use crate::verifiers::Verifiers;
pub use contents::ContentsForm;
use inputs::{Inputs, Stream};

const LOAD_EXAMPLES: &str = "\
Examples:
  What ctr, docker, podman, nerdctl, skopeo or pullctl saved:
    pullctl load -i images.tar

  Compressed, from another machine, without a copy on this disk:
    ssh build zstd -dc images.tar.zst | pullctl load

  See what is inside, and give it the name that the kubelet asks for:
    pullctl load --list -i app.tar
    pullctl load -i app.tar --as registry.example.net/team/app:v1 --pin";

/// How an interrupted load goes on.
const GOES_ON: &str = "run the same command again: what is complete is not loaded twice";

/// `pullctl load`.
#[derive(Debug, Args)]
#[command(after_long_help = LOAD_EXAMPLES)]
pub struct LoadArgs {
    /// Archive as docker, podman, ctr, nerdctl, skopeo or pullctl save it, plain or packed by gzip or
    /// zstd; directory of an OCI image layout; - for standard input. Can be repeated [default: -]
    #[arg(short, long, value_name = "FILE")]
    pub input: Vec<PathBuf>,

    /// Name for the image, in place of those that the archive gives it. Can be repeated
    #[arg(long = "as", value_name = "NAME", value_parser = reference)]
    pub names: Vec<Reference>,

    /// Repository of images to which the archive gives a tag only
    #[arg(long, value_name = "REPOSITORY", value_parser = repository)]
    pub base_name: Option<String>,

    /// Print what is inside, and load nothing
    #[arg(long, conflicts_with_all = ["names", "base_name", "platform", "all_platforms"])]
    #[arg(conflicts_with_all = ["pin", "labels", "no_unpack", "unpacker", "max_unpacked"])]
    #[arg(conflicts_with_all = ["ignore_verifiers", "background", "memory", "no_space_check"])]
    #[arg(conflicts_with_all = ["inflate_threads", "quiet", "progress"])]
    pub list: bool,

    /// Form of the list
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t, requires = "list")]
    pub output: ContentsForm,

    /// Which platforms of the images.
    #[command(flatten)]
    pub image: ImageArgs,
    /// What they become.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Take the lowest priority for processor and disk, and two blobs at a time, and keep nothing that is
    /// written in the page cache: on a node that is at work
    #[arg(long)]
    pub background: bool,
    /// Most memory to take, 64MiB or more: how many blobs are worked on at the same time, and how wide the
    /// window of an archive packed by zstd may be, follow from it [default: what 4 blobs need, up to
    /// 144MiB, and 128MiB more for an archive packed by zstd --long]
    #[arg(long, value_name = "SIZE", value_parser = ByteCount::memory)]
    pub memory: Option<ByteCount>,

    /// What is shown.
    #[command(flatten)]
    pub shown: OutputArgs,
}

impl LoadArgs {
    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.memory.map(|memory| memory.0), self.blobs_at_once())
    }

    /// Blobs that are read and unpacked at the same time, of all images together.
    fn blobs_at_once(&self) -> usize {
        background::blobs_at_once(self.background, BLOBS_AT_ONCE)
    }
}

/// Loads all images of the archives that `args` names.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed; everything else ends the run before the first image.
pub(super) async fn run(args: &LoadArgs, session: &Session<'_>) -> Result<(), Error> {
    let inputs = Inputs::open(&args.input, session.budget.archive_window())?;
    if args.list {
        return contents::print(inputs, args.output, session).await;
    }
    if !args.names.is_empty() && inputs.count() > 1 {
        return Err(Error::SeveralArchives);
    }
    let mut signals = session.catch_signals(Some(GOES_ON));
    let options = Options { verb: Verb::Load, ..args.shown.options() };
    let progress = session.progress(options);
    let outcome = load(args, inputs, &progress, &mut signals, session).await;
    let written = progress.finish();
    match outcome? {
        Some(failure) => Err(Error::AlreadyTold(failure)),
        None => Ok(written?),
    }
}

/// Loads what is all there in one run, and then what comes by, one after another.
async fn load(
    args: &LoadArgs,
    inputs: Inputs,
    progress: &Arc<Progress>,
    signals: &mut Signals,
    session: &Session<'_>,
) -> Result<Option<Failure>, Error> {
    let Inputs { stores, streams } = inputs;
    let loader = signals.or(Loader::new(args, progress, session)).await??;
    let mut requests = Vec::new();
    for store in &stores {
        let source = |target, provenance| store.source(target, provenance, loader.told());
        let images = store.images().await?;
        requests.extend(loader.requests(&images, &store.place(), source)?);
    }
    let mut tally = Tally::default();
    if !requests.is_empty() {
        signals.or(loader.run(&requests, &mut tally)).await?;
    }
    for stream in streams {
        loader.take_in(stream, &mut tally, signals).await?;
    }
    Ok(batch_failure(&tally.failures, tally.images, false))
}

/// What became of the images so far.
#[derive(Default)]
struct Tally {
    images: usize,
    failures: Vec<Failure>,
}

/// What all archives of a run have in common.
struct Loader<'a> {
    args: &'a LoadArgs,
    names: ImageNames,
    platforms: PlatformChoice,
    client: Client,
    unpack: Option<UnpackOptions>,
    verifiers: Option<Verifiers>,
    rules: NodeRules,
    progress: Arc<Progress>,
    budget: Budget,
}

impl<'a> Loader<'a> {
    async fn new(
        args: &'a LoadArgs,
        progress: &Arc<Progress>,
        session: &Session<'_>,
    ) -> Result<Self, Error> {
        let client = session.connect().await?;
        let Configured { snapshotter, sandbox, verifiers, .. } = configured(&client);
        let verifiers = args.store.verifiers.verifiers(verifiers, &**progress);
        let snapshotter = session.snapshotter(&client, snapshotter);
        let unpack = args.store.unpacking(&client, snapshotter, progress, session).await?;
        Ok(Self {
            args,
            names: ImageNames { typed: args.names.clone(), base: args.base_name.clone() },
            platforms: args.image.choice(Platform::host()),
            client,
            unpack,
            verifiers,
            rules: rules::of_node(sandbox, &**progress),
            progress: Arc::clone(progress),
            budget: session.budget,
        })
    }

    fn told(&self) -> Arc<dyn progress::Sink> {
        Arc::clone(&self.progress) as Arc<dyn progress::Sink>
    }

    /// One request a name of `images`, which are those of the archive at `place`.
    fn requests(
        &self,
        images: &[ArchiveImage],
        place: &str,
        source: impl Fn(Descriptor, Provenance) -> Arc<dyn Source>,
    ) -> Result<Vec<Request>, transfer::Error> {
        let named = self.names.of(images, place)?;
        let request = |image: NamedImage| {
            let target = self.target(&image)?;
            let provenance = image.origin.as_ref().map(Provenance::of).unwrap_or_default();
            let reference = image.reference.unwrap_or_else(|| {
                self.warn_of_no_name(&target, place);
                Reference::nameless(target.digest)
            });
            let names = Arc::new(self.args.store.names(&reference));
            let source = source(target, provenance);
            Ok(Request { source, names, platforms: self.platforms.clone() })
        };
        named.into_iter().map(request).collect()
    }

    /// What a name stands for: of several targets, the one for the platform that is wanted.
    fn target(&self, image: &NamedImage) -> Result<Descriptor, transfer::Error> {
        if let [only] = image.targets.as_slice() {
            return Ok(only.clone());
        }
        let candidate = |target: &Descriptor| Candidate {
            manifest: target.clone(),
            platform: target.platform.clone(),
        };
        let candidates: Vec<_> = image.targets.iter().map(candidate).collect();
        let chosen = images::choose(&candidates, &self.platforms, true)?;
        let chosen = chosen.first().and_then(|chosen| image.targets.get(chosen.position));
        chosen.cloned().ok_or(transfer::Error::Closed)
    }

    fn warn_of_no_name(&self, target: &Descriptor, place: &str) {
        let message =
            format!("{place} gives {} no name: the kubelet knows it by its ID only", target.digest);
        let notice = Notice::new("image-without-name", message);
        self.progress.event(Event::Warning(notice.with_hint("give it one with --as NAME")));
    }

    async fn run(&self, requests: &[Request], tally: &mut Tally) {
        let images = requests.iter().map(|request| request.names.reference.to_string());
        let (client, unpack) = (self.client.clone(), self.unpack.clone());
        let rules = self.rules.clone();
        let sink = ContainerdSink::new(client, unpack, images, rules, self.told())
            .verified_by(self.verifiers.clone());
        let check_room = !self.args.store.no_space_check;
        let manner = Manner { check_room, ..Manner::of_blobs(self.args.blobs_at_once()) };
        let manner = self.budget.manner(manner);
        let failures = transfer::run(requests, Arc::new(sink), manner, self.told()).await;
        tally.images += requests.len();
        tally.failures.extend(failures);
    }

    /// Loads what comes by.
    async fn take_in(
        &self,
        stream: Stream,
        tally: &mut Tally,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let Stream { tar, place } = stream;
        let before = tally.failures.len();
        let staging = signals.or(Staging::begin(&self.client)).await??;
        let documents = self.budget.document_bytes();
        let intake = Intake::start(tar, &place, documents, staging, self.told());
        let intake = intake.map_err(Error::Runtime)?;
        let loaded = signals.or(self.load_from(&intake, &place, tally)).await;
        let failed = !matches!(loaded, Ok(Ok(()))) || tally.failures.len() > before;
        intake.end(failed).await;
        if let Err(error) = loaded? {
            let diagnostic = Diagnostic::of(&error);
            self.progress.event(Event::Failed { image: place, diagnostic });
            tally.images += 1;
            tally.failures.push(error.failure());
        }
        Ok(())
    }

    async fn load_from(
        &self,
        intake: &Intake,
        place: &str,
        tally: &mut Tally,
    ) -> Result<(), transfer::Error> {
        let images = intake.images().await?;
        let source = |target, provenance| {
            Arc::new(intake.source(target).from(provenance)) as Arc<dyn Source>
        };
        let requests = self.requests(&images, place, source)?;
        self.run(&requests, tally).await;
        Ok(())
    }
}

/// What the daemon's configuration says. Whatever is wrong there keeps no archive from being loaded.
fn configured(daemon: &Client) -> Configured {
    let node = sandbox::node(daemon, Locations::default());
    node.as_ref().map(Configured::of).unwrap_or_default()
}
