//! `pullctl push`: images from containerd to a registry.

use std::sync::Arc;

use clap::Args;

use super::budget::Budget;
use super::groups::{AccessArgs, ImageArgs, MemoryArgs, OutputArgs, UploadArgs};
use super::origin::stored_name;
use super::recipe::{self, Work};
use super::{Error, Session};
use crate::containerd::Client;
use crate::output::{Options, Progress};
use crate::platform::Platform;
use crate::progress::{Sink, Verb};
use crate::reference::Reference;
use crate::transfer::{ContainerdSource, Manner, Names, PlatformChoice, RegistrySink, Request};

const PUSH_EXAMPLES: &str = "\
Examples:
  An image that was built or pulled here, to a registry:
    pullctl push harbor.example.net/team/app:v1

  Under another name:
    pullctl push docker.io/library/busybox:1.36 harbor.example.net/team/busybox:1.36

  What a node has of an image for several platforms:
    pullctl push --platform linux/amd64 busybox:1.36 harbor.example.net/team/busybox:1.36

  Every tag of a repository:
    pullctl push --all-tags harbor.example.net/team/app

  For a script:
    digest=$(pullctl push -q harbor.example.net/team/app:v1)

What the registry has is not sent. An upload that breaks goes on where the registry says that it
stands.";

/// What a push that ended early leaves.
const REPEAT: &str = "run the same command again: what the registry has by then is not sent again";

/// `pullctl push`.
#[derive(Debug, Args)]
#[command(after_long_help = PUSH_EXAMPLES)]
pub struct PushArgs {
    /// Image in containerd, by its name there
    #[arg(value_name = "REF")]
    pub reference: String,

    /// Where it goes [default: the registry and repository that its name says]
    #[arg(value_name = "DST")]
    pub destination: Option<String>,

    /// Every tag of the repository REF, to the repository DST
    #[arg(long, help_heading = "Image")]
    pub all_tags: bool,

    /// What to push.
    #[command(flatten)]
    pub image: ImageArgs,
    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
    /// How blobs are sent.
    #[command(flatten)]
    pub upload: UploadArgs,
    /// How much memory it takes.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl PushArgs {
    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.memory.bytes(), self.upload.concurrency)
    }
}

/// Pushes what `args` name.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed; everything else ends the run before the first image.
pub(super) async fn run(args: &PushArgs, session: &Session<'_>) -> Result<(), Error> {
    let source: Reference = args.reference.parse()?;
    let destination = args.destination.as_deref().map_or(Ok(source.clone()), str::parse)?;
    check_tags(args, &source, &destination)?;
    let piped = args.access.piped_password(&[])?;
    // What was read so far can't be given up: there signals end the process.
    let mut signals = session.catch_signals(Some(REPEAT));
    let client = signals.or(session.connect()).await??;
    let node = args.access.registry.node(Some(&client))?;
    let (located, notices) = args.access.registry.locate(vec![destination.clone()], &node)?;
    let named = std::iter::once(&destination);
    let keychain = signals.or(args.access.registry.keychain(named, node, piped)).await??;

    let progress = session.progress(Options { verb: Verb::Push, ..args.output.options() });
    progress.warn(notices);
    let work = Box::pin(async {
        let registry =
            session.registry(args.upload.policy(&args.access.transport), keychain, &progress)?;
        let hosts = located.into_iter().next().map(|located| located.hosts).unwrap_or_default();
        let sink = Arc::new(RegistrySink::new(&registry, hosts, &destination)?);
        let images = requests(args, &client, &source, &destination, &progress).await?;
        Ok(Work {
            images,
            sink,
            manner: session.budget.manner(Manner::of_blobs(args.upload.concurrency)),
            is_whole: false,
        })
    });
    recipe::carry_out(work, &progress, &mut signals).await
}

/// With `--all-tags`, names are repositories.
fn check_tags(args: &PushArgs, source: &Reference, destination: &Reference) -> Result<(), Error> {
    if !args.all_tags {
        return Ok(());
    }
    for (typed, reference) in
        [(Some(&args.reference), source), (args.destination.as_ref(), destination)]
    {
        let has_tag = typed.is_some_and(|typed| {
            reference.digest().is_some()
                || reference.tag().is_some_and(|tag| typed.ends_with(&format!(":{tag}")))
        });
        if has_tag {
            return Err(Error::TagWithAllTags(reference.to_string()));
        }
    }
    Ok(())
}

/// One request an image.
async fn requests(
    args: &PushArgs,
    client: &Client,
    source: &Reference,
    destination: &Reference,
    progress: &Arc<Progress>,
) -> Result<Vec<Request>, Error> {
    let host = Platform::host();
    let platforms = match args.image.platform.is_empty() {
        // What the name stands for, as a whole.
        true => PlatformChoice::All { host },
        false => args.image.choice(host),
    };
    let request = |name: String, names: Names| {
        let sink = Arc::clone(progress) as Arc<dyn Sink>;
        Request {
            source: Arc::new(ContainerdSource::new(client.clone(), name, sink)),
            names: Arc::new(names),
            platforms: platforms.clone(),
        }
    };
    if !args.all_tags {
        let name = stored_name(client, &args.reference, source).await?;
        return Ok(vec![request(name, Names::new(destination.clone()))]);
    }
    let mut requests = Vec::new();
    for image in client.images().list().await? {
        let Ok(known) = image.name.parse::<Reference>() else { continue };
        let tag = known.tag().filter(|_| known.digest().is_none());
        let Some(tag) = tag.filter(|_| known.name() == source.name()) else { continue };
        let named: Reference = format!("{}:{tag}", destination.name()).parse()?;
        requests.push(request(image.name.clone(), Names::new(named)));
    }
    if requests.is_empty() {
        let namespace = client.namespace().to_owned();
        return Err(Error::NoTags { repository: source.name(), namespace });
    }
    Ok(requests)
}
