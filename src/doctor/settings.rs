//! containerd's configuration: what of it the daemon does not do, or does to everybody's surprise.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::finding::{Edit, Finding, Fix};
use super::node::Node;
use crate::config::{self, FlatFile, FlatSetting, FlatValue};
use crate::containerd::CONTENT_DIRECTORY;
use crate::failure::{Diagnose as _, Diagnostic, Notice};

/// The major version from which on the CRI may pull by the daemon's transfer service.
const TRANSFERS_SINCE: u32 = 2;

/// The parallelism that leaves the choice to the daemon.
const USUAL_DOWNLOADS: u64 = 3;

pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let mut found: Vec<Finding> = node.broken.iter().map(|error| broken(node, error)).collect();
    let warnings = node.config.warnings().into_iter();
    found.extend(warnings.filter_map(|notice| of_notice(node, notice)));
    let Some(settings) = &node.settings else { return found };
    found.extend(another_file(node, settings));
    found.extend(unread(node, settings));
    found.extend(not_imported(node, settings));
    found.extend(discards(node, settings));
    found.extend(local_pull(node, settings));
    found
}

/// A file of settings without which all else was looked at.
fn broken(node: &Node, error: &config::Error) -> Finding {
    let started_with = node.process.as_ref().and_then(|process| process.flag(&["--config", "-c"]));
    let is_daemons = started_with.is_some_and(|file| Path::new(file) == error.file())
        || error.file().extension().is_some_and(|extension| extension == "toml");
    let why = match is_daemons {
        true => "containerd does not start with it the next time, and pullctl stops there",
        false => "pullctl stops there: it pulls nothing rather than what nobody meant",
    };
    let what = Diagnostic::of(error).one_line();
    let fix = Fix::text(error.hint().unwrap_or_default());
    let finding = Finding::error("settings-broken", what, why).fixed_by(fix);
    match error.location() {
        Some(location) => finding.at(&location.path, location.line),
        None => Finding { file: Some(error.file().to_owned()), ..finding },
    }
}

/// What a pull warns of, as a finding. That the CRI does not start is told with the CRI.
fn of_notice(node: &Node, notice: Notice) -> Option<Finding> {
    let Notice { code, message, hint, file, line } = notice;
    let why = match code {
        "cri-will-not-start" if node.cri.is_none() && node.client().is_some() => return None,
        "cri-will-not-start" => "with the next start of containerd the kubelet can't use this node",
        "unusable-login" => "a private image of that registry is not pulled",
        _ => "it does not do what somebody meant",
    };
    let fix = exclusive(node).filter(|_| code == "cri-will-not-start");
    let fix = fix.unwrap_or_else(|| Fix::text(hint.unwrap_or_default()));
    let finding = match code {
        "cri-will-not-start" => Finding::error(code, message, why),
        _ => Finding::warning(code, message, why),
    };
    Some(Finding { file, line, ..finding }.fixed_by(fix))
}

fn another_file(node: &Node, settings: &FlatFile) -> Option<Finding> {
    let content = node.root()?.join(CONTENT_DIRECTORY);
    let notice = node.config.containerd.as_ref()?.of_another_daemon(&content)?;
    let started_with = node.process.as_ref().and_then(|process| process.flag(&["--config", "-c"]));
    let fix = match started_with {
        Some(file) => Fix::text(format!("the daemon was started with {file}: name it"))
            .then(format!("pullctl doctor --containerd-config {file}")),
        None => Fix::text(notice.hint.unwrap_or_default()),
    };
    let why = "what is changed in this file does not reach the daemon";
    let finding = Finding::warning(notice.code, notice.message, why).fixed_by(fix);
    Some(Finding { file: Some(settings.path.clone()), ..finding })
}

/// A file that was changed after the daemon had read it.
fn unread(node: &Node, settings: &FlatFile) -> Option<Finding> {
    let started = node.process.as_ref()?.started?;
    let changed = |file: &&PathBuf| {
        let modified = fs::metadata(file).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| modified > started + std::time::Duration::from_millis(300))
    };
    let file = settings.files.iter().find(changed)?;
    let what = format!("{} was changed after containerd had been started", file.display());
    let why = "containerd reads it when it starts, and never again: the change has no effect yet";
    let finding =
        Finding::warning("settings-not-read", what, why).fixed_by(Fix::command(node.restart()));
    Some(Finding { file: Some(file.clone()), ..finding })
}

