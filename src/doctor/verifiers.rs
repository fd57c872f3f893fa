//! Image verifiers that can't be run: containerd lets nothing through then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::finding::{Finding, Fix};
use super::hosts::shell_word;
use super::node::Node;
use crate::config::FlatValue;

/// The release from which on containerd asks verifiers.
const SINCE: u32 = 2;

/// The plugin that runs them.
const PLUGIN: &str = "io.containerd.image-verifier.v1.bindir";

/// Where they are, how many are run, and how long each may take, where nothing else is configured.
const DEFAULT_DIRECTORY: &str = "/opt/containerd/image-verifier/bin";
const DEFAULT_MOST: u64 = 10;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// An image that does not exist: a verifier may refuse it, and has been run then.
const TRIAL: [&str; 6] = [
    "-name",
    "registry.invalid/pullctl/doctor:trial",
    "-digest",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "-stdin-media-type",
    "application/vnd.oci.descriptor.v1+json",
];

/// What is said of it on standard input.
const DESCRIPTOR: &str = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

pub(super) async fn findings(node: &Node) -> Vec<Finding> {
    let is_asked = node.client().and_then(|client| client.major_version());
    if is_asked.is_none_or(|major| major < SINCE) {
        return Vec::new();
    }
    let setting = |name: &str| node.settings.as_ref()?.find(&[PLUGIN, name]);
    let directory = setting("bin_dir").and_then(|setting| setting.text());
    let directory = Path::new(directory.unwrap_or(DEFAULT_DIRECTORY));
    let most = match setting("max_verifiers").map(|setting| &setting.value) {
        Some(FlatValue::Number(most)) => *most,
        _ => DEFAULT_MOST,
    };
    let programs = programs(directory);
    let mut found = Vec::new();
    if programs.len() as u64 > most {
        let what =
            format!("{} has {} verifiers, and {most} are run", directory.display(), programs.len());
        let why = "the others are never asked: what they would refuse is let through";
        let fix =
            Fix::text(format!("raise `max_verifiers` of [plugins.{PLUGIN:?}], or take some out"));
        found.push(Finding::warning("verifiers-left-out", what, why).fixed_by(fix));
    }
    for program in programs.iter().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        found.extend(tried(program).await);
    }
    found
}

/// What containerd would run, in its order.
fn programs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| !path.is_dir()).collect();
    found.sort();
    found
}

async fn tried(program: &Path) -> Option<Finding> {
    let shown = program.display();
    let why = "every verifier must let an image through: with one that can't be run the kubelet pulls nothing";
    let is_executable =
        fs::metadata(program).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
    if !is_executable {
        let command = format!("chmod +x {}", shell_word(&shown.to_string()));
        return Some(
            Finding::error("verifier-broken", format!("the verifier {shown} may not be run"), why)
                .fixed_by(Fix::text("let it be run, or take it away").then(command)),
        );
    }
    let mut command = Command::new(program);
    command.args(TRIAL).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let run = async {
        let mut child = command.kill_on_drop(true).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read it has decided without.
            let _ = stdin.write_all(DESCRIPTOR.as_bytes()).await;
        }
        child.wait().await
    };
    match timeout(DEFAULT_TIMEOUT, run).await {
        // Refused or not, it works.
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            let what = format!("the verifier {shown} can't be run: {error}");
            let fix = Fix::text(format!("mend {shown}, or take it away"));
            Some(Finding::error("verifier-broken", what, why).fixed_by(fix))
        }
        Err(_) => {
            let what = format!("the verifier {shown} has not decided within {DEFAULT_TIMEOUT:?}");
            let fix = Fix::text(format!("see what {shown} waits for"));
            Some(Finding::error("verifier-slow", what, why).fixed_by(fix))
        }
    }
}
