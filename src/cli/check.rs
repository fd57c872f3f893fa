//! `pullctl check`: whether the images in containerd are all there and right, and mending those that are
//! not.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use clap::{Args, ValueEnum};

use super::budget::Budget;
use super::findings::Findings;
use super::groups::{AccessArgs, DEFAULT_NAMESPACE};
use super::images::check_namespace;
use super::values::ByteCount;
use super::warned::Warned;
use super::{Error, Session};
use crate::check::{self, CheckOptions, Checkup, Finding, Lead, Origin, Remark, Report};
use crate::containerd::Client;
use crate::failure::{Diagnostic, Failure};
use crate::images::{self, StoredImage};
use crate::output::{Form, Options, Progress, ProgressMode, document};
use crate::progress::Sink;
use crate::registry::{Policy, Registry};
use crate::transfer::{RegistrySource, Source};

const CHECK_EXAMPLES: &str = "\
Examples:
  All images of the node, without reading their blobs:
    pullctl check

  After a loss of power: every byte, and every unpacked file:
    pullctl check --deep

  Mend what is wrong with one, by fetching what is missing:
    pullctl check --deep --repair registry.example/team/app:v1

Exit code 7 says that something is wrong, 0 that nothing is, or nothing any more.";

/// How often an image is looked at again after something was mended: an index leads to manifests, they
/// to blobs, those to snapshots.
const MAX_ROUNDS: usize = 6;

/// Most layers that are read at the same time where nobody says how much memory there is for them.
const MOST_LAYERS: usize = 8;

/// `pullctl check`.
#[derive(Debug, Args)]
#[command(after_long_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// Images by name, by name@sha256:… or by ID, of which the first 6 digits do [default: all of the
    /// namespace]
    #[arg(value_name = "REF")]
    pub references: Vec<String>,

    /// Read every byte, and compare every file of every unpacked layer with its archive
    #[arg(long)]
    pub deep: bool,

    /// Mend what is wrong: fetch what is missing or damaged, unpack it anew, write labels and names
    #[arg(long)]
    pub repair: bool,

    /// Form of the findings
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: CheckForm,

    /// Most memory to take, 64MiB or more: how many layers are read at the same time, and how far is fetched
    /// ahead, follow from it [default: what one layer for each processor needs, 8 at most, up to 208MiB]
    #[arg(long, value_name = "SIZE", value_parser = ByteCount::memory)]
    pub memory: Option<ByteCount>,

    /// How progress is shown on standard error
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub progress: ProgressMode,

    /// How registries are reached, as whom, and how requests travel.
    #[command(flatten)]
    pub access: AccessArgs,
}

impl CheckArgs {
    /// What it may hold in memory.
    pub(super) fn budget(&self) -> Budget {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        match self.memory {
            Some(memory) => Budget::new(Some(memory.0), processors),
            None => Budget::new(None, processors.min(MOST_LAYERS)),
        }
    }
}

