//! From what was typed to what is done: reads files, variables and flags once, and yields typed
//! requests.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;

use super::args::{GlobalArgs, ImageArgs, PullArgs};
use super::registry_args::RegistryArgs;
use super::values::Login;
use super::{Error, prompt};
use crate::config::{
    Credential, Environment, Error as ConfigError, HostOptions, Keychain, NodeConfig, RegistryHost,
    Warning,
};
use crate::failure::Diagnose;
use crate::platform::{Matcher, Platform};
use crate::reference::Reference;
use crate::registry::Policy;
use crate::transfer::{PlatformChoice, PullRequest};

/// What containerd's own clients use when nobody says anything.
const DEFAULT_SNAPSHOTTER: &str = "overlayfs";

/// Longest list of images that is read, in bytes (1 MiB): a few thousand references. Something
/// longer is no list.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// What the name `-` stands for in `-f -`.
const STANDARD_INPUT: &str = "-";

/// Every image named on the command line and in lists, each once, in order.
///
/// # Errors
/// The first that is no reference, or a list that can't be read.
pub(super) fn references(args: &PullArgs) -> Result<Vec<Reference>, Box<dyn Diagnose>> {
    let mut references = Vec::new();
    for text in &args.references {
        references.push(text.parse::<Reference>().map_err(boxed)?);
    }
    for path in &args.file {
        references.extend(read_list(path).map_err(boxed)?);
    }
    let mut seen = HashSet::new();
    references.retain(|reference| seen.insert(reference.clone()));
    if references.is_empty() { Err(boxed(Error::NoImages)) } else { Ok(references) }
}

fn boxed(error: impl Diagnose + 'static) -> Box<dyn Diagnose> {
    Box::new(error)
}

