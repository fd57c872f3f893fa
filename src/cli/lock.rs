//! `pullctl lock`: which digests the tags of a list stand for, written down, and compared later.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tempfile::NamedTempFile;

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
use crate::output::{Options, ProgressMode, table};
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
    let work = async {
        match args.check {
            true => check(&batch, &hosts, &registries, session).await,
            false => write(args, &batch, &hosts, &registries, session).await,
        }
    };
    let outcome = signals.or(work).await;
    progress.finish()?;
    outcome?
}

async fn write(
    args: &LockArgs,
    batch: &Batch,
    hosts: &[Vec<RegistryHost>],
    registries: &Registries,
    session: &Session<'_>,
) -> Result<(), Error> {
    let wanted = batch.images.iter().zip(hosts);
    let found: Vec<_> = stream::iter(wanted)
        .map(async |(wanted, hosts)| {
            let source = source(wanted, hosts, registries);
            let choice = wanted.choice(&args.image, Platform::host());
            Anatomy::read(&source, &choice).await
        })
        .buffered(IMAGES_AT_ONCE)
        .collect()
        .await;
    let mut images = Vec::new();
    let mut failures = Vec::new();
    for (wanted, found) in batch.images.iter().zip(found) {
        match found {
            Ok(anatomy) => images.push(locked(wanted, &anatomy)),
            Err(error) => failures.push(tell(wanted, &error, session)),
        }
    }
    // A lock of a part of the list would be taken for one of all of it.
    if let Some(failure) = batch_failure(&failures, batch.images.len(), true) {
        return Err(Error::AlreadyTold(failure));
    }
    let lock = Lock::new(Timestamp::now().to_string(), images);
    let text = serde_json::to_string_pretty(&lock).unwrap_or_default();
    match args.output.as_deref() {
        None => Ok(()),
        Some(path) if path == Path::new("-") => Ok(session.printer.out(&text)?),
        Some(path) => {
            let unwritten = |source| LockError::NotWritten { path: path.to_owned(), source };
            replace(path, &format!("{text}\n")).map_err(unwritten)?;
            Ok(())
        }
    }
}

/// Puts `text` in place of `path` as a whole: a lock that is half there is none.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
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

async fn check(
    batch: &Batch,
    hosts: &[Vec<RegistryHost>],
    registries: &Registries,
    session: &Session<'_>,
) -> Result<(), Error> {
    let wanted = batch.images.iter().zip(hosts);
    let found: Vec<_> = stream::iter(wanted)
        .map(async |(wanted, hosts)| source(wanted, hosts, registries).resolve().await)
        .buffered(IMAGES_AT_ONCE)
        .collect()
        .await;
    let mut moved: Vec<[String; 3]> = Vec::new();
    let mut failures = Vec::new();
    for (wanted, found) in batch.images.iter().zip(found) {
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
    match batch_failure(&failures, batch.images.len(), false) {
        Some(failure) => Err(Error::AlreadyTold(failure)),
        None => Ok(()),
    }
}

fn source(wanted: &Wanted, hosts: &[RegistryHost], registries: &Registries) -> RegistrySource {
    RegistrySource::new(registries.of(wanted), hosts.to_vec(), &wanted.source)
}

/// Shows that an image failed, and tells how.
fn tell(wanted: &Wanted, error: &transfer::Error, session: &Session<'_>) -> Failure {
    session.printer.err(&format!("{}:", wanted.name));
    session.printer.diagnostic(&Diagnostic::of(error));
    error.failure()
}
