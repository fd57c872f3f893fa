//! CredentialProviderConfig, read.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::error::Error;
use crate::config::hosts::duration;
use crate::config::warning::WarningKind;
use crate::config::yaml::{YamlFile, text_of};
use crate::failure::Notice;

use super::places::Place;
use super::plugin::Plugin;
use super::protocol::{self, VERSIONS};

const KIND: &str = "CredentialProviderConfig";
const GROUP: &str = "kubelet.config.k8s.io";
const EXPECTED: &str = "a CredentialProviderConfig of kubelet.config.k8s.io/v1";

/// What files in a directory have to end in.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// What a configuration comes to.
#[derive(Debug, Default)]
pub(super) struct Configured {
    /// Those that can be asked without a pod, in their order.
    pub(super) plugins: Vec<Plugin>,
    /// What tells of the others.
    pub(super) warnings: Vec<Notice>,
}

/// The plugins that the file, or the files of the directory, at `place` has.
///
/// # Errors
/// [`Error`] for what the kubelet would not start with either.
pub(super) fn read(place: &Place) -> Result<Configured, Error> {
    let Configured { mut plugins, mut warnings } = Configured::default();
    let mut names = HashSet::new();
    for path in files(&place.config)? {
        let file = YamlFile::read(&path, EXPECTED)?.ok_or_else(|| Error::not_found(&path))?;
        for provider in providers(&file)? {
            let name = name(&file, provider)?;
            if !names.insert(name.clone()) {
                return Err(file.invalid(
                    &name,
                    format!("the plugin {name} is there twice"),
                    "one",
                ));
            }
            if needs_pod(provider) {
                let message = format!("the plugin {name} wants a pod's token: it is not asked");
                let warning = Notice::new(WarningKind::ProviderNeedsPod, message);
                let hint = "where an image needs its login, name another with -u or --auth-file";
                warnings.push(warning.at(path.clone(), file.line_of(&name)).with_hint(hint));
                continue;
            }
            plugins.push(plugin(&file, provider, name, &place.programs)?);
        }
    }
    Ok(Configured { plugins, warnings })
}

