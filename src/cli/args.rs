//! What can be typed: flags, arguments and their help. What it means is decided in `settings`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::registry_args::{ExplainArgs, LoginArgs, LogoutArgs, RegistryArgs, TransportArgs};
use super::values::{ByteCount, Destination, Label, duration, platform, speed};
use crate::output::ProgressMode;
use crate::platform::Platform;
use crate::unpack::Way;

const EXAMPLES: &str = "\
Examples:
  pullctl pull registry.k8s.io/pause:3.6
  kubeadm config images list | pullctl pull --pin -f -
  pullctl pull --to oci:./busybox busybox:1.36
  pullctl images

Exit codes:
  0 ok; 1 other; 2 usage or bad reference; 3 not found; 4 authentication;
  5 registry unreachable; 6 rate-limited; 7 verification; 8 no such platform;
  9 containerd unreachable or refusing; 10 disk full; 11 part of a batch
  failed; 12 a file of settings has a mistake; 130 interrupted";

const PULL_EXAMPLES: &str = "\
Examples:
  One image, where the kubelet looks:
    pullctl pull docker.io/library/nginx:1.27

  All that kubeadm needs, kept from the kubelet's image garbage collection:
    kubeadm config images list | pullctl pull --pin -f -

  From a registry that wants a login, asking for the password:
    pullctl pull -u robot harbor.example.net/team/app:v1

  For another machine, without containerd:
    pullctl pull --platform linux/arm64 --to oci:./app harbor.example.net/team/app:v1

  For a script:
    digest=$(pullctl pull -q busybox)
    pullctl pull --progress json busybox 2>events.jsonl

An interrupted pull goes on where it stopped when it is repeated.";

/// Puts container images where Kubernetes looks for them.
///
/// Pulls with parallel, verified, resumable downloads and imports into containerd's namespace
/// k8s.io, under the names by which the kubelet asks for an image.
#[derive(Debug, Parser)]
#[command(name = "pullctl", version, max_term_width = 100, after_long_help = EXAMPLES)]
#[command(arg_required_else_help = true, propagate_version = false)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// containerd's socket, a path or unix://PATH [default: the first that exists of containerd's,
    /// k3s's and RKE2's, MicroK8s's and k0s's]
    #[arg(short, long, global = true, env = "CONTAINERD_ADDRESS", hide_env_values = true)]
    address: Option<String>,

    /// containerd namespace; Kubernetes looks in k8s.io only
    #[arg(short, long, global = true, env = "CONTAINERD_NAMESPACE", hide_env_values = true)]
    #[arg(default_value = DEFAULT_NAMESPACE)]
    namespace: String,

    /// Snapshotter to unpack into [default: the one that the daemon's CRI or its configuration names, else overlayfs]
    #[arg(long, value_name = "NAME", global = true, env = "CONTAINERD_SNAPSHOTTER")]
    #[arg(hide_env_values = true)]
    snapshotter: Option<String>,

    /// Show every request to a registry; twice for all that there is
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const DEFAULT_NAMESPACE: &str = "k8s.io";

impl GlobalArgs {
    /// The socket as typed. A variable that is set to nothing counts as not set.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref().filter(|address| !address.is_empty())
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { DEFAULT_NAMESPACE } else { &self.namespace }
    }

    /// The snapshotter as typed.
    pub fn snapshotter(&self) -> Option<&str> {
        self.snapshotter.as_deref().filter(|name| !name.is_empty())
    }
}

