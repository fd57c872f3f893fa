//! `pullctl copy`: an image from one place to another.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::groups::{AccessArgs, ImageArgs, Located, OutputArgs, UploadArgs};
use super::location::Location;
use super::recipe::{self, Work};
use super::{Error, Session};
use crate::archive::{ArchiveImage, GivenName, Opened, Target, Wrapping};
use crate::containerd::{self, Client};
use crate::layout::{Entry, Layout};
use crate::oci::ManifestKind;
use crate::output::{Options, Progress};
use crate::platform::Platform;
use crate::progress::{self, Verb};
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{
    self, ArchiveSink, ArchiveSource, ContainerdSink, ContainerdSource, LayoutSink, LayoutSource,
    Names, PlatformChoice, RegistrySink, RegistrySource, Request, Sink, Source, UnpackOptions,
};
use crate::unpack::Way;

const COPY_EXAMPLES: &str = "\
Examples:
  From one registry to another, with all platforms and attestations:
    pullctl copy --all-platforms docker.io/library/busybox:1.36 harbor.example.net/hub/busybox:1.36

  What docker has built, to where Kubernetes looks:
    pullctl copy containerd://moby/docker.io/team/app:v1 containerd://k8s.io/docker.io/team/app:v1

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
    /// What refers to the image as well, from registry to registry: signatures, SBOMs, and the tags of
    /// cosign
    #[arg(long, requires = "all_platforms", help_heading = "Image")]
    pub referrers: bool,

    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
    /// How blobs are sent.
    #[command(flatten)]
    pub upload: UploadArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Copies what `args` name.
///
/// # Errors
/// [`Error::AlreadyTold`] when the image failed; everything else ends the run before it is begun.
pub(super) async fn run(args: &CopyArgs, session: &Session<'_>) -> Result<(), Error> {
    let piped = args.access.piped_password(&[])?;
    // What was read so far can't be given up: there signals end the process.
    let mut signals = session.catch_signals(Some(REPEAT));
    let from = signals.or(daemon_of(&args.source, session)).await??;
    let to = signals.or(daemon_of(&args.destination, session)).await??;
    let node = args.access.registry.node(from.as_ref().or(to.as_ref()))?;
    let configured = node.containerd.as_ref().and_then(|config| config.snapshotter.clone());
    let places = [&args.source, &args.destination];
    let named: Vec<Reference> =
        places.into_iter().filter_map(Location::in_registry).cloned().collect();
    let (located, notices) = args.access.registry.locate(named.clone(), &node)?;
    let keychain = signals.or(args.access.registry.keychain(named.iter(), node, piped)).await??;

    let progress = session.progress(Options { verb: Verb::Copy, ..args.output.options() });
    progress.warn(notices);
    let work = async {
        let registry =
            session.registry(args.upload.policy(&args.access.transport), keychain, &progress)?;
        let beside = from.clone();
        let ends = Ends { registry, located, beside, progress: Arc::clone(&progress) };
        let (source, name) = ends.source(&args.source, from).await?;
        let names = Names::new(destination_name(&args.destination, name)?);
        let sink = ends.sink(&args.destination, to, &names, configured, session).await?;
        let platforms = args.image.choice(Platform::host());
        let mut images = vec![Request { source, names: Arc::new(names), platforms }];
        if args.referrers {
            images.extend(ends.referrers(&args.source, &args.destination).await?);
        }
        Ok(Work { images, sink, concurrency: args.upload.concurrency, is_whole: false })
    };
    recipe::carry_out(work, &progress, &mut signals).await
}

/// The daemon, where `place` is in one.
async fn daemon_of(
    place: &Location,
    session: &Session<'_>,
) -> Result<Option<Client>, containerd::Error> {
    match place {
        Location::Containerd { namespace, .. } => {
            session.connect_to(namespace.as_deref()).await.map(Some)
        }
        Location::Registry(_) | Location::Layout { .. } | Location::Archive { .. } => Ok(None),
    }
}