fn read_list(path: &Path) -> Result<Vec<Reference>, Error> {
    let failed = |source| Error::List { path: path.to_owned(), source };
    let mut text = String::new();
    let input: Box<dyn io::Read> = if path == Path::new(STANDARD_INPUT) {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    input.take(MAX_LIST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_LIST_BYTES {
        return Err(failed(io::Error::other("longer than 1 MiB")));
    }
    parse_list(path, &text)
}

fn parse_list(path: &Path, text: &str) -> Result<Vec<Reference>, Error> {
    text.lines()
        .enumerate()
        // No reference holds a space, so what follows ` #` is a comment too.
        .map(|(position, line)| (position + 1, line.split(" #").next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| {
            text.parse().map_err(|source| Error::ListLine { path: path.to_owned(), line, source })
        })
        .collect()
}

/// What this node has configured about registries, as far as `args` wants it read.
///
/// # Errors
/// A file that cannot be read or obeyed.
pub(super) fn node(args: &RegistryArgs) -> Result<NodeConfig, ConfigError> {
    let locations = args.hosts.locations(args.auth_file.as_ref());
    NodeConfig::read(&locations, &Environment::of_process())
}

/// One request a reference, and what in the configuration of their hosts looks wrong.
///
/// # Errors
/// A file that cannot be obeyed: no image is pulled from elsewhere than its owner wants.
pub(super) fn requests(
    args: &PullArgs,
    references: Vec<Reference>,
    node: &NodeConfig,
) -> Result<(Vec<PullRequest>, Vec<Warning>), ConfigError> {
    let options = host_options(&args.registry);
    let mut warnings = node.warnings();
    let mut requests = Vec::new();
    for reference in references {
        let found = node.hosts(&reference, &options)?;
        warnings.extend(found.warnings);
        requests.push(request(args, reference, found.hosts));
    }
    // Images of one registry have its warnings in common.
    let mut seen = HashSet::new();
    warnings.retain(|warning| seen.insert(warning.to_string()));
    Ok((requests, warnings))
}

fn request(args: &PullArgs, reference: Reference, hosts: Vec<RegistryHost>) -> PullRequest {
    let labels = args.destination.labels.iter();
    PullRequest {
        hosts,
        reference,
        platforms: platforms(&args.image, Platform::host()),
        pin: args.destination.pin,
        labels: labels.map(|label| (label.key.clone(), label.value.clone())).collect(),
    }
}

/// What the flags say about hosts.
pub(super) fn host_options(args: &RegistryArgs) -> HostOptions {
    HostOptions { plain_http: args.plain_http, skip_verify: args.skip_verify }
}

fn platforms(args: &ImageArgs, host: Platform) -> PlatformChoice {
    if args.all_platforms {
        PlatformChoice::All { host }
    } else if args.platform.is_empty() {
        PlatformChoice::Host(host)
    } else {
        let matcher = Matcher::default_for(&host);
        let mut wanted = args.platform.clone();
        wanted.sort_by_key(|platform| matcher.rank(platform).unwrap_or(usize::MAX));
        PlatformChoice::Strict(wanted)
    }
}

/// Who to be towards registries: `-u` counts for the images' own registry, which must be one; the
/// node's logins for every host.
///
/// # Errors
/// [`Error::SeveralRegistries`], [`Error::NoUser`], or the password can't be asked for.
pub(super) async fn keychain(
    login: Option<&Login>,
    requests: &[PullRequest],
    node: NodeConfig,
) -> Result<Arc<Keychain>, Error> {
    let typed = typed_login(login, requests).await?;
    Ok(Arc::new(node.with_logins(typed)))
}

async fn typed_login(login: Option<&Login>, requests: &[PullRequest]) -> Result<Keychain, Error> {
    let (Some(login), Some(first)) = (login, requests.first()) else {
        return Ok(Keychain::default());
    };
    if login.username.is_empty() {
        return Err(Error::NoUser);
    }
    let domain = first.reference.domain();
    if let Some(other) = requests.iter().find(|request| request.reference.domain() != domain) {
        let other = other.reference.domain().to_owned();
        return Err(Error::SeveralRegistries(domain.to_owned(), other));
    }
    let password = match &login.password {
        Some(password) => password.clone(),
        None => ask_password(&login.username, domain).await?,
    };
    let credential = Credential::Basic { username: login.username.clone(), password };
    Ok(Keychain::from_command_line(domain.to_owned(), credential))
}

async fn ask_password(username: &str, domain: &str) -> Result<SecretString, Error> {
    prompt::password(username, domain)
        .await
        .map_err(|source| Error::Password { username: username.to_owned(), source })
}

/// The snapshotter as typed, else the one that containers of the kubelet are started from, as far as
/// the daemon or its configuration tells.
pub(super) fn snapshotter(
    global: &GlobalArgs,
    daemons: Option<String>,
    configured: Option<String>,
) -> String {
    let typed = global.snapshotter().map(str::to_owned);
    typed.or(daemons).or(configured).unwrap_or_else(|| DEFAULT_SNAPSHOTTER.to_owned())
}

/// What the run may spend.
pub(super) fn policy(args: &PullArgs) -> Policy {
    let defaults = Policy::default();
    let download = &args.download;
    Policy {
        retries: download.retries,
        timeout: download.timeout,
        stall_timeout: download.stall_timeout,
        chunk_bytes: download.chunk_size.map_or(defaults.chunk_bytes, |size| size.0),
        long_chunk_bytes: download.chunk_size.map_or(defaults.long_chunk_bytes, |size| size.0),
        min_speed: download.min_speed.map(|speed| speed.0),
        limit_rate: download.limit_rate.map(|speed| speed.0),
        resolve: args.transport.resolve.clone(),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::Cli;
    use super::*;

    #[test]
    fn the_snapshotter_is_the_one_typed_then_the_daemons_then_the_configured_one() {
        let [daemons, configured] = ["daemons", "configured"].map(|name| Some(name.to_owned()));
        let chosen = |arguments: &[&str], daemons: &Option<String>, configured: &Option<String>| {
            let arguments = [&["pullctl", "images"], arguments].concat();
            let global = Cli::try_parse_from(arguments).unwrap().global;
            snapshotter(&global, daemons.clone(), configured.clone())
        };
        assert_eq!(chosen(&["--snapshotter", "typed"], &daemons, &configured), "typed");
        assert_eq!(chosen(&[], &daemons, &configured), "daemons");
        assert_eq!(chosen(&[], &None, &configured), "configured");
        assert_eq!(chosen(&[], &None, &None), "overlayfs");
    }

    #[test]
    fn a_list_may_have_blank_lines_and_comments() {
        let text = "\n# for kubeadm\nregistry.k8s.io/pause:3.6  # sandbox\n\tbusybox\n";
        let names: Vec<_> =
            parse_list(Path::new("list"), text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["registry.k8s.io/pause:3.6", "docker.io/library/busybox:latest"]);
    }

    #[test]
    fn a_bad_line_of_a_list_is_named() {
        let error = parse_list(Path::new("list"), "busybox\nBad/Name:x y\n").unwrap_err();
        assert!(error.to_string().starts_with("list:2: "), "{error}");
        assert_eq!(error.failure(), crate::failure::Failure::Usage);
    }
}