/// The file itself, or those in the directory in the order of their names.
fn files(config: &Path) -> Result<Vec<PathBuf>, Error> {
    if !config.is_dir() {
        return Ok(vec![config.to_owned()]);
    }
    let unreadable = |source| Error::Unreadable { path: config.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(config).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().unwrap_or_default().to_os_string();
        if EXTENSIONS.iter().any(|known| extension == *known) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn providers(file: &YamlFile) -> Result<&[Value], Error> {
    let kind = file.get("kind").and_then(Value::as_str).unwrap_or_default();
    let version = file.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let is_known = VERSIONS.iter().any(|known| version == format!("{GROUP}/{known}"));
    if kind != KIND || !is_known {
        return Err(file.invalid(
            "kind",
            format!("the file is a {kind:?} of {version:?}"),
            EXPECTED,
        ));
    }
    match file.get("providers").and_then(Value::as_array) {
        Some(providers) => Ok(providers),
        None => Err(file.invalid("providers", "the file has no list `providers`", EXPECTED)),
    }
}

/// The name of a program in the directory, and nothing else.
fn name(file: &YamlFile, provider: &Value) -> Result<String, Error> {
    let name = provider.get("name").and_then(Value::as_str).unwrap_or_default();
    let is_name = !name.is_empty()
        && ![".", ".."].contains(&name)
        && !name.contains(|c: char| c == '/' || c == '\0' || c.is_whitespace());
    if is_name {
        return Ok(name.to_owned());
    }
    Err(file.invalid("name", format!("{name:?} is no name of a plugin"), "a file's name"))
}

/// Whether it does nothing without the token of a pod's service account.
fn needs_pod(provider: &Value) -> bool {
    let attributes = provider.get("tokenAttributes");
    attributes.is_some_and(|it| it.get("requireServiceAccount") == Some(&Value::Bool(true)))
}

fn plugin(
    file: &YamlFile,
    provider: &Value,
    name: String,
    programs: &Path,
) -> Result<Plugin, Error> {
    let patterns = texts(file, provider, "matchImages")?;
    if patterns.is_empty() {
        let problem = format!("the plugin {name} has no `matchImages`");
        return Err(file.invalid(
            &name,
            problem,
            "at least one pattern, such as \"*.example.com\"",
        ));
    }
    let written = provider.get("defaultCacheDuration").and_then(text_of).unwrap_or_default();
    let default_lasts = duration::parse(&written).ok_or_else(|| {
        let problem = format!("`defaultCacheDuration` of the plugin {name} is {written:?}");
        file.invalid(&name, problem, duration::EXPECTED)
    })?;
    let written = provider.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let known = VERSIONS.map(protocol::api_version);
    if !known.iter().any(|known| known == written) {
        let problem = format!("`apiVersion` of the plugin {name} is {written:?}");
        return Err(file.invalid(&name, problem, format!("one of {}", known.join(", "))));
    }
    let api_version = written.to_owned();
    let arguments = texts(file, provider, "args")?;
    let variables = variables(file, provider, &name)?;
    let programs = programs.to_owned();
    Ok(Plugin { name, programs, patterns, default_lasts, api_version, arguments, variables })
}

fn texts(file: &YamlFile, provider: &Value, member: &str) -> Result<Vec<String>, Error> {
    let Some(value) = provider.get(member).filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let texts = value.as_array().and_then(|texts| texts.iter().map(text_of).collect());
    texts.ok_or_else(|| file.invalid(member, format!("`{member}` is no list of texts"), "a list"))
}

fn variables(
    file: &YamlFile,
    provider: &Value,
    name: &str,
) -> Result<Vec<(String, String)>, Error> {
    let Some(env) = provider.get("env").filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let variable = |variable: &Value| {
        let name = variable.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let value = variable.get("value").map_or(Some(String::new()), text_of)?;
        // Whatever else may be written here, the system takes it for something different.
        let is_sound = !name.contains(['=', '\0']) && !value.contains('\0');
        is_sound.then(|| (name.to_owned(), value))
    };
    let variables = env.as_array().and_then(|env| env.iter().map(variable).collect());
    variables.ok_or_else(|| {
        let problem = format!("`env` of the plugin {name} is no list of names and values");
        file.invalid("env", problem, "a list of `name` and `value`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(config: &Path) -> Place {
        Place { config: config.to_owned(), programs: "/bin".into() }
    }

    fn with(content: &str) -> Result<Configured, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, content).unwrap();
        read(&place(&path))
    }

    /// A configuration with one plugin `p` that has these members besides.
    fn one(members: &str) -> String {
        format!(
            "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders:\n\
             - name: p\n  matchImages: [a.example]\n  defaultCacheDuration: 1m\n  \
             apiVersion: credentialprovider.kubelet.k8s.io/v1\n{members}"
        )
    }

    fn names(providers: &Configured) -> Vec<String> {
        providers.plugins.iter().map(|plugin| plugin.name.clone()).collect()
    }

    #[test]
    fn the_configurations_of_the_three_clouds_and_k3s_are_read() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/credential-providers");
        for (file, plugin, pattern) in [
            ("eks.json", "ecr-credential-provider", "*.dkr.ecr.*.amazonaws.com"),
            ("gke.yaml", "auth-provider-gcp", "*.pkg.dev"),
            ("aks.yaml", "acr-credential-provider", "*.azurecr.io"),
            ("k3s.yaml", "registry-credential-provider", "registry.example.com"),
        ] {
            let providers = read(&place(&fixtures.join(file))).unwrap();
            let Some(first) = providers.plugins.first() else { panic!("{file}: {providers:?}") };
            assert_eq!(first.name, plugin, "{file}");
            assert!(first.patterns.iter().any(|found| found == pattern), "{file}");
            assert_eq!(providers.warnings, [], "{file}");
        }
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_the_names() {
        let directory = tempfile::tempdir().unwrap();
        for (file, name) in [("20.json", "b"), ("10.yml", "a"), ("30.txt", "c"), ("5.yaml", "d")] {
            let content = one("").replace("name: p", &format!("name: {name}"));
            fs::write(directory.path().join(file), content).unwrap();
        }
        assert_eq!(names(&read(&place(directory.path())).unwrap()), ["a", "b", "d"]);
        fs::write(directory.path().join("6.yaml"), one("").replace("name: p", "name: a")).unwrap();
        assert!(read(&place(directory.path())).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_plugin_that_cannot_do_without_a_pod_is_left_out_with_a_warning() {
        for (members, expected) in [
            (
                "  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true}\n",
                0,
            ),
            (
                "  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: false}\n",
                1,
            ),
            ("  args: [--x, 1]\n  env: [{name: A, value: b}]\n", 1),
        ] {
            let providers = with(&one(members)).unwrap();
            assert_eq!(names(&providers).len(), expected, "{members}");
            assert_eq!(providers.warnings.len(), 1 - expected, "{members}");
        }
    }

    #[test]
    fn what_the_kubelet_does_not_start_with_is_an_error_with_its_line() {
        for (content, line, problem) in [
            (one("").replace("kind: CredentialProviderConfig", "kind: Pod"), 1, "\"Pod\""),
            (one("").replace("io/v1\nproviders", "io/v2\nproviders"), 1, "io/v2"),
            (one("").replace("name: p", "name: ../p"), 4, "\"../p\""),
            (one("").replace("name: p", "name: .."), 4, "\"..\""),
            (one("").replace("[a.example]", "[]"), 4, "matchImages"),
            (one("").replace("1m", "often"), 4, "often"),
            (one("").replace("credentialprovider.kubelet.k8s.io/v1", "v1"), 4, "apiVersion"),
            (one("  env: [{value: x}]\n"), 8, "env"),
            (one("  args: {}\n"), 8, "args"),
            ("kind: [".to_owned(), 1, "YAML"),
        ] {
            let error = with(&content).unwrap_err();
            assert!(error.to_string().contains(problem), "{content}: {error}");
            if problem != "YAML" && line != 4 {
                assert_eq!(error.location().unwrap().line, line, "{content}: {error}");
            }
        }
    }
}
