//! `pullctl inspect`: shows what an image consists of, in containerd or in its registry.

use std::fmt;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::comparison::Comparison;
use super::groups::{AccessArgs, ImageArgs};
use super::inspection::Inspection;
use super::listing::{Referrers, Tags};
use super::session::Signals;
use super::wanted::WantedError;
use super::warned::Warned;
use super::{Error, Session};
use crate::check::{self, Anatomy, Contrast, Holdings, Part};
use crate::config::RegistryHost;
use crate::containerd::{Client, labels};
use crate::failure::Notice;
use crate::images::{self, StoredImage};
use crate::output::{Form, Options, Progress, ProgressMode, document};
use crate::platform::Platform;
use crate::progress::Sink;
use crate::reference::Reference;
use crate::registry::{Policy, Registry};
use crate::transfer::{self, ContainerdSource, PlatformChoice, RegistrySource, Source};

const INSPECT_EXAMPLES: &str = "\
Examples:
  What an image in containerd consists of, and who uses it:
    pullctl inspect nginx

  What a pull would bring, without pulling:
    pullctl inspect --remote harbor.example.net/team/app:v2

  What is different in the registry now:
    pullctl inspect nginx docker://nginx

  Which tags there are, and what signs or describes an image:
    pullctl inspect --tags harbor.example.net/team/app
    pullctl inspect --referrers harbor.example.net/team/app:v2";

/// What an image in a registry may be written with, as for skopeo.
const IN_REGISTRY: &str = "docker://";

/// `pullctl inspect`.
#[derive(Debug, Args)]
#[command(after_long_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// Image, by name, by name@sha256:… or by ID; docker://REF for one in its registry
    #[arg(value_name = "REF")]
    pub reference: String,

    /// Another one: what is different is shown
    #[arg(value_name = "OTHER", conflicts_with_all = ["tags", "referrers"])]
    pub other: Option<String>,

    /// Look into the images' registries, without pulling
    #[arg(long)]
    pub remote: bool,

    /// List the tags of the repository in its registry
    #[arg(long, conflicts_with = "referrers")]
    pub tags: bool,

    /// List what refers to the image in its registry: signatures, attestations, SBOMs
    #[arg(long)]
    pub referrers: bool,

    /// Form of what is shown
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: InspectForm,

    /// Which of its platforms.
    #[command(flatten)]
    pub image: ImageArgs,
    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Forms of an inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum InspectForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
}

impl From<InspectForm> for Form {
    fn from(form: InspectForm) -> Self {
        match form {
            InspectForm::Text => Self::Text,
            InspectForm::Json => Self::Json,
            InspectForm::Yaml => Self::Yaml,
        }
    }
}

/// An image as it was typed, and where it is meant to be.
enum Side<'a> {
    Registry(Reference),
    Containerd(&'a str),
}

/// Shows what was asked for.
///
/// # Errors
/// When there is no such image, its registry or the daemon refuses, or a document is unusable.
pub(super) async fn run(args: &InspectArgs, session: &Session<'_>) -> Result<(), Error> {
    let sides = sides(args)?;
    let piped = args.access.piped_password(&[])?;
    let mut signals = session.catch_signals(None);
    // No daemon is needed for what is in registries.
    let client = match sides.iter().any(|side| matches!(side, Side::Containerd(_))) {
        true => Some(signals.or(session.connect()).await??),
        false => signals.or(session.connect()).await?.ok(),
    };
    let progress = session.progress(Options { progress: ProgressMode::None, ..Options::default() });
    let shown = async {
        let remote = sides.iter().filter_map(|side| match side {
            Side::Registry(reference) => Some(reference.clone()),
            Side::Containerd(_) => None,
        });
        let remote: Vec<Reference> = remote.collect();
        if let Some(client) = &client {
            progress.warn(renamed(client, &remote).await);
        }
        let access = Access::new(args, remote, piped, client.as_ref(), &progress, session).await?;
        show(args, &sides, &access, session).await
    };
    let shown = finished(shown, &progress, &mut signals).await?;
    let shown = document(&Warned::of(shown, &progress), Form::from(args.output));
    Ok(session.printer.out(&shown)?)
}

