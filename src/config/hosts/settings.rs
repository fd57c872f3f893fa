//! What one host's table says: everything but its URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::document::{Setting, Table};
use crate::config::error::Error;
use crate::config::named_file::NamedFile;

use super::duration;
use super::host::{Capabilities, ClientCertificate, Header};
use super::rewrite::Rewrite;
use super::url::HostUrl;

/// The names read here.
pub(super) const KNOWN: [&str; 9] = [
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "header",
    "override_path",
    "dial_timeout",
    "rewrite",
    "header_realms",
];

/// Stands for `dial_timeout = "0"`, by which Go sets no limit: the kernel gives up long before.
const UNLIMITED_DIAL: Duration = Duration::from_secs(3600);

/// The settings of one host; what is not written is `None` or empty.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct HostSettings {
    pub(in crate::config) capabilities: Option<Capabilities>,
    pub(in crate::config) ca: Vec<PathBuf>,
    pub(in crate::config) client: Vec<ClientCertificate>,
    pub(in crate::config) skip_verify: Option<bool>,
    pub(in crate::config) headers: Vec<Header>,
    pub(in crate::config) override_path: bool,
    pub(in crate::config) dial_timeout: Option<Duration>,
    pub(in crate::config) rewrites: Vec<Rewrite>,
    pub(in crate::config) header_realms: Vec<String>,
}

impl HostSettings {
    /// Reads `table`; relative paths start at `directory`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that cannot be meant, [`Error::MissingFile`] for a
    /// certificate that cannot be read.
    pub(super) fn read(table: &Table<'_>, directory: &Path) -> Result<Self, Error> {
        let read_bool =
            |name| table.get(name).map(|setting| Setting::boolean(&setting)).transpose();
        Ok(Self {
            capabilities: table.get("capabilities").map_or(Ok(None), capabilities)?,
            ca: table.get("ca").map_or(Ok(Vec::new()), |ca| authorities(&ca, directory))?,
            client: table
                .get("client")
                .map_or(Ok(Vec::new()), |client| client_certificates(&client, directory))?,
            skip_verify: read_bool("skip_verify")?,
            headers: table.get("header").map_or(Ok(Vec::new()), headers)?,
            override_path: read_bool("override_path")?.unwrap_or(false),
            dial_timeout: table.get("dial_timeout").map_or(Ok(None), dial_timeout)?,
            rewrites: table.get("rewrite").map_or(Ok(Vec::new()), |rules| rewrites(&rules))?,
            header_realms: table
                .get("header_realms")
                .map_or(Ok(Vec::new()), |realms| header_realms(&realms))?,
        })
    }

    /// These, and of `others` what these do not say. A capability that either has, both have.
    pub(super) fn or(self, others: Self) -> Self {
        let names: Vec<String> = self.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        let missing = |(name, _): &Header| !names.contains(&name.to_lowercase());
        let headers = others.headers.into_iter().filter(missing);
        Self {
            capabilities: self.capabilities.zip(others.capabilities).map(|(a, b)| a.or(b)),
            ca: if self.ca.is_empty() { others.ca } else { self.ca },
            client: if self.client.is_empty() { others.client } else { self.client },
            skip_verify: self.skip_verify.or(others.skip_verify),
            headers: self.headers.iter().cloned().chain(headers).collect(),
            override_path: self.override_path,
            dial_timeout: self.dial_timeout.or(others.dial_timeout),
            rewrites: if self.rewrites.is_empty() { others.rewrites } else { self.rewrites },
            header_realms: [self.header_realms, others.header_realms].concat(),
        }
    }

    /// Whether anything is said about TLS, be it that certificates are verified.
    pub(super) fn mentions_tls(&self) -> bool {
        !self.ca.is_empty() || !self.client.is_empty() || self.skip_verify.is_some()
    }
}

/// `None` for an empty list, by which containerd means every capability.
fn capabilities(setting: Setting<'_>) -> Result<Option<Capabilities>, Error> {
    let mut found = Capabilities { pull: false, resolve: false, push: false, referrers: false };
    let names = setting.array()?;
    for name in &names {
        let flag = match name.string()?.to_ascii_lowercase().as_str() {
            "pull" => &mut found.pull,
            "resolve" => &mut found.resolve,
            "push" => &mut found.push,
            "referrers" => &mut found.referrers,
            unknown => {
                return Err(name.invalid(
                    format!("unknown capability {unknown:?}"),
                    "one of \"pull\", \"resolve\", \"push\", \"referrers\"",
                ));
            }
        };
        *flag = true;
    }
    Ok(if names.is_empty() { None } else { Some(found) })
}

