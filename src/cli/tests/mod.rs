//! What can be typed, and that README tells it.

mod flags;

use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory as _;

use super::command::{self, Cli, Command, EXAMPLES};
use super::pull::PullArgs;
use crate::failure::Failure;
use crate::output::ProgressMode;
use crate::platform::Platform;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    command::parse(std::iter::once("pullctl").chain(line.split_whitespace()))
}

fn pull(line: &str) -> PullArgs {
    match parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command {
        Command::Pull(args) => args.into_inner(),
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
    assert_eq!(args.lists.references, ["busybox"]);
    assert_eq!(args.download.concurrency, 4);
    assert_eq!(args.download.retries, 5);
    assert_eq!(args.download.stall_timeout, Duration::from_secs(30));
    assert_eq!(args.download.timeout, None);
    assert_eq!(args.output.progress, ProgressMode::Auto);
    assert!(!args.place.store.pin);
}

#[test]
fn global_flags_are_taken_before_and_after_the_command() {
    for line in ["-n moby -a /run/x.sock pull a", "pull a --namespace moby --address /run/x.sock"] {
        let global = parse(line).unwrap().global;
        assert_eq!(global.namespace(), "moby", "{line}");
        assert_eq!(global.address(), Some("/run/x.sock"), "{line}");
    }
    assert_eq!(parse("-vv images").unwrap().global.verbose, 2);
}

#[test]
fn several_references_files_platforms_and_labels_add_up() {
    let args = pull(
        "pull a b -f one -f - --platform linux/arm64 --platform linux/arm --label k=v --label l=w",
    );
    assert_eq!(args.lists.references, ["a", "b"]);
    assert_eq!(args.lists.file, [PathBuf::from("one"), PathBuf::from("-")]);
    let platforms: Vec<String> = args.image.platform.iter().map(Platform::to_string).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/arm/v7"]);
    assert_eq!(args.place.store.labels.len(), 2);
    assert!(pull("pull -f list").lists.references.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_with_exit_code_2() {
    for line in [
        "pull",
        "pull a --platform amd63",
        "pull a --platform linux/amd64 --all-platforms",
        "pull a --to /some/dir",
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
        "save a",
        "save -o x",
        "save -o x a --plain-http",
        "save -o x a --concurrency 3",
        "save -o x a --from containerd",
        "save -o x a --compress xz",
        "completion tcsh",
        "build a",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn how_registries_are_asked_matters_to_a_save_from_them_only() {
    parse("save -o x a").unwrap();
    parse("save -o x a --from registry --plain-http --concurrency 3 -u ann").unwrap();
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

const README: &str = include_str!("../../../README.md");

/// The lines of README's section whose heading begins with `heading`.
fn readme_section(heading: &str) -> impl Iterator<Item = &'static str> {
    let mut lines = README.lines().skip_while(move |line| !line.starts_with(heading));
    assert!(lines.next().is_some(), "README has no {heading:?}");
    lines.take_while(|line| !line.starts_with('#'))
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

#[test]
fn usage_does_not_take_a_variable_for_something_required() {
    // As with $CONTAINERD_ADDRESS set: a value that was given.
    for line in ["rm --address /run/x.sock", "-n moby pull --concurrency 0 a"] {
        let error = parse(line).expect_err(line).to_string();
        assert!(!error.contains("<ADDRESS>") && !error.contains("<NAMESPACE>"), "{error}");
    }
    let error = parse("rm --address /run/x.sock").unwrap_err().to_string();
    assert!(error.contains("Usage: pullctl rm [OPTIONS] [REF]..."), "{error}");
}

#[test]
fn insecure_registry_is_a_name_for_skip_verify() {
    assert!(pull("pull --insecure-registry a").access.registry.skip_verify);
}

#[test]
fn a_password_can_come_by_standard_input_for_a_user_only() {
    assert!(pull("pull -u ann --password-stdin a").access.password_stdin);
    assert_eq!(parse("pull --password-stdin a").unwrap_err().exit_code(), 2);
}
