//! The table of exit codes, for scripts. The faults' own files have the rest of the codes.

use crate::support::cli::Pullctl;
use crate::support::faulty::FaultyRegistry;

#[test]
fn usage_errors_are_2_before_anything_is_asked() {
    for arguments in [
        &["pull"][..],
        &["pull", "--no-such-flag", "busybox"],
        &["pull", "--platform", "a/b/c/d", "busybox"],
        &["pull", "--chunk-size", "huge", "busybox"],
        &["pull", "--to", "oci:", "busybox"],
        &["pull", "-u", ":hunter2", "registry.example/app"],
        &["pull", "-u", "me:hunter2", "registry.example/app", "other.example/app"],
        &["nosuchcommand"],
        &["rm"],
        &[],
    ] {
        let outcome = Pullctl::new().args(arguments).run();
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        assert!(!outcome.stderr.contains("hunter2"), "{arguments:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_bad_reference_is_2_and_names_the_rule_it_broke() {
    let cases = [
        ("registry.example/UPPER", "lower"),
        ("https://registry.example/app", "https://"),
        ("app:not/a/tag", "tag"),
        ("app@sha256:abc", "digest"),
        ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "64"),
        ("a b", "space"),
        ("", "empty"),
    ];
    for (reference, rule) in cases {
        let outcome = Pullctl::new().args(["pull", "--to", "oci:/nowhere", reference]).run();
        assert_eq!(outcome.code, Some(2), "{reference:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(rule), "{reference:?}: {}", outcome.stderr);
    }
}

#[test]
fn one_bad_reference_of_several_stops_the_run_before_it_begins() {
    let registry = FaultyRegistry::start();
    let good = registry.add_new(&crate::support::image::Image::small());
    let folder = tempfile::tempdir().unwrap();
    let to = format!("oci:{}", folder.path().join("layout").display());
    Pullctl::new().args(["pull", "--to", &to, &good, "BAD:tag:tag"]).run().ended_with(2);
    assert_eq!(registry.requests(), []);
}

#[test]
fn help_and_version_are_0_and_go_to_standard_output() {
    for arguments in [&["--help"][..], &["--version"], &["pull", "--help"], &["help", "images"]] {
        let outcome = Pullctl::new().args(arguments).run().succeeded();
        assert!(!outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let command = format!("{} pull --help | head -n1", env!("CARGO_BIN_EXE_pullctl"));
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
