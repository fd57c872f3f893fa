//! The directories of registries: their files, their certificates, and which of them count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Finding, Fix};
use super::node::Node;
use crate::config::{
    self, DEFAULT_HOSTS_DIRECTORIES, FlatFile, Generation, HostOptions, Keychain, RegistryHost,
    find_directory, load_directory,
};
use crate::failure::{Diagnose as _, Diagnostic};
use crate::progress::{Event, Sink};
use crate::reference::{Reference, split_port};
use crate::registry::{self, Policy, Registry, certificate_file};

/// From when on the end of a certificate is worth a word.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The directory that stands for all registries without one of their own.
const FALLBACK: &str = "_default";

/// Most files of one directory that are looked at.
const MAX_FILES: usize = 1000;

/// Most registries that are looked at.
const MAX_DOMAINS: usize = 500;

/// One directory, and the registry that it is of.
struct Directory {
    path: PathBuf,
    /// `_default` stands for itself.
    domain: String,
}

pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    let directories = directories(node.config.hosts_directories());
    for directory in &directories {
        let name = if directory.domain == FALLBACK { "any.invalid" } else { &directory.domain };
        match load_directory(&directory.path, name, &HostOptions::default()) {
            Err(error) => found.push(broken(&error)),
            Ok(loaded) => {
                let warned = loaded.warnings.into_iter().map(|notice| {
                    let why = "what somebody wrote there has no effect";
                    let fix = Fix::text(notice.hint.unwrap_or_default());
                    let finding = Finding::warning(notice.code, notice.message, why).fixed_by(fix);
                    Finding { file: notice.file, line: notice.line, ..finding }
                });
                found.extend(warned);
                found.extend(certificates(&loaded.hosts, name));
            }
        }
        found.extend(repeated(directory));
        found.extend(masks(directory));
        found.extend(without_effect(directory));
    }
    found.extend(not_there(node));
    found.extend(without_port(node, &directories));
    found
}

/// The registries that have a directory.
pub(super) fn domains(node: &Node) -> BTreeSet<String> {
    let directories = directories(node.config.hosts_directories()).into_iter();
    directories.map(|directory| directory.domain).filter(|domain| domain != FALLBACK).collect()
}

fn directories(roots: &[PathBuf]) -> Vec<Directory> {
    let mut found = Vec::new();
    for root in roots {
        let mut entries: Vec<PathBuf> = fs::read_dir(root)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        entries.sort();
        for path in entries.into_iter().filter(|path| path.is_dir()).take(MAX_DOMAINS) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let port = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
            let port = port.filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
            let domain = match port {
                Some((host, port)) if !port.is_empty() => format!("{host}:{port}"),
                _ => name.to_owned(),
            };
            found.push(Directory { path, domain });
        }
    }
    found
}

fn broken(error: &config::Error) -> Finding {
    let why =
        "containerd passes such a file over and asks the registry itself; pullctl stops there";
    let what = Diagnostic::of(error).one_line();
    let fix = Fix::text(error.hint().unwrap_or_default());
    let code = match error {
        config::Error::MissingFile { .. } => "certificate-missing",
        config::Error::Invalid { .. } | config::Error::Unreadable { .. } => "hosts-file-broken",
    };
    let finding = Finding::error(code, what, why).fixed_by(fix);
    match error.location() {
        Some(location) => finding.at(&location.path, location.line),
        None => finding,
    }
}

/// Certificates and keys that can't be used, or not for long.
fn certificates(hosts: &[RegistryHost], domain: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for host in hosts {
        if let Err(error) = usable(host, domain) {
            found.push(unusable(host, &error));
            continue;
        }
        let files = host.ca.iter().chain(host.client.iter().map(|pair| &pair.cert));
        for file in files {
            found.extend(ends(file, host));
        }
    }
    found
}

/// Whether a pull could begin with `host` as it is configured.
fn usable(host: &RegistryHost, domain: &str) -> Result<(), registry::Error> {
    let registry =
        Registry::new(Policy::default(), Arc::new(Keychain::default()), Arc::new(Nobody))?;
    let Ok(reference) = format!("{domain}/any").parse::<Reference>() else { return Ok(()) };
    registry.repository(vec![host.clone()], &reference).check()
}

