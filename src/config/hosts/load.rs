//! From a host directory to the hosts that a pull asks, in order.

use std::mem;
use std::path::{Path, PathBuf, absolute};

use crate::config::authority::DOCKER_HUB_REGISTRY;
use crate::config::document::{Document, Setting, Table};
use crate::config::error::Error;
use crate::config::warning::WarningKind;
use crate::failure::Notice;
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
    pub warnings: Vec<Notice>,
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
///
/// # Errors
/// As [`load`].
pub fn load_directory(
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

/// A host of the file. The `server` may turn out to be one that has a table.
struct Entry {
    url: HostUrl,
    settings: HostSettings,
    source: Source,
    /// For the image's own registry on loopback, which may speak http.
    http_fallback: bool,
}

impl HostsFile<'_> {
    fn read(&self) -> Result<HostsConfig, Error> {
        let tree = self.document.parse()?;
        let root = Table::root(self.document, &tree);
        let mut known = vec!["server", "host"];
        known.extend(settings::KNOWN);
        let mut warnings = root.unknown_settings(&known);
        let mut entries = Vec::new();
        if let Some(hosts) = root.get("host") {
            let mut hosts: Vec<Setting<'_>> = hosts.table()?.settings().collect();
            hosts.sort_by_cached_key(Setting::first_mention);
            for host in hosts {
                entries.push(self.host(&host, &mut warnings)?);
            }
        }
        let last = self.add_server(&root, &mut entries, &mut warnings)?;
        let mut hosts: Vec<_> = entries.into_iter().map(|entry| self.configure(entry)).collect();
        hosts.extend(last);
        Ok(HostsConfig { hosts, warnings })
    }

    /// A `[host."…"]` table.
    fn host(&self, host: &Setting<'_>, warnings: &mut Vec<Notice>) -> Result<Entry, Error> {
        let table = host.table()?;
        warnings.extend(table.unknown_settings(&settings::KNOWN));
        let url = corrected(HostUrl::of_name(host)?, host, warnings);
        let settings = HostSettings::read(&table, self.directory)?;
        Ok(Entry { url, settings, source: source_of(host), http_fallback: false })
    }

    /// The last to be asked: what `server` says, or else the image's own registry, with the
    /// settings outside of all tables. Where that has a table as well, as in many guides, it is one
    /// host with the settings of both, its table's first: asked a second time without its `ca` it
    /// would only bury the first answer.
    ///
    /// Returns the image's own registry where no URL is written for it.
    fn add_server(
        &self,
        root: &Table<'_>,
        entries: &mut Vec<Entry>,
        warnings: &mut Vec<Notice>,
    ) -> Result<Option<RegistryHost>, Error> {
        let settings = HostSettings::read(root, self.directory)?;
        let is_empty = |server: &Setting<'_>| matches!(server.string(), Ok(""));
        if let Some(server) = root.get("server").filter(|server| !is_empty(server)) {
            let url = corrected(HostUrl::of_value(&server)?, &server, warnings);
            let path = url.api_path(settings.override_path);
            match same_host(entries, url.scheme, &url.authority, &path) {
                Some(entry) => entry.absorb(settings),
                None => entries.push(Entry {
                    url,
                    settings,
                    source: source_of(&server),
                    http_fallback: false,
                }),
            }
            return Ok(None);
        }
        let own = own_registry(self.domain, self.options);
        if let Some(entry) = same_host(entries, &own.scheme, &own.authority, &own.path) {
            let skip_verify = settings.skip_verify.or(own.skip_verify.then_some(true));
            entry.http_fallback = own.http_fallback;
            entry.absorb(HostSettings { capabilities: None, skip_verify, ..settings });
            return Ok(None);
        }
        let first = root.settings().find(|setting| settings::KNOWN.contains(&setting.name));
        let source = first.map_or(Source::Default, |setting| source_of(&setting));
        Ok(Some(configure_own(self.domain, self.options, settings, source)))
    }

    fn configure(&self, entry: Entry) -> RegistryHost {
        let Entry { url, settings, source, http_fallback } = entry;
        let host = configure(self.domain, self.options, url, settings, source);
        RegistryHost { http_fallback: host.http_fallback || http_fallback, ..host }
    }
}

impl Entry {
    fn absorb(&mut self, settings: HostSettings) {
        self.settings = mem::take(&mut self.settings).or(settings);
    }
}

fn same_host<'a>(
    entries: &'a mut [Entry],
    scheme: &str,
    authority: &str,
    path: &str,
) -> Option<&'a mut Entry> {
    entries.iter_mut().find(|entry| {
        entry.url.scheme == scheme
            && entry.url.authority == authority
            && entry.url.api_path(entry.settings.override_path) == path
    })
}

/// `url`, which `setting` writes; with a warning if it had to be corrected.
fn corrected(mut url: HostUrl, setting: &Setting<'_>, warnings: &mut Vec<Notice>) -> HostUrl {
    if url.correct_docker_hub() {
        let message = format!("docker.io serves no images; {DOCKER_HUB_REGISTRY} is asked");
        warnings.push(
            setting
                .warning(WarningKind::DockerHubServer, message)
                .with_hint(format!("write https://{DOCKER_HUB_REGISTRY}")),
        );
    }
    url
}

fn source_of(setting: &Setting<'_>) -> Source {
    Source::File(setting.path().to_owned(), setting.line())
}