/// Forms of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Looks at the images, and prints what is wrong.
///
/// # Errors
/// [`Error::AlreadyTold`] with [`Failure::Verification`] when something is wrong; the daemon's.
pub(super) async fn run(args: &CheckArgs, session: &Session<'_>) -> Result<(), Error> {
    let piped = args.access.piped_password(&[])?;
    let mut signals = session.catch_signals(None);
    let client = signals.or(session.connect()).await??;
    let options = Options { progress: args.progress, ..Options::default() };
    let progress = session.progress(options);
    let begun = async {
        let all = images::load(&client).await?;
        if all.is_empty() {
            check_namespace(&client).await?;
        }
        let chosen = chosen(args, &client, &all).await?;
        let way = match args.repair {
            true => Some(Way::new(args, &chosen, piped, &client, &progress, session).await?),
            false => None,
        };
        let options = CheckOptions {
            snapshotter: session.snapshotter(&client, None).await?,
            is_deep: args.deep,
            layers_at_once: session.budget.layers_at_once(),
            is_for_kubelet: client.namespace() == DEFAULT_NAMESPACE,
        };
        let told = Arc::clone(&progress) as Arc<dyn Sink>;
        let checkup = Checkup::new(client.clone(), options, told).await?;
        Ok::<_, Error>((Run { client: &client, way, all, failures: Vec::new() }, checkup, chosen))
    };
    let outcome = match signals.or(begun).await {
        Ok(Ok((mut run, mut checkup, chosen))) => {
            let reports = signals.or(run.all(&mut checkup, chosen)).await;
            // What it holds is of no use to the next one, whether it came to its end or was interrupted.
            checkup.close().await;
            reports.flatten().map(|reports| (reports, run.failures))
        }
        Ok(Err(error)) | Err(error) => Err(error),
    };
    let written = progress.finish();
    let (reports, failures) = outcome?;
    written?;
    let failures: Vec<_> = failures.iter().map(|failure| Diagnostic::of(failure)).collect();
    failures.iter().for_each(|failure| session.printer.diagnostic(failure));
    let is_sound = reports.iter().all(Report::is_sound);
    let form = match args.output {
        CheckForm::Text => Form::Text,
        CheckForm::Json => Form::Json,
    };
    let findings = Warned::of(Findings::new(client.namespace(), reports, failures), &progress);
    session.printer.out(&document(&findings, form))?;
    if is_sound { Ok(()) } else { Err(Error::AlreadyTold(Failure::Verification)) }
}

/// The images that are meant.
async fn chosen(
    args: &CheckArgs,
    client: &Client,
    all: &[StoredImage],
) -> Result<Vec<StoredImage>, Error> {
    if args.references.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen: Vec<StoredImage> = Vec::new();
    for text in &args.references {
        let Some(found) = images::lookup(all, text)? else {
            return Err(images::not_found(client, text).await?.into());
        };
        if !chosen.iter().any(|image| first_name(image) == first_name(found.image)) {
            chosen.push(found.image.clone());
        }
    }
    Ok(chosen)
}

fn first_name(image: &StoredImage) -> &str {
    image.names.first().map_or("", |name| name.name.as_str())
}

/// The way to the registries that images come from.
struct Way<'a> {
    args: &'a CheckArgs,
    node: crate::config::NodeConfig,
    registry: Registry,
    /// Where the images lead, each by its first name, as far as somebody has asked.
    leads: BTreeMap<String, Vec<Lead>>,
}

impl<'a> Way<'a> {
    async fn new(
        args: &'a CheckArgs,
        images: &[StoredImage],
        piped: Option<secrecy::SecretString>,
        client: &Client,
        progress: &Arc<Progress>,
        session: &Session<'_>,
    ) -> Result<Self, Error> {
        let node = args.access.registry.node(Some(client))?;
        progress.warn(node.warnings());
        let mut leads = BTreeMap::new();
        // Most images have nothing to be mended.
        for image in images.iter().filter(|_| args.access.registry.user.is_some()) {
            leads.insert(first_name(image).to_owned(), check::leads(client, image).await?);
        }
        // A login that was typed is for where the images came from.
        let named = leads.values().filter_map(|leads| leads.first()).map(|lead| &lead.reference);
        let logins = args.access.registry.node(Some(client))?;
        let keychain = args.access.registry.keychain(named, logins, piped).await?;
        let resolve = args.access.transport.resolve.clone();
        let policy = Policy { resolve, ..Policy::default() };
        let registry = session.registry(policy, keychain, progress)?;
        Ok(Self { args, node, registry, leads })
    }

    /// Where `image` leads.
    async fn leads(&self, client: &Client, image: &StoredImage) -> Result<Vec<Lead>, Error> {
        match self.leads.get(first_name(image)) {
            Some(leads) => Ok(leads.clone()),
            None => Ok(check::leads(client, image).await?),
        }
    }

