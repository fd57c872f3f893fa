//! `pullctl copy`: an image from one place to another.

use std::sync::Arc;

use clap::Args;

use super::budget::Budget;
use super::destination::{self, Destination};
use super::groups::{
    AccessArgs, Configured, ImageArgs, Located, LoginsArgs, MemoryArgs, OutputArgs, StoreArgs,
    UploadArgs,
};
use super::location::Location;
use super::origin::Origin;
use super::recipe::{self, Work};
use super::referrers::Repository;
use super::{Error, Session, rules};
use crate::config::RegistryHost;
use crate::containerd::Client;
use crate::oci::Digest;
use crate::output::{Options, Progress};
use crate::platform::Platform;
use crate::progress::{self, Verb};
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{self, Manner, NodeRules, Request, Sink, UnpackOptions};
use crate::verifiers::Verifiers;

const COPY_EXAMPLES: &str = "\
Examples:
  From one registry to another, with all platforms and attestations:
    pullctl copy --all-platforms docker.io/library/busybox:1.36 harbor.example.net/hub/busybox:1.36

  What docker has built, to where Kubernetes looks:
    pullctl copy containerd://moby/docker.io/team/app:v1 containerd://k8s.io/docker.io/team/app:v1

  Between projects of one Harbor, each with a robot of its own:
    pullctl copy --src-user 'robot$build' --dest-user 'robot$prod' \\
      harbor.example.net/build/app:v1 harbor.example.net/prod/app:v1

  Into a directory, and from there into a registry that this machine reaches later:
    pullctl copy quay.io/team/app:v1 oci:./app:v1
    pullctl copy oci:./app:v1 harbor.example.net/team/app:v1

A place is written REF or docker://REF (a registry), containerd:REF (the namespace of -n),
containerd://NAMESPACE/REF, oci:DIR[:TAG], oci-archive:FILE[:REF] or
docker-archive:FILE[:REF]. Blobs stream through memory; between repositories of
one registry they are mounted. Between namespaces of one containerd they are
shared, and files of layers are copied rather than unpacked once more.";

/// What a copy that ended early leaves.
const REPEAT: &str = "run the same command again: what has arrived is not copied again";

/// `pullctl copy`.
#[derive(Debug, Args)]
#[command(after_long_help = COPY_EXAMPLES)]
pub struct CopyArgs {
    /// Where the image is
    #[arg(value_name = "SRC")]
    pub source: Location,

    /// Where it goes
    #[arg(value_name = "DST")]
    pub destination: Location,

    /// What to copy.
    #[command(flatten)]
    pub image: ImageArgs,
    /// What refers to the image as well, from registry to registry: signatures, SBOMs, what refers to
    /// those, and the tags of cosign
    #[arg(long, help_heading = "Image")]
    pub referrers: bool,

    /// What it becomes in containerd.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Who to be at either end.
    #[command(flatten)]
    pub logins: LoginsArgs,
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

impl CopyArgs {
    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.memory.bytes(), self.upload.concurrency)
    }
}

