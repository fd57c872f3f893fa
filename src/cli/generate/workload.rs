//! What makes the pods that seed: a DaemonSet, a Job, a kustomization.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::names::dns_name;
use super::pod::{self, LIST, Life, quoted};
use super::seed::{Seed, SeedArgs};
use crate::cli::values::duration;
use crate::cli::{Error, SeedingError, Session};

const DAEMONSET_EXAMPLES: &str = "\
Examples:
  Every node has these images, and those nodes that come later:
    pullctl generate daemonset -f images.txt --image harbor.example.net/tools/pullctl:VERSION \\
      --secret harbor --pin | kubectl apply -f -

  Which nodes are seeded:
    kubectl -n kube-system rollout status daemonset/pullctl-seed";

const JOB_EXAMPLES: &str = "\
Examples:
  One node, before it takes pods:
    pullctl generate job -f images.txt --node worker-7 | kubectl apply -f -

  Three of the nodes that have graphics cards:
    pullctl generate job --count 3 --node-selector gpu=true models.example.net/llm:8b";

const KUSTOMIZATION_EXAMPLES: &str = "\
Examples:
  pullctl generate kustomization -f images.txt -o seed && kubectl apply -k seed

images.txt may then be changed by hand: kustomize names the ConfigMap by its content, and new content
makes new pods.";

/// How often a DaemonSet's pods seed.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long a pod waits until it looks again whether all is in place
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "6h")]
    interval: Duration,
}

/// `pullctl generate daemonset`.
#[derive(Debug, Args)]
#[command(after_long_help = DAEMONSET_EXAMPLES)]
pub(super) struct DaemonSetArgs {
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `pullctl generate job`.
#[derive(Debug, Args)]
#[command(after_long_help = JOB_EXAMPLES)]
pub(super) struct JobArgs {
    #[command(flatten)]
    seed: SeedArgs,

    /// The one node
    #[arg(long, value_name = "NODE", value_parser = dns_name)]
    #[arg(conflicts_with_all = ["node_selector", "count"])]
    node: Option<String>,

    /// How many nodes, each by a pod of its own
    #[arg(long, value_name = "N", default_value = "1")]
    count: std::num::NonZeroU16,
}

/// `pullctl generate kustomization`.
#[derive(Debug, Args)]
#[command(after_long_help = KUSTOMIZATION_EXAMPLES)]
pub(super) struct KustomizationArgs {
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    wait: WaitArgs,

    /// Directory to write kustomization.yaml, daemonset.yaml and images.txt into
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl DaemonSetArgs {
    /// The manifest: a ConfigMap and a DaemonSet.
    ///
    /// # Errors
    /// When the list has a mistake.
    pub(super) fn manifest(&self, session: &Session<'_>) -> Result<String, Error> {
        let seed = self.seed.read(session)?;
        Ok(format!("{}---\n{}", config_map(&seed), daemon_set(&seed, self.wait.interval)))
    }
}

impl JobArgs {
    /// The manifest: a ConfigMap and a Job.
    ///
    /// # Errors
    /// When the list has a mistake.
    pub(super) fn manifest(&self, session: &Session<'_>) -> Result<String, Error> {
        let seed = self.seed.read(session)?;
        let head = head(&seed, "batch/v1", "Job");
        let count = self.count;
        let template = pod::template(&seed, Life::Ends, self.node.as_deref());
        Ok(format!(
            "{}---\n{head}\
spec:
  completions: {count}
  parallelism: {count}
  backoffLimit: 4
  # The Job goes an hour after it has ended; the images stay.
  ttlSecondsAfterFinished: 3600
  template:
{template}",
            config_map(&seed)
        ))
    }
}

impl KustomizationArgs {
    /// Writes the files and names them.
    ///
    /// # Errors
    /// When the list has a mistake, or the directory can't be written.
    pub(super) fn write(&self, session: &Session<'_>) -> Result<Vec<PathBuf>, Error> {
        let seed = self.seed.read(session)?;
        let kustomization = format!(
            "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {namespace}
resources:
  - daemonset.yaml
# Its name gets a hash of the list, so that another list makes new pods.
configMapGenerator:
  - name: {name}
    files:
      - {LIST}
",
            namespace = quoted(seed.namespace()),
            name = quoted(&seed.args.name),
        );
        let failed = |path: &PathBuf, source| SeedingError::NotNoted { path: path.clone(), source };
        fs::create_dir_all(&self.output).map_err(|source| failed(&self.output, source))?;
        let files = [
            ("kustomization.yaml", kustomization),
            ("daemonset.yaml", daemon_set(&seed, self.wait.interval)),
            (LIST, seed.list.clone()),
        ];
        let mut written = Vec::new();
        for (name, text) in files {
            let path = self.output.join(name);
            fs::write(&path, text).map_err(|source| failed(&path, source))?;
            written.push(path);
        }
        Ok(written)
    }
}

/// What every object begins with.
fn head(seed: &Seed<'_>, version: &str, kind: &str) -> String {
    let (name, namespace) = (quoted(&seed.args.name), quoted(seed.namespace()));
    format!(
        "\
apiVersion: {version}
kind: {kind}
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: pullctl
    app.kubernetes.io/instance: {name}
"
    )
}

fn config_map(seed: &Seed<'_>) -> String {
    let lines: String = seed.list.lines().map(|line| format!("    {line}\n")).collect();
    format!("{}data:\n  {LIST}: |\n{lines}", head(seed, "v1", "ConfigMap"))
}

fn daemon_set(seed: &Seed<'_>, interval: Duration) -> String {
    let name = quoted(&seed.args.name);
    format!(
        "{}\
spec:
  selector:
    matchLabels:
      app.kubernetes.io/instance: {name}
  # Nobody is served by these pods: a changed list may reach a quarter of the nodes at once.
  updateStrategy:
    rollingUpdate:
      maxUnavailable: 25%
  template:
{}",
        head(seed, "apps/v1", "DaemonSet"),
        pod::template(seed, Life::Waits(interval), None)
    )
}