    /// Those that may have what `leads` lead to.
    fn origins(&self, leads: &[Lead]) -> Result<Vec<Origin>, Error> {
        let mut origins = Vec::new();
        for Lead { reference, .. } in leads {
            let options = self.args.access.registry.host_options();
            let hosts = self.node.hosts(reference, &options)?.hosts;
            let source: Arc<dyn Source> =
                Arc::new(RegistrySource::new(&self.registry, hosts, reference));
            origins.push(Origin { reference: reference.clone(), source });
        }
        Ok(origins)
    }
}

/// That an image came from elsewhere than where its name leads.
fn other_name(leads: &[Lead]) -> Option<Remark> {
    let named = |is_source: bool| {
        let those = leads.iter().filter(|lead| lead.is_source == is_source);
        those.map(|lead| lead.reference.name()).collect::<Vec<_>>().join(", ")
    };
    let (sources, names) = (named(true), named(false));
    (!sources.is_empty() && !names.is_empty()).then(|| Remark {
        code: "came-from",
        what: format!("its content came from {sources}, which is asked before {names}"),
    })
}

/// One run.
struct Run<'a> {
    client: &'a Client,
    way: Option<Way<'a>>,
    all: Vec<StoredImage>,
    failures: Vec<crate::check::Error>,
}

impl Run<'_> {
    async fn all(
        &mut self,
        checkup: &mut Checkup,
        chosen: Vec<StoredImage>,
    ) -> Result<Vec<Report>, Error> {
        checkup.survey(&self.all).await?;
        let mut reports = Vec::new();
        let mut names: Vec<String> = chosen.iter().map(|it| first_name(it).to_owned()).collect();
        for image in chosen {
            reports.push(self.one(checkup, image).await?);
        }
        // Other images had what was removed to be made anew.
        if !checkup.discarded().is_empty() {
            for image in self.all.clone() {
                if names.iter().any(|name| name == first_name(&image)) {
                    continue;
                }
                names.push(first_name(&image).to_owned());
                let report = self.one(checkup, image).await?;
                if !report.findings.is_empty() {
                    reports.push(report);
                }
            }
        }
        Ok(reports)
    }

    /// Looks at an image, and mends it round by round, if that is wanted.
    async fn one(
        &mut self,
        checkup: &mut Checkup,
        mut image: StoredImage,
    ) -> Result<Report, Error> {
        let mut report = checkup.image(&image).await?;
        let mut found: Vec<Finding> = report.findings.clone();
        let (origins, remark) = match &self.way {
            Some(way) if !report.findings.is_empty() => {
                let leads = way.leads(self.client, &image).await?;
                (way.origins(&leads)?, other_name(&leads))
            }
            _ => return Ok(report),
        };
        for _ in 0..MAX_ROUNDS {
            if report.findings.is_empty() {
                break;
            }
            let failures = checkup.mend(&report, &origins).await;
            let has_failed = !failures.is_empty();
            self.failures.extend(failures);
            self.all = images::load(self.client).await?;
            checkup.survey(&self.all).await?;
            // What it consists of may be known by now.
            let name = first_name(&image).to_owned();
            let has_name = |it: &&StoredImage| it.names.iter().any(|known| known.name == name);
            if let Some(known) = self.all.iter().find(has_name) {
                image = known.clone();
            }
            report = checkup.image(&image).await?;
            let is_stuck = report.findings.len() == found.len()
                && report.findings.iter().all(|it| found.iter().any(|known| known.is_same(it)));
            let new: Vec<Finding> = report
                .findings
                .iter()
                .filter(|it| !found.iter().any(|known| known.is_same(it)))
                .cloned()
                .collect();
            found.extend(new);
            if has_failed || is_stuck {
                break;
            }
        }
        let is_left = |finding: &Finding| report.findings.iter().any(|it| it.is_same(finding));
        for finding in &mut found {
            finding.repaired = !is_left(finding);
        }
        report.findings = found;
        report.remarks.extend(remark);
        Ok(report)
    }
}