/// What is shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    Image(Box<Inspection>),
    Images(Box<Comparison>),
    Tags(Tags),
    Referrers(Referrers),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(it) => it.fmt(f),
            Self::Images(them) => them.fmt(f),
            Self::Tags(them) => them.fmt(f),
            Self::Referrers(them) => them.fmt(f),
        }
    }
}

async fn finished(
    work: impl Future<Output = Result<Shown, Error>>,
    progress: &Progress,
    signals: &mut Signals,
) -> Result<Shown, Error> {
    let outcome = signals.or(work).await;
    let written = progress.finish();
    let shown = outcome??;
    written?;
    Ok(shown)
}

fn sides(args: &InspectArgs) -> Result<Vec<Side<'_>>, Error> {
    let is_remote = args.remote || args.tags || args.referrers;
    let typed = [Some(args.reference.as_str()), args.other.as_deref()];
    let mut sides = Vec::new();
    for text in typed.into_iter().flatten() {
        sides.push(match text.strip_prefix(IN_REGISTRY) {
            Some(reference) => Side::Registry(reference.parse()?),
            None if is_remote => Side::Registry(text.parse()?),
            None => Side::Containerd(text),
        });
    }
    Ok(sides)
}

/// What should be known of images in registries which are called so here and came from elsewhere.
async fn renamed(client: &Client, references: &[Reference]) -> Vec<Notice> {
    let mut notices = Vec::new();
    for reference in references {
        let stored = client.images().get(&reference.to_string()).await.ok().flatten();
        if let Some(source) = stored.and_then(|image| labels::named_source(&image.labels)) {
            let message = format!("the {reference} of this node came from {source}");
            let hint = format!("pullctl inspect --remote {source}");
            notices.push(Notice::new("came-from", message).with_hint(hint));
        }
    }
    notices
}

/// The ways to images: the daemon, and registries with the node's mirrors and logins.
struct Access<'a> {
    client: Option<&'a Client>,
    registry: Option<Registry>,
    hosts: Vec<(Reference, Vec<RegistryHost>)>,
    progress: Arc<dyn Sink>,
}

impl<'a> Access<'a> {
    async fn new(
        args: &InspectArgs,
        remote: Vec<Reference>,
        piped: Option<secrecy::SecretString>,
        client: Option<&'a Client>,
        progress: &Arc<Progress>,
        session: &Session<'_>,
    ) -> Result<Self, Error> {
        let told = Arc::clone(progress) as Arc<dyn Sink>;
        if remote.is_empty() {
            return Ok(Self { client, registry: None, hosts: Vec::new(), progress: told });
        }
        let node = args.access.registry.node(client)?;
        let (located, notices) = args.access.registry.locate(remote.clone(), &node)?;
        progress.warn(notices);
        let keychain = args.access.registry.keychain(remote.iter(), node, piped).await?;
        let resolve = args.access.transport.resolve.clone();
        let policy = Policy { resolve, ..Policy::default() };
        let registry = Some(session.registry(policy, keychain, progress)?);
        let hosts = located.into_iter().map(|image| (image.reference, image.hosts)).collect();
        Ok(Self { client, registry, hosts, progress: told })
    }

    /// The registries, which were made ready because an image is in one.
    fn registry(&self, reference: &Reference) -> Result<(&Registry, Vec<RegistryHost>), Error> {
        let found = self.hosts.iter().find(|(known, _)| known == reference);
        match (&self.registry, found) {
            (Some(registry), Some((_, hosts))) => Ok((registry, hosts.clone())),
            _ => Err(WantedError::NoImages { notice: None }.into()),
        }
    }

    fn remote(&self, reference: &Reference) -> Result<RegistrySource, Error> {
        let (registry, hosts) = self.registry(reference)?;
        Ok(RegistrySource::new(registry, hosts, reference))
    }
}

