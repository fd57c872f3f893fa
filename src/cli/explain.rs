//! `pullctl explain`: says what a pull would do. Asks no registry.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use serde::Serialize;

use super::args::GlobalArgs;
use super::explanation::{Containerd, Explanation, HostExplanation};
use super::registry_args::{ExplainArgs, ExplainForm};
use super::{connect, fail, settings};
use crate::config::{Credential, Error as ConfigError, Keychain, NodeConfig, Source, Warning};
use crate::containerd::Client;
use crate::failure::{Diagnose, Failure};
use crate::output::{Diagnostic, Printer};
use crate::platform::Platform;
use crate::progress::{Event, Sink};
use crate::reference::{Reference, ReferenceError};
use crate::registry::{Error as RegistryError, Policy, Registry};

/// Why a pull would do nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Reference(error) => error.failure(),
            Self::Config(error) => error.failure(),
            Self::Registry(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Registry(error) => error.hint(),
        }
    }
}

/// Prints the explanation, or in its place and form the error that a pull would end with.
pub(super) async fn run(
    global: &GlobalArgs,
    args: &ExplainArgs,
    printer: &Printer,
) -> Option<Failure> {
    let (text, failure) = match (explain(global, args).await, args.output) {
        (Ok(explanation), ExplainForm::Text) => (explanation.to_string(), None),
        (Ok(explanation), ExplainForm::Json) => (json(&explanation), None),
        (Err(error), ExplainForm::Text) => return fail(printer, &error),
        (Err(error), ExplainForm::Json) => (json(&Refusal::of(&error)), Some(error.failure())),
    };
    match printer.out(&text) {
        Ok(()) => failure,
        Err(error) => fail(printer, &error),
    }
}

async fn explain(global: &GlobalArgs, args: &ExplainArgs) -> Result<Explanation, Error> {
    let reference: Reference = args.reference.parse()?;
    let node = settings::node(&args.registry)?;
    let found = node.hosts(&reference, &settings::host_options(&args.registry))?;
    let mut warnings = node.warnings();
    warnings.extend(found.warnings);
    // No daemon is needed: what is said about registries counts without one.
    let containerd = match connect(global).await.ok() {
        Some(client) => {
            warnings.extend(other_daemon(&client, &node).await);
            Some(containerd(global, &client, &node).await)
        }
        None => None,
    };
    let keychain = Arc::new(node.with_logins(typed_login(args, &reference)));
    let registry = Registry::new(Policy::default(), Arc::clone(&keychain), Arc::new(Nobody))?;
    registry.repository(found.hosts.clone(), &reference).check()?;
    let mut hosts = Vec::new();
    for host in &found.hosts {
        let login = keychain.find(host, &host.repository(&reference)).await;
        hosts.push(HostExplanation::of(host, &reference, login));
    }
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    Ok(Explanation::new(&args.reference, &reference, &platform, hosts, containerd, warnings))
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
async fn containerd(global: &GlobalArgs, client: &Client, node: &NodeConfig) -> Containerd {
    let status = client.cri().status().await.ok().flatten().unwrap_or_default();
    let configured = node.containerd.as_ref();
    let snapshotter = configured.and_then(|config| config.snapshotter.clone());
    Containerd {
        address: client.address().display().to_string(),
        namespace: global.namespace().to_owned(),
        snapshotter: settings::snapshotter(global, status.snapshotter, snapshotter),
        sandbox_image: status
            .sandbox_image
            .or_else(|| configured.and_then(|config| config.sandbox_image.clone())),
    }
}

/// A warning if the configuration that was read is not that of the daemon.
async fn other_daemon(client: &Client, node: &NodeConfig) -> Option<Warning> {
    let config = node.containerd.as_ref()?;
    let content = client.introspection().content_root().await.ok().flatten()?;
    config.of_another_daemon(&content)
}

/// An error as JSON.
#[derive(Debug, Serialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Debug, Serialize)]
struct RefusalBody {
    code: &'static str,
    message: String,
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl Refusal {
    fn of(error: &Error) -> Self {
        let place = match error {
            Error::Config(error) => {
                error.location().map(|location| (location.path.clone(), location.line))
            }
            Error::Registry(RegistryError::Setup {
                settings: Source::File(path, line), ..
            }) => Some((path.clone(), *line)),
            Error::Registry(_) | Error::Reference(_) => None,
        };
        let (file, line) = place.unzip();
        let diagnostic = Diagnostic::of(error);
        Self {
            error: RefusalBody {
                code: error.failure().code(),
                message: diagnostic.one_line(),
                hint: diagnostic.hint().map(str::to_owned),
                file,
                line,
            },
        }
    }
}

/// One line of JSON. What is printed here has no member that could not be.
fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}