impl Command {
    /// Whether the heads of requests and responses are to be shown.
    pub fn http_trace(&self) -> bool {
        match self {
            Self::Pull(args) => args.transport.http_trace,
            Self::Login(args) => args.transport.http_trace,
            _ => false,
        }
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pull images into containerd, or into an OCI image layout
    Pull(Box<PullArgs>),
    /// List the images in containerd
    #[command(visible_alias = "ls")]
    Images(ImagesArgs),
    /// Remove images from containerd, under all their names
    Rm(RmArgs),
    /// Log in to a registry, and store the login where docker does
    Login(Box<LoginArgs>),
    /// Forget the login for a registry
    Logout(LogoutArgs),
    /// Show what a pull would ask, and why, without asking it
    Explain(Box<ExplainArgs>),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

/// `pullctl pull`.
#[derive(Debug, Args)]
#[command(after_long_help = PULL_EXAMPLES)]
pub struct PullArgs {
    /// Images, as docker and containerd write them: busybox, host:5000/a/b:tag, name@sha256:…
    #[arg(value_name = "REF", required_unless_present = "file")]
    pub references: Vec<String>,

    /// File with one reference a line, - for standard input; blank lines and lines that begin with
    /// # are skipped. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// What to pull and how.
    #[command(flatten)]
    pub image: ImageArgs,
    /// Where it goes.
    #[command(flatten)]
    pub destination: DestinationArgs,
    /// How registries are reached.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How requests travel.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// How blobs are fetched.
    #[command(flatten)]
    pub download: DownloadArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which of an image's platforms are meant.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub struct ImageArgs {
    /// Platform, os/architecture[/variant], and no other. Can be repeated [default: what this
    /// machine runs best]
    #[arg(long, value_name = "PLATFORM", value_parser = platform, conflicts_with = "all_platforms")]
    pub platform: Vec<Platform>,

    /// All platforms that the image has
    #[arg(long)]
    pub all_platforms: bool,
}

/// Where images go and what they become there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub struct DestinationArgs {
    /// Keep the kubelet's image garbage collection away from the images
    #[arg(long)]
    pub pin: bool,

    /// Label for the images' names in containerd. Can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,

    /// Store the images without unpacking their layers
    #[arg(long)]
    pub no_unpack: bool,

    /// Who unpacks the layers: pullctl while they come in, or containerd afterwards
    #[arg(long, value_enum, value_name = "WAY", default_value_t, conflicts_with = "no_unpack")]
    pub unpacker: UnpackWay,

    /// Write an OCI image layout into a directory instead; needs no containerd
    #[arg(long, value_name = "oci:DIR", conflicts_with_all = ["pin", "labels", "no_unpack", "unpacker"])]
    pub to: Option<Destination>,
}

/// Who unpacks layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum UnpackWay {
    /// pullctl where that is sound (as root, overlayfs, the daemon on this machine), else containerd
    #[default]
    Auto,
    /// pullctl, or fail
    Direct,
    /// containerd
    Daemon,
}

impl From<UnpackWay> for Way {
    fn from(way: UnpackWay) -> Self {
        match way {
            UnpackWay::Auto => Self::Auto,
            UnpackWay::Direct => Self::Direct,
            UnpackWay::Daemon => Self::Daemon,
        }
    }
}

/// How blobs are fetched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Download")]
pub struct DownloadArgs {
    /// Blobs fetched at the same time, of all images together
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub concurrency: usize,

    /// Size of the ranges in which large blobs are fetched: 4MiB, 512KiB [default: 2MiB, and 8MiB where connections are fast]
    #[arg(long, value_name = "SIZE", value_parser = ByteCount::chunk_size)]
    pub chunk_size: Option<ByteCount>,

    /// How often a request that failed for a passing reason is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retries: u32,

    /// Longest time for all downloads together: 90s, 15m [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Longest time without a byte before a connection is given up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub stall_timeout: Duration,

    /// Leave a host whose connection brings less than this for another one: 20KB/s [default: none]
    #[arg(long, value_name = "SPEED", value_parser = speed)]
    pub min_speed: Option<ByteCount>,

    /// Most that all downloads together take of the network: 5MB/s [default: none]
    #[arg(long, value_name = "SPEED", value_parser = speed)]
    pub limit_rate: Option<ByteCount>,
}

/// What is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How progress is shown on standard error
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub progress: ProgressMode,

    /// Print the images' digests only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `pullctl images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print the images' IDs only
    #[arg(short, long)]
    pub quiet: bool,

    /// Form of the list
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: ListForm,
}

/// Forms of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListForm {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON array.
    Json,
}

/// `pullctl rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Images by name, by name@sha256:… or by ID
    #[arg(value_name = "REF", required = true)]
    pub references: Vec<String>,
}