/// Nothing is pulled, so nobody has to be told how it goes.
struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: Event) {}
}

fn unusable(host: &RegistryHost, error: &registry::Error) -> Finding {
    let what = format!("{}: {}", host.authority, Diagnostic::of(error).one_line());
    let why = "every pull from that host ends here, and the kubelet's pulls fail or do without it";
    let files = host.ca.iter().chain(host.client.iter().map(|pair| &pair.cert));
    let binary = files.clone().find(|file| is_der(file));
    let fix = match binary {
        Some(file) => {
            let file = shell_word(&file.display().to_string());
            Fix::text("the file holds a certificate in binary form (DER): make PEM of it")
                .then(format!("openssl x509 -inform der -in {file} -out {file}"))
        }
        None => Fix::text(error.hint().unwrap_or_default()),
    };
    let finding = Finding::error("certificate-unusable", what, why).fixed_by(fix);
    match &host.source {
        config::Source::File(file, line) => finding.at(file, *line),
        config::Source::Default => finding,
    }
}

/// Whether a file holds DER, which begins as no text does.
fn is_der(file: &Path) -> bool {
    fs::read(file).is_ok_and(|content| content.starts_with(&[0x30, 0x82]))
}

/// `text` as a shell takes it for one word.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn ends(file: &Path, host: &RegistryHost) -> Option<Finding> {
    let first = certificate_file(file).ok()?.into_iter().next()?;
    let ends = first.not_after?;
    let left = ends.duration_since(Timestamp::now());
    let fix = Fix::text(format!("have it renewed, and put the new one at {}", file.display()));
    let what =
        |when: String| format!("the certificate {} of {} {when}", first.subject, host.authority);
    let finding = if left.is_negative() {
        let why = "whoever checks it refuses it";
        Finding::error("certificate-expired", what(format!("expired on {ends}")), why)
    } else if left < SOON {
        let why = "from then on whoever checks it refuses it";
        Finding::warning("certificate-ends-soon", what(format!("ends on {ends}")), why)
    } else {
        return None;
    };
    Some(Finding { file: Some(file.to_owned()), ..finding }.fixed_by(fix))
}

/// A `server` that has a table as well: containerd asks it twice.
fn repeated(directory: &Directory) -> Option<Finding> {
    let file = directory.path.join("hosts.toml");
    let flat = FlatFile::read(&file, Generation::Unknown).ok()??;
    let setting = flat.top("server")?;
    let server = setting.text()?.trim_end_matches('/');
    let repeated = flat.tables("host").any(|name| name.trim_end_matches('/') == server);
    repeated.then(|| {
        let what = format!("`server` repeats [host.{server:?}]");
        let why = "containerd asks it a second time, without the settings of its table: where it is \
                   down, each pull waits twice";
        Finding::note("server-repeated", what, why).at(&file, setting.line).fixed_by(Fix::text(
            "keep the settings outside of all tables, and take the table out, if there is no other host",
        ))
    })
}

/// An empty directory, which keeps `_default` from its registry.
fn masks(directory: &Directory) -> Option<Finding> {
    let root = directory.path.parent()?;
    let is_empty =
        |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let fallback = root.join(FALLBACK);
    if directory.domain == FALLBACK || !fallback.is_dir() || !is_empty(&directory.path) {
        return None;
    }
    let what = format!(
        "{} is empty, and keeps {} from counting",
        directory.path.display(),
        fallback.display()
    );
    let why = format!(
        "images of {} come from the registry itself, past the mirrors of all others",
        directory.domain
    );
    let command = format!("rmdir {}", shell_word(&directory.path.display().to_string()));
    let finding = Finding::warning("default-masked", what, why).fixed_by(Fix::command(command));
    Some(Finding { file: Some(directory.path.clone()), ..finding })
}

