//! `protos/protoc`, as prost calls it, where there is no other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::root;

/// What the script needs, and no protoc.
const PROGRAMS: [&str; 10] =
    ["sh", "find", "sort", "xargs", "sha256sum", "cut", "sed", "cat", "dirname", "basename"];

/// The requests that the build scripts of dependencies make: crate, folder, flags, and how many files
/// of which name.
const K8S_CRI: [&str; 2] = ["proto/v1.proto", "proto/v1alpha2.proto"];

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn without_protoc() -> Self {
        let folder = TempDir::new().unwrap();
        let path = std::env::var("PATH").unwrap();
        for program in PROGRAMS {
            let real =
                std::env::split_paths(&path).map(|at| at.join(program)).find(|at| at.exists());
            symlink(real.unwrap(), folder.path().join(program)).unwrap();
        }
        Self { folder }
    }

    /// Calls it as prost does, in the folder of a dependency.
    fn ask(&self, package: &Path, include: &str, files: &[&str]) -> (Output, Vec<u8>) {
        let set = self.folder.path().join("a set");
        let output = Command::new(root().join("protos/protoc"))
            .args(["--include_imports", "--include_source_info", "-o"])
            .arg(&set)
            .args(["-I", include])
            .args(files)
            .current_dir(package)
            .env_clear()
            .env("PATH", self.folder.path())
            .output()
            .unwrap();
        (output, fs::read(set).unwrap_or_default())
    }
}

/// Where cargo has put the sources of the package that Cargo.lock names.
fn sources(name: &str) -> PathBuf {
    // Those of other systems may never have been fetched, and those of the fuzz targets are fetched for this.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform"])
        .arg(platform)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == name).unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

#[test]
fn a_dependency_gets_what_protoc_would_make_of_its_files() {
    let machine = Machine::without_protoc();
    let package = sources("k8s-cri");
    let mut sets = Vec::new();
    for file in K8S_CRI {
        let (output, set) = machine.ask(&package, "proto/", &[file]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&set).into_owned();
        assert!(text.contains("PullImageRequest"), "{file}");
        sets.push(set);
    }
    assert_ne!(sets[0], sets[1]);
}

#[test]
fn a_dependency_with_other_files_gets_none_and_a_hint() {
    let machine = Machine::without_protoc();
    let package = TempDir::new().unwrap();
    fs::create_dir(package.path().join("proto")).unwrap();
    for file in K8S_CRI {
        let text = fs::read_to_string(sources("k8s-cri").join(file)).unwrap();
        fs::write(package.path().join(file), format!("{text}\n// another version\n")).unwrap();
    }
    let (output, set) = machine.ask(package.path(), "proto/", &K8S_CRI[..1]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(set, b"");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["proto/v1.proto", "Cargo.lock", "hint: build with --locked", "protobuf-compiler"] {
        assert!(told.contains(part), "no {part} in: {told}");
    }
}

#[test]
fn what_is_no_question_of_prosts_is_refused() {
    let machine = Machine::without_protoc();
    let (output, _) = machine.ask(root(), "proto/", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no protoc"));
}

#[test]
fn cargo_has_build_scripts_ask_it() {
    let settings = fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(settings.contains("\nPROTOC = { value = \"protos/protoc\", relative = true }\n"));
    // Each answer is one that the index leads to, and each that it leads to is there.
    let index = fs::read_to_string(root().join("protos/index")).unwrap();
    let mut named: Vec<&str> = index.lines().map(|line| line.split("  ").nth(1).unwrap()).collect();
    let mut there: Vec<String> = fs::read_dir(root().join("protos"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".binpb"))
        .collect();
    named.sort_unstable();
    there.sort_unstable();
    assert_eq!(named, there);
}