/// What the image is to be called at `place`, which is called `name` where it comes from.
fn destination_name(place: &Location, name: Option<Reference>) -> Result<Reference, Error> {
    match place {
        Location::Registry(reference) | Location::Containerd { reference, .. } => {
            Ok(reference.clone())
        }
        Location::Layout { tag, .. } | Location::Archive { name: tag, .. } => {
            // A bare tag is no name.
            let typed = tag.as_deref().filter(|tag| tag.contains('/'));
            let typed = typed.and_then(|tag| tag.parse().ok());
            typed.or(name).ok_or(Error::NoDestinationName)
        }
    }
}

/// What both ends of a copy are made with.
struct Ends {
    registry: Registry,
    /// The hosts of those that are in registries.
    located: Vec<Located>,
    /// The namespace that the image comes from, if it is in one.
    beside: Option<Client>,
    progress: Arc<Progress>,
}

impl Ends {
    fn hosts(&self, reference: &Reference) -> Vec<crate::config::RegistryHost> {
        let found = self.located.iter().find(|located| located.reference == *reference);
        found.map(|located| located.hosts.clone()).unwrap_or_default()
    }

    fn told(&self) -> Arc<dyn progress::Sink> {
        Arc::clone(&self.progress) as Arc<dyn progress::Sink>
    }

    /// The image at `place`, and the whole name that it has there.
    async fn source(
        &self,
        place: &Location,
        client: Option<Client>,
    ) -> Result<(Arc<dyn Source>, Option<Reference>), Error> {
        match (place, client) {
            (Location::Registry(reference), _) => {
                let hosts = self.hosts(reference);
                let source = RegistrySource::new(&self.registry, hosts, reference);
                Ok((Arc::new(source), Some(reference.clone())))
            }
            (Location::Containerd { name, reference, .. }, Some(client)) => {
                let name = super::push::stored_name(&client, name, reference).await?;
                let source = ContainerdSource::new(client, name, self.told());
                Ok((Arc::new(source), Some(reference.clone())))
            }
            (Location::Layout { directory, tag }, _) => self.laid_out(directory, tag).await,
            (Location::Archive { file, name, .. }, _) => self.archived(file, name.as_deref()),
            (Location::Containerd { .. }, None) => Err(transfer::Error::Closed.into()),
        }
    }

    /// The image of the layout in `directory` that `tag` means, and the whole name that it has there.
    async fn laid_out(
        &self,
        directory: &Path,
        tag: &Option<String>,
    ) -> Result<(Arc<dyn Source>, Option<Reference>), Error> {
        let layout = Layout::open(directory).map_err(transfer::Error::from)?;
        let entries = layout.entries().await.map_err(transfer::Error::from)?;
        let names = |entry: &Entry| {
            [entry.full_name(), entry.reference_name()].map(|name| name.map(str::to_owned))
        };
        let tagged = |entry: &&Entry| match tag {
            Some(tag) => entry.reference_name() == Some(tag),
            None => true,
        };
        let called = |entry: &&Entry| names(entry).contains(tag);
        let mut meant: Vec<_> = entries.iter().filter(tagged).collect();
        if meant.is_empty() {
            meant = entries.iter().filter(called).collect();
        }
        let [entry] = meant.as_slice() else {
            let listed = entries.iter().flat_map(|entry| names(entry).into_iter().flatten());
            let mut listed: Vec<String> = listed.collect();
            listed.dedup();
            let place = directory.to_owned();
            return Err(Error::NotOneImage { place, tag: tag.clone(), listed });
        };
        // A bare tag is no name.
        let whole = names(entry).into_iter().flatten().find(|name| name.contains('/'));
        let source = LayoutSource::new(layout, entry.target.clone(), self.told());
        Ok((Arc::new(source), whole.and_then(|name| name.parse().ok())))
    }

    /// The image of the archive `file` that `name` means, and the whole name that it has there.
    fn archived(
        &self,
        file: &Path,
        name: Option<&str>,
    ) -> Result<(Arc<dyn Source>, Option<Reference>), Error> {
        let opened = Opened::at(file).map_err(transfer::Error::from)?;
        // What can be read once only is for `load`.
        let Opened::File(archive) = opened else { return Err(Error::NoFile(file.to_owned())) };
        let is_meant = |image: &&ArchiveImage| match name {
            Some(name) => image.names.iter().any(|known| is_called(known, name)),
            None => true,
        };
        let meant: Vec<&ArchiveImage> = archive.images().iter().filter(is_meant).collect();
        let [image] = meant.as_slice() else {
            let listed = archive.images().iter().flat_map(|image| &image.names);
            let listed = listed.map(ToString::to_string).collect();
            let (place, tag) = (file.to_owned(), name.map(str::to_owned));
            return Err(Error::NotOneImage { place, tag, listed });
        };
        let full = image.names.iter().find_map(|name| match name {
            GivenName::Full(name) => name.parse().ok(),
            GivenName::Tag(_) => None,
        });
        let source = ArchiveSource::new(archive.clone(), image.target.clone(), self.told());
        Ok((Arc::new(source), full))
    }

