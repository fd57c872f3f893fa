//! `pullctl explain`: says what a pull would do. Asks no registry, unless it is to probe them.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use super::explanation::{Containerd, Explanation, HostExplanation, Refusal};
use super::groups::{ProbeArgs, RegistryArgs};
use super::values::platform;
use super::{Error, Session, prompt};
use crate::config::{Credential, Keychain, NodeConfig, RegistryHost};
use crate::containerd::{Client, Error as Unreachable};
use crate::failure::{Diagnose as _, Notice};
use crate::images::{PlatformChoice, entry_for};
use crate::oci::Descriptor;
use crate::output::{Form, document};
use crate::platform::Platform;
use crate::progress::{Event, Sink};
use crate::reference::Reference;
use crate::registry::{Probe, ProxyChoice, Registry, Repository, proxy_of};

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  Which mirror, certificate and login apply, and which file says so:
    pullctl explain docker.io/library/busybox

  With settings that are not in place yet:
    pullctl explain --hosts-dir ./certs.d busybox

  Why does it fail: every host, step by step, and the one thing to change:
    pullctl explain --probe registry.example/team/app:1

Without --probe no registry is asked. With it the exit code is that of the pull.";

/// `pullctl explain`.
#[derive(Debug, Args)]
#[command(after_long_help = EXPLAIN_EXAMPLES)]
pub struct ExplainArgs {
    /// Image, as for pull
    #[arg(value_name = "REF")]
    pub reference: String,

    /// Form of the explanation
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: ExplainForm,

    /// Platform, os/architecture[/variant] [default: what this machine runs best]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    pub platform: Option<Platform>,

    /// How registries are reached.
    #[command(flatten)]
    pub registry: RegistryArgs,

    /// Read the password for -u from standard input
    #[arg(long, requires_all = ["user", "probe"], help_heading = "Registry")]
    pub password_stdin: bool,

    /// Whether they are asked.
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// Forms of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExplainForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Prints the explanation, or in its place and form the error that a pull would end with.
///
/// # Errors
/// That error.
pub(super) async fn run(args: &ExplainArgs, session: &Session<'_>) -> Result<(), Error> {
    let form = match args.output {
        ExplainForm::Text => Form::Text,
        ExplainForm::Json => Form::JsonLine,
    };
    match explain(args, session).await {
        Ok(explanation) => {
            session.printer.out(&document(&explanation, form))?;
            match explanation.failure() {
                None => Ok(()),
                Some(failure) => Err(Error::AlreadyTold(failure)),
            }
        }
        Err(error) if form == Form::Text => Err(error),
        Err(error) => {
            session.printer.out(&document(&Refusal::of(&error), form))?;
            Err(Error::AlreadyTold(error.failure()))
        }
    }
}

async fn explain(args: &ExplainArgs, session: &Session<'_>) -> Result<Explanation, Error> {
    let reference: Reference = args.reference.parse()?;
    // No daemon is needed: what is said about registries counts without one.
    let client = match session.connect().await {
        // One that is there and silent is no absence: a pull would end with it.
        Err(silent @ Unreachable::Unresponsive { .. }) => return Err(silent.into()),
        connected => connected.ok(),
    };
    let node = args.registry.node(client.as_ref())?;
    let found = node.hosts(&reference, &args.registry.host_options())?;
    let mut warnings = node.warnings();
    warnings.extend(found.warnings);
    let containerd = match &client {
        Some(client) => {
            warnings.extend(other_daemon(client, &node).await);
            Some(containerd(client, &node, session).await)
        }
        None => None,
    };
    let keychain = Arc::new(match args.probe.probe {
        true => {
            args.registry.keychain([&reference].into_iter(), node, piped_password(args)?).await?
        }
        false => node.with_logins(typed_login(args, &reference)),
    });
    let policy = args.probe.policy();
    let registry = Registry::new(policy, Arc::clone(&keychain), Arc::new(Nobody))?;
    let repository = registry.repository(found.hosts.clone(), &reference);
    repository.check()?;
    let mut hosts = Vec::new();
    for host in &found.hosts {
        let logins = keychain.all(host, &host.repository(&reference)).await;
        let proxy = proxy(host)?;
        hosts.push(HostExplanation::of(host, &reference, proxy, logins));
    }
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let probe = match args.probe.probe {
        true => Some(probe(args, &repository, session).await?),
        false => None,
    };
    let explanation =
        Explanation::new(&args.reference, &reference, &platform, hosts, containerd, warnings);
    Ok(explanation.with_probe(probe))
}

/// Asks all hosts, for the platform that a pull would choose.
async fn probe(
    args: &ExplainArgs,
    repository: &Repository,
    session: &Session<'_>,
) -> Result<Probe, Error> {
    let choice = match &args.platform {
        Some(platform) => PlatformChoice::Strict(vec![platform.clone()]),
        None => PlatformChoice::Host(Platform::host()),
    };
    let choose =
        |entries: &[Descriptor]| entry_for(entries, &choice).map_err(|error| error.to_string());
    Ok(session.patiently("the registries", repository.probe(&choose)).await?)
}

/// The password that `--password-stdin` stands for.
fn piped_password(args: &ExplainArgs) -> Result<Option<SecretString>, Error> {
    match args.password_stdin {
        true if args.registry.has_typed_password() => Err(Error::PasswordTwice),
        true => prompt::piped_password().map(Some),
        false => Ok(None),
    }
}

/// The proxy by which `host` would be asked.
///
/// # Errors
/// When a variable holds no proxy's URL.
fn proxy(host: &RegistryHost) -> Result<Option<ProxyChoice>, Error> {
    match format!("{}://{}", host.scheme, host.authority).parse() {
        Ok(url) => Ok(proxy_of(&url)?),
        // No request could be made of it, and none asks for a proxy.
        Err(_) => Ok(None),
    }
}

/// Nothing is pulled, so nobody has to be told how it goes.
struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: Event) {}
}

/// What `-u` names. The password is nobody's business here, so it is not asked for.
fn typed_login(args: &ExplainArgs, reference: &Reference) -> Keychain {
    let Some(login) = &args.registry.user else { return Keychain::default() };
    let password = SecretString::default();
    let credential = Credential::Basic { username: login.username.clone(), password };
    Keychain::from_command_line(reference.domain().to_owned(), credential)
}

/// The daemon that a pull would import into. What it does not tell, its configuration does.
async fn containerd(client: &Client, node: &NodeConfig, session: &Session<'_>) -> Containerd {
    let status = client.cri().status().await.ok().flatten().unwrap_or_default();
    let configured = node.containerd.as_ref();
    let snapshotter = configured.and_then(|config| config.snapshotter.clone());
    Containerd {
        address: client.address().display().to_string(),
        namespace: session.global.namespace().to_owned(),
        snapshotter: session.global.snapshotter_or(status.snapshotter, snapshotter),
        sandbox_image: status
            .sandbox_image
            .or_else(|| configured.and_then(|config| config.sandbox_image.clone())),
    }
}

/// A warning if the configuration that was read is not that of the daemon.
async fn other_daemon(client: &Client, node: &NodeConfig) -> Option<Notice> {
    let config = node.containerd.as_ref()?;
    let content = client.introspection().content_root().await.ok().flatten()?;
    config.of_another_daemon(&content)
}