fn not_imported(node: &Node, settings: &FlatFile) -> Option<Finding> {
    let directory = settings.path.parent()?.join("conf.d");
    let is_toml = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "toml");
    let full = fs::read_dir(&directory).ok()?.flatten().any(is_toml);
    if !full || settings.has_imports {
        return None;
    }
    let pattern = directory.join("*.toml");
    let what =
        format!("{} imports nothing, and there is a conf.d with files", settings.path.display());
    let why =
        "containerd reads conf.d only where `imports` names it: what stands there has no effect";
    let content = format!("imports = [{:?}]", pattern.display().to_string());
    let line = first_line_for_keys(&settings.path);
    let edit = Edit::Insert { file: settings.path.clone(), line, content };
    let fix = Fix::edit(edit).then(node.restart());
    Some(Finding::warning("conf-d-not-imported", what, why).at(&settings.path, 1).fixed_by(fix))
}

/// The line before which a setting outside of all tables may be put: after `version`, which is read by
/// who looks for it first.
fn first_line_for_keys(path: &Path) -> usize {
    let content = fs::read_to_string(path).unwrap_or_default();
    let version = content.lines().position(|line| line.trim_start().starts_with("version"));
    let table = content.lines().position(|line| line.trim_start().starts_with('['));
    match (version, table) {
        (Some(version), Some(table)) if version > table => 1,
        (Some(version), _) => version + 2,
        (None, _) => 1,
    }
}

fn discards(node: &Node, settings: &FlatFile) -> Option<Finding> {
    let setting = settings.find(&["discard_unpacked_layers"]).filter(|setting| setting.is(true))?;
    let what = "layers are thrown away once they are unpacked (`discard_unpacked_layers`)";
    let why = "images that the kubelet pulled can't be saved, pushed, checked or given to other nodes: \
               their blobs are gone";
    let content = "discard_unpacked_layers = false".to_owned();
    let edit = Edit::Replace { file: setting.file.clone(), line: setting.line, content };
    let fix = Fix::edit(edit).then(node.restart());
    Some(
        Finding::warning("layers-discarded", what, why)
            .at(&setting.file, setting.line)
            .fixed_by(fix),
    )
}

fn local_pull(node: &Node, settings: &FlatFile) -> Option<Finding> {
    if node.client()?.major_version()? < TRANSFERS_SINCE {
        return None;
    }
    let differs = |name: &str, usual: FlatValue| {
        settings.find(&[name]).filter(|setting| setting.value != usual)
    };
    let setting: &FlatSetting = settings
        .find(&["discard_unpacked_layers"])
        .filter(|setting| setting.is(true))
        .or_else(|| differs("max_concurrent_downloads", FlatValue::Number(USUAL_DOWNLOADS)))
        .or_else(|| settings.find(&["disable_snapshot_annotations"]).filter(|it| it.is(false)))
        .or_else(|| settings.find(&["image_pull_with_sync_fs"]).filter(|it| it.is(true)))
        .or_else(|| ["mirrors", "configs"].iter().find_map(|key| settings.below(key).next()))?;
    let name = setting.keys.last().map_or("", String::as_str);
    let what = format!("`{name}` puts the kubelet's pulls on containerd's local way");
    let why = "on it no image verifier is asked, and layers are unpacked one after the other";
    let fix =
        "leave it out, if verifiers or speed matter more; pullctl's own pulls do not depend on it";
    Some(
        Finding::note("local-pull", what, why)
            .at(&setting.file, setting.line)
            .fixed_by(Fix::text(fix)),
    )
}

/// What to do where `config_path` stands beside `mirrors`: the mirrors as files below it, and the
/// tables gone.
pub(super) fn exclusive(node: &Node) -> Option<Fix> {
    let settings = node.settings.as_ref()?;
    let config_path = settings.find(&["registry", "config_path"])?.text()?;
    let directory = PathBuf::from(config_path.split(':').find(|part| !part.is_empty())?);
    let of_mirrors = settings.below("mirrors").next();
    let of_configs = settings.below("configs").next();
    let first = of_mirrors.or(of_configs)?;
    let mut edits: Vec<Edit> = hosts_files(settings)
        .into_iter()
        .map(|(domain, content)| Edit::Write {
            file: directory.join(domain).join("hosts.toml"),
            content,
        })
        .collect();
    edits.extend(tables_of(&first.file));
    let fix = Fix { edits, ..Fix::command(node.restart()) };
    Some(fix.saying("move the mirrors into files below `config_path`"))
}