/// `pullctl completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Shell to complete for
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::failure::Failure;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("pullctl").chain(line.split_whitespace()))
    }

    fn pull(line: &str) -> PullArgs {
        match parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Command::Pull(args) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_pull_needs_no_flag() {
        let args = pull("pull busybox");
        assert_eq!(args.references, ["busybox"]);
        assert_eq!(args.download.concurrency, 4);
        assert_eq!(args.download.retries, 5);
        assert_eq!(args.download.stall_timeout, Duration::from_secs(30));
        assert_eq!(args.download.timeout, None);
        assert_eq!(args.output.progress, ProgressMode::Auto);
        assert!(!args.destination.pin);
    }

    #[test]
    fn global_flags_are_taken_before_and_after_the_command() {
        for line in
            ["-n moby -a /run/x.sock pull a", "pull a --namespace moby --address /run/x.sock"]
        {
            let global = parse(line).unwrap().global;
            assert_eq!(global.namespace(), "moby", "{line}");
            assert_eq!(global.address(), Some("/run/x.sock"), "{line}");
        }
        assert_eq!(parse("-vv images").unwrap().global.verbose, 2);
    }

    #[test]
    fn variables_set_to_nothing_count_as_not_set() {
        let global = GlobalArgs {
            address: Some(String::new()),
            namespace: String::new(),
            snapshotter: Some(String::new()),
            verbose: 0,
        };
        assert_eq!(global.address(), None);
        assert_eq!(global.namespace(), "k8s.io");
        assert_eq!(global.snapshotter(), None);
    }

    #[test]
    fn several_references_files_platforms_and_labels_add_up() {
        let args = pull(
            "pull a b -f one -f - --platform linux/arm64 --platform linux/arm --label k=v --label l=w",
        );
        assert_eq!(args.references, ["a", "b"]);
        assert_eq!(args.file, [PathBuf::from("one"), PathBuf::from("-")]);
        let platforms: Vec<String> = args.image.platform.iter().map(Platform::to_string).collect();
        assert_eq!(platforms, ["linux/arm64", "linux/arm/v7"]);
        assert_eq!(args.destination.labels.len(), 2);
        assert!(pull("pull -f list").references.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_exit_code_2() {
        for line in [
            "pull",
            "pull a --platform amd63",
            "pull a --platform linux/amd64 --all-platforms",
            "pull a --to /some/dir",
            "pull a --to oci:dir --pin",
            "pull a --to oci:dir --no-unpack",
            "pull a --to oci:dir --label k=v",
            "pull a --label k",
            "pull a --concurrency 0",
            "pull a --chunk-size 1",
            "pull a --timeout 5",
            "pull a --limit-rate 0",
            "pull a --min-speed fast",
            "pull a --resolve registry.example:5000",
            "pull a --progress fancy",
            "pull a --unheard-of",
            "images -o xml",
            "rm",
            "completion tcsh",
            "push a",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_refused_platform_comes_with_a_hint() {
        let error = parse("pull a --platform amd63").unwrap_err().to_string();
        assert!(error.contains("write for example linux/amd64"), "{error}");
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        for code in (0..=12).chain([130]) {
            assert!(EXAMPLES.contains(&format!(" {code} ")), "{code}");
        }
    }

    const README: &str = include_str!("../../README.md");

    /// The lines of README's section whose heading begins with `heading`.
    fn readme_section(heading: &str) -> impl Iterator<Item = &'static str> {
        let mut lines = README.lines().skip_while(move |line| !line.starts_with(heading));
        assert!(lines.next().is_some(), "README has no {heading:?}");
        lines.take_while(|line| !line.starts_with('#'))
    }

    /// The flags in the tables of a section: `-f`, `--file`.
    fn readme_flags(heading: &str) -> BTreeSet<String> {
        readme_section(heading)
            .filter(|line| line.starts_with("| `-"))
            .filter_map(|line| line.split(" | ").next())
            .flat_map(|cell| cell.split([' ', ',', '`']))
            .filter(|word| word.starts_with('-'))
            .map(str::to_owned)
            .collect()
    }

    fn flags(command: &clap::Command) -> BTreeSet<String> {
        let arguments = command.get_arguments().filter(|argument| !argument.is_positional());
        arguments
            .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
            .flat_map(|argument| {
                let short = argument.get_short().map(|short| format!("-{short}"));
                short.into_iter().chain(argument.get_long().map(|long| format!("--{long}")))
            })
            .collect()
    }

    #[test]
    fn readme_lists_every_flag_and_no_other() {
        let command = Cli::command();
        assert_eq!(readme_flags("### Every command"), flags(&command));
        for subcommand in command.get_subcommands() {
            let flags = flags(subcommand);
            if !flags.is_empty() {
                let heading = format!("### `pullctl {}", subcommand.get_name());
                assert_eq!(readme_flags(&heading), flags, "{heading}");
            }
        }
    }

    #[test]
    fn readme_lists_every_exit_code_with_its_name() {
        use Failure::{
            Authentication, Batch, Configuration, Containerd, DiskFull, Interrupted, NoPlatform,
            NotFound, Other, RateLimited, Unreachable, Usage, Verification,
        };
        let rows: Vec<&str> = readme_section("## Exit codes").collect();
        let failures = [
            Other,
            Usage,
            NotFound,
            Authentication,
            Unreachable,
            RateLimited,
            Verification,
            NoPlatform,
            Containerd,
            DiskFull,
            Batch,
            Configuration,
            Interrupted,
        ];
        for failure in failures {
            let row = format!("| {} | `{}` |", failure.exit_code(), failure.code());
            assert!(rows.iter().any(|line| line.starts_with(&row)), "README has no row {row}");
        }
        // A heading, a rule, 0, and one for each failure.
        assert_eq!(rows.iter().filter(|line| line.starts_with('|')).count(), failures.len() + 3);
    }
}
