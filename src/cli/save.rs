//! `pullctl save`: images from containerd, or straight from registries, into one file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Args, ValueEnum};

use super::budget::Budget;
use super::groups::{AccessArgs, DownloadArgs, ImageArgs, Located, MemoryArgs, OutputArgs};
use super::held::Held;
use super::pod_logins::Registries;
use super::recipe::{self, Work};
use super::wanted::{self, Wanted};
use super::{Error, Session};
use crate::archive::{Form, Target, Wrapping};
use crate::output::Options;
use crate::platform::Platform;
use crate::progress::{self, Verb};
use crate::transfer::{
    self, ArchiveSink, ContainerdSource, Manner, Names, RegistrySource, Request, Sink, Source,
};

const SAVE_EXAMPLES: &str = "\
Examples:
  Three images on a stick, to be loaded on a node without network:
    pullctl save -o /media/stick/images.tar nginx:1.27 redis:7 registry.k8s.io/pause:3.10

  Straight into another node's containerd:
    pullctl save -o - registry.k8s.io/pause:3.10 | ssh NODE pullctl load

  For k3s, on a machine without containerd:
    pullctl save --from registry --platform linux/arm64 -o app.tar.zst harbor.example.net/team/app:v1

  What is new since the last stick:
    pullctl save --missing-from last.tar -o new.tar -f images.txt

  Out of docker's own namespace:
    pullctl -n moby save -o app.tar team/app:v1

The file appears under its name when all images are in it, and not at all otherwise.";

/// Blobs of containerd that are read at the same time, at most; the archive may take fewer.
const BLOBS_AT_ONCE: usize = 8;

/// The headings of flags that say how registries are asked.
const OF_REGISTRIES: [&str; 2] = ["Registry", "Download"];

/// `pullctl save`.
#[derive(Debug, Args)]
#[command(after_long_help = SAVE_EXAMPLES, mut_args(with_its_origin))]
pub struct SaveArgs {
    /// Images in containerd, as docker and containerd write them: busybox, host:5000/a/b:tag
    #[arg(value_name = "REF", required_unless_present = "file")]
    pub references: Vec<String>,

    /// File to write, - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// File with images, - for standard input: one a line, or Kubernetes manifests. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// What the archive is
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub format: SaveForm,

    /// Pack the archive as a whole [default: as FILE's name says, by .gz, .tgz, .zst or .tzst]
    #[arg(long, value_enum, value_name = "HOW")]
    pub compress: Option<Compress>,

    /// Leave out the layers that the other side has: told by its `pullctl images -o json`, by an
    /// archive that it has loaded, or by images that are here and there, as a list or with commas
    /// between them; with --from registry, what these have there for the same platforms. Can be
    /// repeated
    #[arg(long, value_name = "FILE|REF,...")]
    pub missing_from: Vec<String>,

    /// Where the images are, if not in containerd
    #[arg(long, value_enum, value_name = "WHERE")]
    pub from: Option<Origin>,

    /// What to save.
    #[command(flatten)]
    pub image: ImageArgs,
    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
    /// How blobs are fetched.
    #[command(flatten)]
    pub download: DownloadArgs,
    /// How much memory it takes.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// What is shown.
    #[command(flatten)]
    pub shown: OutputArgs,
}

/// Forms of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SaveForm {
    /// An OCI layout with docker's table of contents, for every tool
    #[default]
    Oci,
    /// What docker save wrote before OCI: one platform an image, and no index
    Docker,
}

/// Ways to pack an archive as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compress {
    /// As .tar.zst
    Zstd,
    /// As .tar.gz
    Gzip,
}

/// Where images are saved from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// Registries, asked as for a pull; needs no containerd
    Registry,
}

/// A flag that needs `--from` where it is about registries: it would do nothing without.
fn with_its_origin(flag: Arg) -> Arg {
    let is_of_registries =
        flag.get_help_heading().is_some_and(|heading| OF_REGISTRIES.contains(&heading));
    if is_of_registries { flag.requires("from") } else { flag }
}

impl SaveArgs {
    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.memory.bytes(), self.blobs_at_once())
    }

    fn blobs_at_once(&self) -> usize {
        match self.from {
            None => BLOBS_AT_ONCE,
            Some(Origin::Registry) => self.download.concurrency,
        }
    }
}