/// A `hosts.toml` for each registry that `mirrors` speaks of, with what `configs` says of their hosts.
fn hosts_files(settings: &FlatFile) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let after = |setting: &FlatSetting, key: &str| {
        let position = setting.keys.iter().position(|name| name == key)?;
        setting.keys.get(position + 1).cloned()
    };
    for (setting, endpoints) in settings.lists("endpoint") {
        let Some(domain) = after(setting, "mirrors") else { continue };
        let server = match domain.as_str() {
            "docker.io" => "server = \"https://registry-1.docker.io\"\n".to_owned(),
            "*" => String::new(),
            domain => format!("server = \"https://{domain}\"\n"),
        };
        let mut content = server;
        for endpoint in endpoints {
            content.push_str(&format!(
                "\n[host.{endpoint:?}]\n  capabilities = [\"pull\", \"resolve\"]\n"
            ));
            let authority = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
            let authority = authority.split('/').next().unwrap_or(authority);
            content.push_str(&tls_of(settings, authority));
        }
        let name = if domain == "*" { "_default".to_owned() } else { domain };
        files.insert(name, content);
    }
    files
}

fn tls_of(settings: &FlatFile, authority: &str) -> String {
    let of = |name: &str| settings.find(&["configs", authority, "tls", name]);
    let mut lines = String::new();
    if of("insecure_skip_verify").is_some_and(|setting| setting.is(true)) {
        lines.push_str("  skip_verify = true\n");
    }
    if let Some(ca) = of("ca_file").and_then(FlatSetting::text) {
        lines.push_str(&format!("  ca = {ca:?}\n"));
    }
    let pair =
        of("cert_file").and_then(FlatSetting::text).zip(of("key_file").and_then(FlatSetting::text));
    if let Some((cert, key)) = pair {
        lines.push_str(&format!("  client = [[{cert:?}, {key:?}]]\n"));
    }
    lines
}

/// The tables of mirrors in `file`, taken out, the last one first so that the lines before it keep
/// their numbers.
fn tables_of(file: &Path) -> Vec<Edit> {
    let content = fs::read_to_string(file).unwrap_or_default();
    let is_header = |line: &str| line.trim_start().starts_with('[') && line.contains(']');
    let goes = |line: &str| {
        let header = line.trim().trim_matches(['[', ']']);
        [".registry.mirrors", ".registry.configs"].iter().any(|part| {
            header
                .split_once(part)
                .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut within = false;
    for (index, line) in content.lines().enumerate() {
        if is_header(line) {
            within = goes(line);
        }
        match ranges.last_mut() {
            Some((_, last)) if within && *last == index => *last = index + 1,
            _ if within => ranges.push((index + 1, index + 1)),
            _ => {}
        }
    }
    let edit = |(line, last)| Edit::Remove { file: file.to_owned(), line, last };
    ranges.into_iter().rev().map(edit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_mirrors_are_found_wherever_they_stand() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let content = "version = 2\n\
            [plugins.\"io.containerd.grpc.v1.cri\".registry]\n\
            config_path = \"/etc/containerd/certs.d\"\n\
            [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n\
            [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n\
            endpoint = [\n\"https://mirror.example\"]\n\
            [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n\
            snapshotter = \"overlayfs\"\n\
            [plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"mirror.example\".tls]\n\
            ca_file = \"/ca.pem\"\n";
        fs::write(&file, content).unwrap();
        let gone = |line, last| Edit::Remove { file: file.clone(), line, last };
        assert_eq!(tables_of(&file), [gone(10, 11), gone(4, 7)]);
        let settings = FlatFile::read(&file, crate::config::Generation::One).unwrap().unwrap();
        let files = hosts_files(&settings);
        let expected = "server = \"https://registry-1.docker.io\"\n\n\
            [host.\"https://mirror.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
            ca = \"/ca.pem\"\n";
        assert_eq!(files["docker.io"], expected);
    }

    #[test]
    fn a_setting_outside_of_all_tables_goes_where_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        for (content, line) in [
            ("version = 2\n[a]\n", 2),
            ("# first\nversion = 2\n", 3),
            ("[a]\nversion = 2\n", 1),
            ("root = \"x\"\n", 1),
            ("", 1),
        ] {
            fs::write(&file, content).unwrap();
            assert_eq!(first_line_for_keys(&file), line, "{content}");
        }
    }
}