async fn show(
    args: &InspectArgs,
    sides: &[Side<'_>],
    access: &Access<'_>,
    session: &Session<'_>,
) -> Result<Shown, Error> {
    let [first, others @ ..] = sides else {
        return Err(WantedError::NoImages { notice: None }.into());
    };
    if let (Side::Registry(reference), true) = (first, args.tags || args.referrers) {
        return listed(args, reference, access).await;
    }
    if let [second] = others {
        let [first, second] = [read(args, first, access).await?, read(args, second, access).await?];
        let [one, other] = [part_of(&first)?, part_of(&second)?];
        let contrast = Contrast::between(one, other);
        let titles = [args.reference.clone(), args.other.clone().unwrap_or_default()];
        return Ok(Shown::Images(Box::new(Comparison::new(titles, [one, other], contrast))));
    }
    let read = read(args, first, access).await?;
    let holdings = match (access.client, &read.stored) {
        (Some(client), Some(_)) => {
            let usual = session.snapshotter(client, None).await?;
            Some(Holdings::of(client, &read.anatomy, &usual).await?)
        }
        _ => None,
    };
    let leads = match (access.client, &read.stored) {
        (Some(client), Some(stored)) => check::leads(client, stored).await?,
        _ => Vec::new(),
    };
    let inspection = Inspection::new(read.title, &read.anatomy, read.stored.as_ref(), holdings);
    Ok(Shown::Image(Box::new(inspection.from(&leads))))
}

async fn listed(
    args: &InspectArgs,
    reference: &Reference,
    access: &Access<'_>,
) -> Result<Shown, Error> {
    let (registry, hosts) = access.registry(reference)?;
    let repository = registry.repository(hosts, reference);
    if args.tags {
        let tags = repository.tags().await?;
        return Ok(Shown::Tags(Tags { repository: reference.name(), tags }));
    }
    let target = repository.resolve().await?.descriptor;
    let found = repository.referrers(target.digest).await?;
    Ok(Shown::Referrers(Referrers::new(reference, target.digest, found)))
}

/// An image that was read.
struct Read {
    title: String,
    anatomy: Anatomy,
    stored: Option<StoredImage>,
}

fn part_of(read: &Read) -> Result<&Part, Error> {
    read.anatomy.parts.first().ok_or_else(|| Error::NothingToCompare(read.title.clone()))
}

async fn read(args: &InspectArgs, side: &Side<'_>, access: &Access<'_>) -> Result<Read, Error> {
    let choice = args.image.choice(Platform::host());
    match side {
        Side::Registry(reference) => {
            let anatomy = Anatomy::read(&access.remote(reference)?, &choice).await?;
            Ok(Read { title: reference.to_string(), anatomy, stored: None })
        }
        Side::Containerd(typed) => {
            // It was connected to for this side.
            let Some(client) = access.client else {
                return Err(WantedError::NoImages { notice: None }.into());
            };
            let stored = images::load(client).await?;
            let Some(found) = images::lookup(&stored, typed)? else {
                return Err(images::not_found(client, typed).await?.into());
            };
            let name = found.name.or(found.image.names.first()).map(|name| name.name.clone());
            let name = name.unwrap_or_else(|| (*typed).to_owned());
            let progress = Arc::clone(&access.progress);
            let source = ContainerdSource::new(client.clone(), name.clone(), progress);
            let anatomy = read_stored(&source, &choice).await?;
            Ok(Read { title: name, anatomy, stored: Some(found.image.clone()) })
        }
    }
}

/// What the store has; of an image that is not for this machine, whatever there is.
async fn read_stored(
    source: &dyn Source,
    choice: &PlatformChoice,
) -> Result<Anatomy, transfer::Error> {
    match (Anatomy::read(source, choice).await, choice) {
        (Err(transfer::Error::NoPlatform { .. }), PlatformChoice::Host(host)) => {
            Anatomy::read(source, &PlatformChoice::All { host: host.clone() }).await
        }
        (read, _) => read,
    }
}
