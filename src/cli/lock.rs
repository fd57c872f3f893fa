//! `pullctl lock`: which digests the tags of a list stand for, written down, and compared later.

use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::groups::{AccessArgs, ImageArgs, ListArgs};
use super::pod_logins::Registries;
use super::recipe::batch_failure;
use super::wanted::{Batch, Wanted};
use super::{Error, LockError, Session};
use crate::check::Anatomy;
use crate::config::RegistryHost;
use crate::failure::{Diagnose as _, Diagnostic, Failure};
use crate::lists::{Lock, LockedImage, LockedManifest};
use crate::oci::Digest;
use crate::output::{Options, ProgressMode, replace_file, table};
use crate::platform::Platform;
use crate::registry::Policy;
use crate::transfer::{self, RegistrySource, Source as _};

/// Images asked for at the same time.
const IMAGES_AT_ONCE: usize = 8;

const LOCK_EXAMPLES: &str = "\
Examples:
  Write down what a chart's tags stand for, and pull exactly that, on any day and any node:
    helm template CHART | pullctl lock -f - -o images.lock
    pullctl pull --locked -f images.lock

  Has any tag moved since?
    pullctl lock --check -f images.lock";

/// `pullctl lock`.
#[derive(Debug, Args)]
#[command(after_long_help = LOCK_EXAMPLES)]
pub struct LockArgs {
    /// Which images.
    #[command(flatten)]
    pub lists: ListArgs,

    /// File to write, - for standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "check")]
    pub output: Option<PathBuf>,

    /// Compare locks with what their tags stand for now: exit 11 when one has moved
    #[arg(long, conflicts_with = "output")]
    pub check: bool,

    /// Which platforms' manifests are written down.
    #[command(flatten)]
    pub image: ImageArgs,
    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Writes a lock, or compares one.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed or have moved.
pub(super) async fn run(args: &LockArgs, session: &Session<'_>) -> Result<(), Error> {
    let piped = args.access.piped_password(&args.lists.file)?;
    let batch = args.lists.read()?;
    if let Some(loose) = batch.images.iter().find(|it| args.check && it.locked.is_none()) {
        return Err(LockError::NotLocked(loose.name.to_string()).into());
    }
    let mut signals = session.catch_signals(None);
    let node = args.access.registry.node(None)?;
    let sources = || batch.images.iter().map(|wanted| &wanted.source);
    let (located, notices) = args.access.registry.locate(sources().cloned().collect(), &node)?;
    let keychain = signals.or(args.access.registry.keychain(sources(), node, piped)).await??;
    let progress = session.progress(Options { progress: ProgressMode::None, ..Options::default() });
    progress.warn(batch.notices.iter().cloned().chain(notices));
    let resolve = args.access.transport.resolve.clone();
    let policy = Policy { resolve, ..Policy::default() };
    let registries = Registries::new(session.registry(policy, keychain, &progress)?, &batch)?;
    let hosts: Vec<_> = located.into_iter().map(|located| located.hosts).collect();
    let images = Images { batch: &batch, hosts, registries };
    let work = async {
        match args.check {
            true => images.check(session).await,
            false => images.write(args, session).await,
        }
    };
    let outcome = signals.or(work).await;
    progress.finish()?;
    outcome?
}

/// The images of a list, and what each is asked with.
struct Images<'a> {
    batch: &'a Batch,
    /// In the order of the batch.
    hosts: Vec<Vec<RegistryHost>>,
    registries: Registries,
}

impl Images<'_> {
    /// What each image's source answers to `look`, several at a time, in order.
    async fn ask<T>(
        &self,
        look: impl AsyncFn(&Wanted, RegistrySource) -> T,
    ) -> impl Iterator<Item = (&Wanted, T)> {
        let look = &look;
        let images = self.batch.images.iter().zip(&self.hosts);
        let found: Vec<T> = stream::iter(images)
            .map(async |(wanted, hosts)| {
                let registry = self.registries.of(wanted);
                look(wanted, RegistrySource::new(registry, hosts.clone(), &wanted.source)).await
            })
            .buffered(IMAGES_AT_ONCE)
            .collect()
            .await;
        self.batch.images.iter().zip(found)
    }

    /// Writes down what the tags stand for.
    async fn write(&self, args: &LockArgs, session: &Session<'_>) -> Result<(), Error> {
        let look = async |wanted: &Wanted, source: RegistrySource| {
            Anatomy::read(&source, &wanted.choice(&args.image, Platform::host())).await
        };
        let mut images = Vec::new();
        let mut failures = Vec::new();
        for (wanted, found) in self.ask(look).await {
            match found {
                Ok(anatomy) => images.push(locked(wanted, &anatomy)),
                Err(error) => failures.push(tell(wanted, &error, session)),
            }
        }
        // A lock of a part of the list would be taken for one of all of it.
        if let Some(failure) = batch_failure(&failures, self.batch.images.len(), true) {
            return Err(Error::AlreadyTold(failure));
        }
        let lock = Lock::new(Timestamp::now().to_string(), images);
        let text = serde_json::to_string_pretty(&lock).unwrap_or_default();
        match args.output.as_deref() {
            None => Ok(()),
            Some(path) if path == Path::new("-") => Ok(session.printer.out(&text)?),
            Some(path) => {
                let unwritten = |source| LockError::NotWritten { path: path.to_owned(), source };
                replace_file(path, &format!("{text}\n")).map_err(unwritten)?;
                Ok(())
            }
        }
    }

    /// Compares it with what they stand for now.
    async fn check(&self, session: &Session<'_>) -> Result<(), Error> {
        let look = async |_: &Wanted, source: RegistrySource| source.resolve().await;
        let mut moved: Vec<[String; 3]> = Vec::new();
        let mut failures = Vec::new();
        for (wanted, found) in self.ask(look).await {
            match found.map(|resolved| resolved.descriptor.digest) {
                Ok(digest) if Some(digest) != wanted.locked => {
                    let locked = wanted.locked.as_ref().map(Digest::to_string);
                    let locked = locked.unwrap_or_default();
                    moved.push([wanted.name.to_string(), locked, digest.to_string()]);
                }
                Ok(_) => {}
                Err(error) => failures.push(tell(wanted, &error, session)),
            }
        }
        if !moved.is_empty() {
            let rows = table(["MOVED", "LOCKED", "NOW"], moved.iter().cloned());
            session.printer.out(&rows)?;
            return Err(Error::AlreadyTold(Failure::Batch));
        }
        match batch_failure(&failures, self.batch.images.len(), false) {
            Some(failure) => Err(Error::AlreadyTold(failure)),
            None => Ok(()),
        }
    }
}

fn locked(wanted: &Wanted, anatomy: &Anatomy) -> LockedImage {
    let manifests = anatomy.parts.iter().map(|part| LockedManifest {
        platform: part.platform.as_ref().map(ToString::to_string),
        digest: part.descriptor.digest,
        size_bytes: part.stored_bytes(),
    });
    LockedImage {
        name: wanted.name.to_string(),
        source: wanted.source.to_string(),
        digest: anatomy.target.digest,
        media_type: anatomy.target.media_type.to_string(),
        size_bytes: anatomy.target.size,
        pinned: wanted.pin,
        platforms: wanted.platforms().iter().map(ToString::to_string).collect(),
        manifests: manifests.collect(),
    }
}

/// Shows that an image failed, and tells how.
fn tell(wanted: &Wanted, error: &transfer::Error, session: &Session<'_>) -> Failure {
    session.printer.err(&format!("{}:", wanted.name));
    session.printer.diagnostic(&Diagnostic::of(error));
    error.failure()
}