/// Copies what `args` name.
///
/// # Errors
/// [`Error::AlreadyTold`] when the image failed; everything else ends the run before it is begun.
pub(super) async fn run(args: &CopyArgs, session: &Session<'_>) -> Result<(), Error> {
    let access = &args.access.registry;
    let piped = args.access.piped_password(&[])?;
    // What was read so far can't be given up: there signals end the process.
    let mut signals = session.catch_signals(Some(REPEAT));
    let from = signals.or(destination::daemon_of(&args.source, session)).await??;
    let to = signals.or(destination::daemon_of(&args.destination, session)).await??;
    let daemon = from.as_ref().or(to.as_ref());
    let node = access.node(daemon)?;
    let Configured { snapshotter, verifiers, kubelet, .. } = Configured::of(&node);
    let ends = [&args.source, &args.destination].map(Location::in_registry);
    let named: Vec<Reference> = ends.into_iter().flatten().cloned().collect();
    let (located, mut notices) = access.locate(named.clone(), &node)?;
    notices.extend(args.logins.visible_passwords());
    let [from_keys, to_keys] = match args.logins.is_any() {
        false => {
            let keychain = signals.or(access.keychain(named.iter(), node, piped)).await??;
            [Some(keychain), None]
        }
        true => {
            let own = signals.or(args.logins.keychains(ends, node, access.node(daemon)?)).await??;
            own.map(Some)
        }
    };

    let progress = session.progress(Options { verb: Verb::Copy, ..args.output.options() });
    progress.warn(notices);
    let work = Box::pin(async {
        let (place, store) = (&args.destination, &args.store);
        let unpack =
            destination::unpacking(place, to.as_ref(), store, snapshotter, &progress, session);
        let unpack = unpack.await?.map(|unpack| UnpackOptions { beside: from.clone(), ..unpack });
        let policy = || args.upload.policy(&args.access.transport);
        let registry = |keychain| session.registry(policy(), keychain, &progress);
        let from_registry = registry(from_keys.unwrap_or_default())?;
        // Of one login, connections and tokens are shared.
        let to_registry = to_keys.map_or_else(|| Ok(from_registry.clone()), registry)?;
        let told = Arc::clone(&progress) as Arc<dyn progress::Sink>;
        let verifiers = to.as_ref().and_then(|_| store.verifiers.verifiers(verifiers, &*told));
        // Between namespaces of one daemon content is shared: only what is unpacked takes room.
        let is_shared = from.is_some() && store.no_unpack;
        let check_room = to.is_some() && !is_shared && !store.no_space_check;
        let rules = rules::of(kubelet.as_ref(), None);
        let copying = Copying { args, located, from_registry, to_registry, verifiers, rules, told };
        let (images, sink) = copying.prepare(from, to, unpack, &progress).await?;
        let manner = Manner { check_room, ..Manner::of_blobs(args.upload.concurrency) };
        Ok(Work { images, sink, manner: session.budget.manner(manner), is_whole: false })
    });
    recipe::carry_out(work, &progress, &mut signals).await
}

/// What a copy is made with.
struct Copying<'a> {
    args: &'a CopyArgs,
    /// The hosts of those ends that are in registries.
    located: Vec<Located>,
    from_registry: Registry,
    to_registry: Registry,
    verifiers: Option<Verifiers>,
    rules: NodeRules,
    told: Arc<dyn progress::Sink>,
}

impl Copying<'_> {
    fn hosts(&self, place: &Location) -> Vec<RegistryHost> {
        let is_it = |located: &&Located| place.in_registry() == Some(&located.reference);
        self.located.iter().find(is_it).map(|located| located.hosts.clone()).unwrap_or_default()
    }

    /// The image and what else is copied, and where it goes.
    async fn prepare(
        &self,
        from: Option<Client>,
        to: Option<Client>,
        unpack: Option<UnpackOptions>,
        progress: &Progress,
    ) -> Result<(Vec<Request>, Arc<dyn Sink>), Error> {
        let CopyArgs { source, destination, .. } = self.args;
        let origin = Origin {
            place: source,
            client: from,
            registry: &self.from_registry,
            hosts: self.hosts(source),
            told: Arc::clone(&self.told),
        };
        let (found, name) = origin.source().await?;
        let names = self.args.store.names(&destination::name_at(destination, name.as_ref())?);
        let sink = Destination {
            place: destination,
            client: to,
            unpack,
            verifiers: self.verifiers.clone(),
            rules: self.rules.clone(),
            registry: &self.to_registry,
            hosts: self.hosts(destination),
            told: Arc::clone(&self.told),
        };
        let sink = sink.sink([names.reference.to_string()])?;
        let platforms = self.args.image.choice(Platform::host());
        let image = Request { source: found, names: Arc::new(names), platforms };
        let mut images = vec![image];
        if self.args.referrers {
            images.extend(self.referrers(&images[0], &sink, progress).await?);
        }
        Ok((images, sink))
    }

    /// What refers to what is copied of `image`.
    async fn referrers(
        &self,
        image: &Request,
        sink: &Arc<dyn Sink>,
        progress: &Progress,
    ) -> Result<Vec<Request>, Error> {
        let ends = [&self.args.source, &self.args.destination].map(Location::in_registry);
        let [Some(reference), Some(to)] = ends else { return Err(Error::ReferrersElsewhere) };
        let plan = transfer::survey(image, Arc::clone(sink), progress).await?;
        let mut subjects: Vec<Digest> = vec![sink.target(&image.names, &plan)];
        subjects.extend(plan.images.iter().map(|image| image.manifest.digest));
        let hosts = self.hosts(&self.args.source);
        let from = Repository { registry: &self.from_registry, hosts, reference };
        from.referrers(subjects, to).await
    }
}