/// `ca`: one file or several.
fn authorities(setting: &Setting<'_>, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    setting.one_or_many().iter().map(|file| readable_file(file, directory, "ca")).collect()
}

/// `client`: one file or several that hold certificate and key both, or pairs of files.
fn client_certificates(
    setting: &Setting<'_>,
    directory: &Path,
) -> Result<Vec<ClientCertificate>, Error> {
    setting.one_or_many().iter().map(|item| client_certificate(item, directory)).collect()
}

fn client_certificate(item: &Setting<'_>, directory: &Path) -> Result<ClientCertificate, Error> {
    if !item.is_array() {
        return Ok(ClientCertificate {
            cert: readable_file(item, directory, "client")?,
            key: None,
        });
    }
    let files = item.array()?;
    let [cert, key] = files.as_slice() else {
        return Err(item.invalid(
            format!("`client` has a list of {} files where a pair belongs", files.len()),
            "[\"certificate.pem\", \"key.pem\"]",
        ));
    };
    let key = match key.string()? {
        "" => None,
        _ => Some(readable_file(key, directory, "client")?),
    };
    Ok(ClientCertificate { cert: readable_file(cert, directory, "client")?, key })
}

fn readable_file(
    setting: &Setting<'_>,
    directory: &Path,
    name: &'static str,
) -> Result<PathBuf, Error> {
    NamedFile::of(setting, directory, name)?.readable()
}

/// `header`: a table of names to one value or several.
fn headers(setting: Setting<'_>) -> Result<Vec<Header>, Error> {
    setting.table()?.settings().map(|entry| header(&entry)).collect()
}

/// One header with its value or values.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be sent.
pub(in crate::config) fn header(entry: &Setting<'_>) -> Result<Header, Error> {
    if HeaderName::try_from(entry.name).is_err() {
        return Err(entry.invalid_name(
            format!("`{}` is no name of a header", entry.name),
            "letters, digits and hyphens",
        ));
    }
    let values = entry.one_or_many().iter().map(header_value).collect::<Result<_, _>>()?;
    Ok((entry.name.to_owned(), values))
}

fn header_value(value: &Setting<'_>) -> Result<String, Error> {
    let text = value.string()?;
    match HeaderValue::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(value.invalid(
            format!("the value of header `{}` cannot be sent", value.name),
            "text without line breaks and control characters",
        )),
    }
}

/// `rewrite`: a table of patterns to replacements, in the order of the file.
fn rewrites(setting: &Setting<'_>) -> Result<Vec<Rewrite>, Error> {
    let mut rules: Vec<Setting<'_>> = setting.table()?.settings().collect();
    rules.sort_by_cached_key(Setting::first_mention);
    rules.iter().map(rewrite).collect()
}

fn rewrite(rule: &Setting<'_>) -> Result<Rewrite, Error> {
    Rewrite::new(rule.name, rule.string()?).map_err(|error| {
        rule.invalid_name(
            format!("the pattern {:?} {error}", rule.name),
            "\"pattern\" = \"replacement\" in Go's syntax, such as \"^library/(.*)\" = \"hub/$1\"",
        )
    })
}

/// `header_realms`: one host of a token endpoint or several.
fn header_realms(setting: &Setting<'_>) -> Result<Vec<String>, Error> {
    let url = |realm: &Setting<'_>| {
        HostUrl::of_value(realm).map(|url| format!("{}://{}", url.scheme, url.authority))
    };
    setting.one_or_many().iter().map(url).collect()
}

/// `None` for an empty text, by which containerd means the default.
fn dial_timeout(setting: Setting<'_>) -> Result<Option<Duration>, Error> {
    let text = setting.string().map_err(|_| setting.mismatch(duration::EXPECTED))?;
    match duration::parse(text) {
        _ if text.is_empty() => Ok(None),
        Some(Duration::ZERO) => Ok(Some(UNLIMITED_DIAL)),
        Some(timeout) => Ok(Some(timeout)),
        None => {
            Err(setting
                .invalid(format!("`dial_timeout` {text:?} is no duration"), duration::EXPECTED))
        }
    }
}