/// Saves all images named by `args`.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed, after which there is no archive.
pub(super) async fn run(args: &SaveArgs, session: &Session<'_>) -> Result<(), Error> {
    let target = Target::of(&args.output).map_err(transfer::Error::from)?;
    let is_stdout_taken = target == Target::StandardOutput;
    let wrapping = match args.compress {
        None => Wrapping::of_name(&args.output),
        Some(Compress::Gzip) => Wrapping::Gzip,
        Some(Compress::Zstd) => Wrapping::Zstd,
    };
    let form = match args.format {
        SaveForm::Oci => Form::Oci,
        SaveForm::Docker => Form::Docker,
    };
    let sink = Arc::new(ArchiveSink::new(target, form, wrapping));
    let options = Options { verb: Verb::Save, is_stdout_taken, ..args.shown.options() };
    let held = Held::read(&args.missing_from, session.budget.archive_window())?;
    match args.from {
        None => from_containerd(args, held, options, sink, session).await,
        Some(Origin::Registry) => from_registries(args, held, options, sink, session).await,
    }
}

async fn from_containerd(
    args: &SaveArgs,
    held: Held,
    options: Options,
    sink: Arc<ArchiveSink>,
    session: &Session<'_>,
) -> Result<(), Error> {
    let batch = wanted::read(&args.references, &args.file)?;
    let mut signals = session.catch_signals(None);
    let progress = session.progress(options);
    progress.warn(batch.notices.iter().cloned().chain(batch.lost_pins(&"an archive")));
    let work = Box::pin(async {
        let client = session.connect().await?;
        sink.leave_out(held.all_blobs(&client).await?);
        let request = |wanted: &Wanted| {
            let (name, told) = (wanted.name.to_string(), Arc::clone(&progress));
            let source =
                ContainerdSource::new(client.clone(), name, told as Arc<dyn progress::Sink>);
            request(args, wanted, Arc::new(source))
        };
        let images = batch.images.iter().map(request).collect();
        let manner = session.budget.manner(Manner::of_blobs(args.blobs_at_once()));
        Ok(Work { images, sink, manner, is_whole: true })
    });
    recipe::carry_out(work, &progress, &mut signals).await
}

async fn from_registries(
    args: &SaveArgs,
    held: Held,
    options: Options,
    sink: Arc<ArchiveSink>,
    session: &Session<'_>,
) -> Result<(), Error> {
    let piped = args.access.piped_password(&args.file)?;
    let batch = wanted::read(&args.references, &args.file)?;
    let mut signals = session.catch_signals(None);
    let node = args.access.registry.node(None)?;
    let sources = || batch.images.iter().map(|wanted| &wanted.source);
    let (located, notices) = args.access.registry.locate(sources().cloned().collect(), &node)?;
    let (there, _) = args.access.registry.locate(held.images.clone(), &node)?;
    let keychain = signals.or(args.access.registry.keychain(sources(), node, piped)).await??;
    let progress = session.progress(options);
    let said = batch.notices.iter().cloned().chain(notices);
    progress.warn(said.chain(batch.lost_pins(&"an archive")));
    let work = Box::pin(async {
        let policy = args.download.policy(&args.access.transport);
        let registry = session.registry(policy, keychain, &progress)?;
        let there = there.iter().map(|Located { reference, hosts }| Request {
            source: Arc::new(RegistrySource::new(&registry, hosts.clone(), reference)),
            names: Arc::new(Names::new(reference.clone())),
            platforms: args.image.choice(Platform::host()),
        });
        let (there, told) = (there.collect::<Vec<_>>(), Arc::clone(&sink) as Arc<dyn Sink>);
        sink.leave_out(held.blobs_at_registries(&there, told, &*progress).await?);
        let registries = Registries::new(registry, &batch)?;
        let images = batch.images.iter().zip(&located).map(|(wanted, located)| {
            let registry = registries.of(wanted);
            let mut source = RegistrySource::new(registry, located.hosts.clone(), &wanted.source);
            if let Some(digest) = wanted.locked {
                source = source.expecting(digest);
            }
            request(args, wanted, Arc::new(source))
        });
        let images = images.collect();
        let manner = session.budget.manner(Manner::of_blobs(args.blobs_at_once()));
        Ok(Work { images, sink, manner, is_whole: true })
    });
    recipe::carry_out(work, &progress, &mut signals).await
}

fn request(args: &SaveArgs, wanted: &Wanted, source: Arc<dyn Source>) -> Request {
    let names = Arc::new(Names::new(wanted.name.clone()));
    Request { source, names, platforms: wanted.choice(&args.image, Platform::host()) }
}
