//! The licences that a release brings: of each library that is linked in, the text.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::root;

/// Runs `packaging/licences.py` for this machine.
fn licences(others: &[&str]) -> Output {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(root().join("packaging/licences.py"));
    command.arg(target).args(others).env("CARGO_NET_OFFLINE", "true").output().unwrap()
}

#[test]
fn every_library_that_is_linked_in_comes_with_the_text_of_its_licence() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text");
    fs::write(&file, "Do as you like.\n").unwrap();
    let output = licences(&[&format!("a runtime: LIKE={}", file.display())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (list, texts) = text.split_once("\n====").unwrap();

    let names: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(names.len() > 150, "{names:?}");
    let lists = |library: &str| names.iter().any(|line| line.starts_with(&format!("{library} ")));
    for library in ["tokio", "rustls", "aws-lc-sys", "zstd-sys", "containerd-client", "a"] {
        assert!(lists(library), "{library} is not listed");
    }
    // A proc macro, a build's tool, tests' libraries.
    for library in ["serde_derive", "cc", "vt100", "k8s-openapi", "libfuzzer-sys"] {
        assert!(!lists(library), "{library} is not linked in");
    }
    for name in names {
        assert!(texts.contains(&format!("\n  {name}\n")), "no text of {name}");
    }
    // Of crates, of C that crates bring, and of the file that was named.
    for said in ["Permission is hereby granted", "Redistribution and use", "Do as you like."] {
        assert!(texts.contains(said), "{said}");
    }
    // Meta's library is under one of two, of which the crate has chosen the other.
    assert!(!texts.contains("GNU GENERAL PUBLIC LICENSE"));
}