    /// What refers to the image at `from`, to be brought to `to`.
    async fn referrers(&self, from: &Location, to: &Location) -> Result<Vec<Request>, Error> {
        let (Some(from), Some(to)) = (from.in_registry(), to.in_registry()) else {
            return Err(Error::ReferrersElsewhere);
        };
        let repository = self.registry.repository(self.hosts(from), from);
        let resolved = repository.resolve().await?;
        let bytes = match resolved.body {
            Some(bytes) => bytes,
            None => repository.manifest(&resolved.descriptor).await?,
        };
        let mut subjects = vec![resolved.descriptor.digest];
        if let Ok(ManifestKind::Index(index)) =
            ManifestKind::parse(&resolved.descriptor.media_type, &bytes)
        {
            subjects.extend(index.manifests.iter().map(|entry| entry.digest));
        }
        let tags = repository.tags().await?;
        let mut names = Vec::new();
        for subject in subjects {
            for referrer in repository.referrers(subject).await? {
                names.push(format!("@{}", referrer.digest));
            }
            let stands_for = format!("{}.", subject.to_string().replace(':', "-"));
            let cosigns = tags.iter().filter(|tag| tag.starts_with(&stands_for));
            names.extend(cosigns.map(|tag| format!(":{tag}")));
        }
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names.iter().map(|name| self.referrer(from, to, name)).collect()
    }

    /// `name`, `@sha256:…` or `:tag`, from one repository to the other.
    fn referrer(&self, from: &Reference, to: &Reference, name: &str) -> Result<Request, Error> {
        let source: Reference = format!("{}{name}", from.name()).parse()?;
        let names = Names::new(format!("{}{name}", to.name()).parse()?);
        let source = RegistrySource::new(&self.registry, self.hosts(from), &source);
        let platforms = PlatformChoice::AsItIs;
        Ok(Request { source: Arc::new(source), names: Arc::new(names), platforms })
    }

    /// Where the image goes that is to be called so.
    async fn sink(
        &self,
        place: &Location,
        client: Option<Client>,
        names: &Names,
        configured: Option<String>,
        session: &Session<'_>,
    ) -> Result<Arc<dyn Sink>, Error> {
        match (place, client) {
            (Location::Registry(reference), _) => {
                let hosts = self.hosts(reference);
                Ok(Arc::new(RegistrySink::new(&self.registry, hosts, reference)?))
            }
            (Location::Containerd { .. }, Some(client)) => {
                let unpack = UnpackOptions {
                    snapshotter: session.snapshotter(&client, configured).await?,
                    way: Way::Auto,
                    max_bytes: None,
                    beside: self.beside.clone(),
                };
                let images = [names.reference.to_string()];
                Ok(Arc::new(ContainerdSink::new(client, Some(unpack), images, self.told())))
            }
            (Location::Layout { directory, tag }, _) => {
                let layout = Layout::create(directory).map_err(transfer::Error::from)?;
                Ok(Arc::new(LayoutSink::new(layout).called(tag.clone())))
            }
            (Location::Archive { file, form, .. }, _) => {
                let target = Target::of(file).map_err(transfer::Error::from)?;
                Ok(Arc::new(ArchiveSink::new(target, *form, Wrapping::None)))
            }
            (Location::Containerd { .. }, None) => Err(transfer::Error::Closed.into()),
        }
    }
}

/// Whether `name` is what was typed: as it stands, or the same written out.
fn is_called(name: &GivenName, typed: &str) -> bool {
    let written_out = |text: &str| text.parse::<Reference>().ok();
    match name {
        GivenName::Tag(tag) => tag == typed,
        GivenName::Full(full) => {
            full == typed || written_out(full).is_some_and(|full| written_out(typed) == Some(full))
        }
    }
}
