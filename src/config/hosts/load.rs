//! From a host directory to the hosts that a pull asks, in order.

use std::path::{Path, PathBuf, absolute};

use crate::config::authority::DOCKER_HUB_REGISTRY;
use crate::config::document::{Document, Setting, Table};
use crate::config::error::Error;
use crate::config::warning::{Warning, WarningKind};
use crate::reference::Reference;

use super::configure::{configure, configure_own};
use super::defaults::{HostOptions, own_registry};
use super::host::{RegistryHost, Source};
use super::settings::{self, HostSettings};
use super::url::HostUrl;
use super::{certificates, directory};

/// The file that configures a registry host, in its directory.
const HOSTS_FILE: &str = "hosts.toml";

/// The hosts of one image, and what in their configuration looks wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HostsConfig {
    /// In the order in which a pull tries them; never empty.
    pub hosts: Vec<RegistryHost>,
    /// What was not understood.
    pub warnings: Vec<Warning>,
}

/// The hosts to ask for `reference`, after the first of `directories` that knows its registry:
/// a `hosts.toml`, or docker's layout of certificates. Where none does, as [`super::defaults`].
///
/// # Errors
/// [`Error`] for a file that cannot be obeyed as a whole. containerd would go on to the registry
/// itself; here a slip of the pen in a mirror's file never sends a pull past the mirror.
pub fn load(
    directories: &[PathBuf],
    reference: &Reference,
    options: &HostOptions,
) -> Result<HostsConfig, Error> {
    load_domain(directories, reference.domain(), options)
}

pub(super) fn load_domain(
    directories: &[PathBuf],
    domain: &str,
    options: &HostOptions,
) -> Result<HostsConfig, Error> {
    match directory::find(directories, domain)? {
        Some(directory) => load_directory(&directory, domain, options),
        None => {
            Ok(HostsConfig { hosts: vec![own_registry(domain, options)], warnings: Vec::new() })
        }
    }
}

/// The hosts for `domain` as `directory` says, which is its own or the default one.
pub(in crate::config) fn load_directory(
    directory: &Path,
    domain: &str,
    options: &HostOptions,
) -> Result<HostsConfig, Error> {
    let directory = absolute(directory)
        .map_err(|source| Error::Unreadable { path: directory.to_owned(), source })?;
    match Document::read(&directory.join(HOSTS_FILE))? {
        Some(document) if !document.is_empty() => {
            HostsFile { document: &document, directory: &directory, domain, options }.read()
        }
        _ => from_certificates(&directory, domain, options),
    }
}

fn from_certificates(
    directory: &Path,
    domain: &str,
    options: &HostOptions,
) -> Result<HostsConfig, Error> {
    let (settings, warnings) = certificates::read(directory)?;
    let first_file = settings.ca.first().or(settings.client.first().map(|client| &client.cert));
    let source = first_file.map_or(Source::Default, |file| Source::File(file.clone(), 1));
    let host = configure_own(domain, options, settings, source);
    Ok(HostsConfig { hosts: vec![host], warnings })
}

/// A hosts.toml, and what it is read for.
struct HostsFile<'a> {
    document: &'a Document,
    directory: &'a Path,
    domain: &'a str,
    options: &'a HostOptions,
}

impl HostsFile<'_> {
    fn read(&self) -> Result<HostsConfig, Error> {
        let tree = self.document.parse()?;
        let root = Table::root(self.document, &tree);
        let mut config = HostsConfig::default();
        let mut known = vec!["server", "host"];
        known.extend(settings::KNOWN);
        config.warnings.extend(root.unknown_settings(&known));
        if let Some(hosts) = root.get("host") {
            let mut hosts: Vec<Setting<'_>> = hosts.table()?.settings().collect();
            hosts.sort_by_cached_key(Setting::first_mention);
            for host in hosts {
                self.add_host(&host, &mut config)?;
            }
        }
        self.add_server(&root, &mut config)?;
        Ok(config)
    }

    /// A `[host."…"]` table.
    fn add_host(&self, host: &Setting<'_>, config: &mut HostsConfig) -> Result<(), Error> {
        let table = host.table()?;
        config.warnings.extend(table.unknown_settings(&settings::KNOWN));
        let url = HostUrl::of_name(host)?;
        let settings = HostSettings::read(&table, self.directory)?;
        self.add(url, settings, host, config);
        Ok(())
    }

    /// The last to be asked: what `server` says, or else the image's own registry, with the
    /// settings outside of all tables.
    fn add_server(&self, root: &Table<'_>, config: &mut HostsConfig) -> Result<(), Error> {
        let settings = HostSettings::read(root, self.directory)?;
        let is_empty = |server: &Setting<'_>| matches!(server.string(), Ok(""));
        match root.get("server").filter(|server| !is_empty(server)) {
            Some(server) => self.add(HostUrl::of_value(&server)?, settings, &server, config),
            None => {
                let first = root.settings().find(|setting| settings::KNOWN.contains(&setting.name));
                let source = first.map_or(Source::Default, |setting| source_of(&setting));
                config.hosts.push(configure_own(self.domain, self.options, settings, source));
            }
        }
        Ok(())
    }

    fn add(
        &self,
        mut url: HostUrl,
        settings: HostSettings,
        setting: &Setting<'_>,
        config: &mut HostsConfig,
    ) {
        if url.correct_docker_hub() {
            let message = format!("docker.io serves no images; {DOCKER_HUB_REGISTRY} is asked");
            config.warnings.push(
                setting
                    .warning(WarningKind::DockerHubServer, message)
                    .with_hint(format!("write https://{DOCKER_HUB_REGISTRY}")),
            );
        }
        config.hosts.push(configure(self.domain, self.options, url, settings, source_of(setting)));
    }
}

fn source_of(setting: &Setting<'_>) -> Source {
    Source::File(setting.path().to_owned(), setting.line())
}