/// A directory that holds something, and nothing that anybody reads.
fn without_effect(directory: &Directory) -> Option<Finding> {
    let names = fs::read_dir(&directory.path).ok()?.flatten().take(MAX_FILES);
    let names: Vec<String> =
        names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let counts = |name: &String| {
        name == "hosts.toml" || [".crt", ".cert", ".key"].iter().any(|end| name.ends_with(end))
    };
    if names.is_empty() || names.iter().any(counts) {
        return None;
    }
    let shown = directory.path.display();
    let what = format!("nothing in {shown} counts: it has no hosts.toml and no certificates");
    let why = "images come from the registry itself, without the mirrors and settings that somebody \
               wrote there";
    let mut settings = names.iter().filter(|name| name.ends_with(".toml"));
    let fix = match (settings.next(), settings.next()) {
        (Some(only), None) => {
            let [from, to] = [only.as_str(), "hosts.toml"]
                .map(|name| shell_word(&directory.path.join(name).display().to_string()));
            Fix::command(format!("mv {from} {to}"))
        }
        _ => Fix::text(format!("call the file with its hosts {shown}/hosts.toml")),
    };
    let finding = Finding::warning("hosts-file-missing", what, why).fixed_by(fix);
    Some(Finding { file: Some(directory.path.clone()), ..finding })
}

/// A `config_path` that leads nowhere. Those that containerd has without being told may be absent.
fn not_there(node: &Node) -> Vec<Finding> {
    let is_usual = |root: &Path| DEFAULT_HOSTS_DIRECTORIES.iter().any(|it| root == Path::new(it));
    let is_missing = |root: &&PathBuf| !root.is_dir() && !is_usual(root);
    let setting = node.settings.as_ref().and_then(|it| it.find(&["registry", "config_path"]));
    let told = |root: &PathBuf| {
        let what = format!("{}, which `config_path` names, is not there", root.display());
        let why = "no hosts.toml counts: images come from their registries themselves, without mirrors, \
                   certificates and headers";
        let [usual, _] = DEFAULT_HOSTS_DIRECTORIES;
        let fix = format!("make it, or name the directory that there is: {usual} is the usual one");
        let finding = Finding::warning("config-path-missing", what, why).fixed_by(Fix::text(fix));
        match setting {
            Some(setting) => finding.at(&setting.file, setting.line),
            None => finding,
        }
    };
    node.config.hosts_directories().iter().filter(is_missing).map(told).collect()
}

/// Directories that are named without the port by which images name their registry.
fn without_port(node: &Node, directories: &[Directory]) -> Vec<Finding> {
    let mut wanted = node.domains();
    // A registry's own name with a port in its file says so as well.
    for directory in directories {
        let Ok(Some(flat)) =
            FlatFile::read(&directory.path.join("hosts.toml"), Generation::Unknown)
        else {
            continue;
        };
        let server = flat.top("server").and_then(|setting| setting.text()).map(authority);
        wanted.extend(server.filter(|authority| split_port(authority).0 == directory.domain));
    }
    let roots = node.config.hosts_directories();
    let mut found = Vec::new();
    for domain in wanted {
        let (host, Some(_)) = split_port(&domain) else { continue };
        let counts = find_directory(roots, &domain).ok().flatten();
        let counts = counts.filter(|path| path.file_name().is_some_and(|name| name != FALLBACK));
        let near = directories.iter().find(|directory| directory.domain == host);
        let (None, Some(near)) = (counts, near) else { continue };
        let [from, to] = [near.path.clone(), near.path.with_file_name(&domain)]
            .map(|path| shell_word(&path.display().to_string()));
        let what = format!("{} does not count for images of {domain}", near.path.display());
        let why = "a directory is looked for by the name that images have, with its port: its mirrors, \
                   certificates and logins are passed over";
        let finding = Finding::error("directory-without-port", what, why)
            .fixed_by(Fix::command(format!("mv {from} {to}")));
        found.push(Finding { file: Some(near.path.clone()), ..finding });
    }
    found
}

fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_stand_for_registries_in_both_spellings_of_a_port() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a.example", "b.example:5000", "c.example_5000_", "_default", "odd_name_"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = directories(&[root.path().to_owned()]);
        let domains: Vec<&str> = found.iter().map(|directory| directory.domain.as_str()).collect();
        assert_eq!(
            domains,
            ["_default", "a.example", "b.example:5000", "c.example:5000", "odd_name_"]
        );
    }

    #[test]
    fn a_word_for_a_shell_stays_one() {
        for (text, word) in [("/a/b:5000", "/a/b:5000"), ("a b", "'a b'"), ("it's", "'it'\\''s'")] {
            assert_eq!(shell_word(text), word);
        }
    }
}
