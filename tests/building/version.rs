//! `build.rs`, run as cargo runs it, in checkouts and in what a release's tarball unpacks to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::root;

/// The build script, compiled once.
static SCRIPT: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("build-script");
    let output = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([&program, &root().join("build.rs")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, program)
});

/// A folder with sources, as far as the script reads them.
struct Sources {
    folder: TempDir,
}

/// What a build is told, and what cargo is.
struct Built {
    brief: String,
    verbose: String,
    cargo: String,
}

impl Sources {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for directory in ["src", "packaging", "out"] {
            fs::create_dir(folder.path().join(directory)).unwrap();
        }
        let files =
            ["Cargo.lock", "build.rs", "packaging/commit", "packaging/order.ld", ".gitattributes"];
        for file in files {
            fs::copy(root().join(file), folder.path().join(file)).unwrap();
        }
        fs::write(folder.path().join(".gitignore"), "/out\n").unwrap();
        fs::write(folder.path().join("src/main.rs"), "fn main() {}\n").unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, line: &str) -> String {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
        let output = Command::new("git")
            .args(identity)
            .args(line.split(' '))
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A checkout with one commit, and that commit.
    fn committed(&self) -> String {
        self.git("init --quiet");
        self.git("add .");
        self.git("commit --quiet --message one");
        self.git("rev-parse HEAD")
    }

    fn run(&self, profile: &str) -> std::process::Output {
        // As cargo tells a profile that inherits another.
        let (profile, optimised) = match profile {
            "dist" => ("release", "s"),
            "release" => ("release", "3"),
            other => (other, "0"),
        };
        Command::new(&SCRIPT.1)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CEILING_DIRECTORIES", std::env::temp_dir())
            .env("CARGO_MANIFEST_DIR", self.path())
            .env("OUT_DIR", self.path().join("out"))
            .env("CARGO_PKG_VERSION", "1.2.3")
            .env("TARGET", "mips-of-old")
            .env("PROFILE", profile)
            .env("OPT_LEVEL", optimised)
            .env("RUSTC", "rustc")
            .env("HOME", std::env::var_os("HOME").unwrap_or_default())
            .output()
            .unwrap()
    }

    fn build(&self, profile: &str) -> Built {
        let output = self.run(profile);
        let cargo = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{cargo}");
        let written = |name| fs::read_to_string(self.path().join("out").join(name)).unwrap();
        Built { brief: written("version"), verbose: written("version-verbose"), cargo }
    }
}

#[test]
fn a_release_knows_its_commit_and_whether_it_was_changed() {
    let sources = Sources::new();
    let first = sources.committed();
    assert_eq!(sources.build("release").brief, format!("1.2.3 ({}, mips-of-old)", &first[..16]));

    fs::write(sources.path().join("src/main.rs"), "fn main() { }\n").unwrap();
    let changed = format!("1.2.3 ({}+changes, mips-of-old)", &first[..16]);
    assert_eq!(sources.build("release").brief, changed);

    sources.git("commit --quiet --all --message two");
    let second = sources.git("rev-parse HEAD");
    assert_eq!(sources.build("release").brief, format!("1.2.3 ({}, mips-of-old)", &second[..16]));
}

#[test]
fn what_moves_head_has_it_looked_at_again() {
    let sources = Sources::new();
    sources.committed();
    let watched = |built: &Built| -> Vec<(PathBuf, Vec<u8>)> {
        let paths = built.cargo.lines().filter_map(|line| line.split_once("rerun-if-changed="));
        let paths = paths.map(|(_, path)| sources.path().join(path));
        paths
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    };
    let mut seen = watched(&sources.build("release"));
    let moves: [&[&str]; 4] = [
        &["commit --quiet --allow-empty --message two"],
        &["checkout --quiet -b other HEAD~1"],
        &["pack-refs --all", "commit --quiet --allow-empty --message three"],
        &["reset --quiet --hard HEAD~1"],
    ];
    for lines in moves {
        for line in lines {
            sources.git(line);
        }
        let stale = seen.iter().any(|(path, bytes)| fs::read(path).ok().as_ref() != Some(bytes));
        assert!(stale, "nothing that is watched has changed by {lines:?}");
        seen = watched(&sources.build("release"));
    }
}

#[test]
fn every_path_that_is_watched_exists() {
    // One that does not has cargo build everything each time.
    let sources = Sources::new();
    sources.committed();
    for file in ["Cargo.toml", ".cargo", "protos"] {
        fs::create_dir(sources.path().join(file)).unwrap();
    }
    for line in sources.build("release").cargo.lines() {
        let path = line.split_once("rerun-if-changed=").unwrap().1;
        assert!(sources.path().join(path).exists(), "{path}");
    }
    for path in ["src", "build.rs", "Cargo.toml", "Cargo.lock", "protos", ".cargo"] {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn a_releases_tarball_tells_the_commit_it_was_made_of() {
    let sources = Sources::new();
    let commit = sources.committed();
    let unpacked = TempDir::new().unwrap();
    let tarball = unpacked.path().join("sources.tar");
    sources.git(&format!("archive --output {} HEAD", tarball.display()));
    let status = Command::new("tar").arg("-xf").arg(&tarball).current_dir(unpacked.path()).status();
    assert!(status.unwrap().success());
    fs::create_dir(unpacked.path().join("out")).unwrap();
    let built = Sources { folder: unpacked }.build("release");
    assert_eq!(built.brief, format!("1.2.3 ({}, mips-of-old)", &commit[..16]));
    assert!(!built.cargo.contains(".git/"), "{}", built.cargo);
}

#[test]
fn sources_without_a_repository_or_within_one_of_others_have_no_commit() {
    let alone = Sources::new();
    assert_eq!(alone.build("release").brief, "1.2.3 (commit unknown, mips-of-old)");

    let others = Sources::new();
    others.git("init --quiet");
    fs::write(others.path().join("theirs"), "").unwrap();
    others.git("add theirs");
    others.git("commit --quiet --message theirs");
    assert_eq!(others.build("release").brief, "1.2.3 (commit unknown, mips-of-old)");
}

#[test]
fn a_debug_build_is_not_made_anew_by_a_commit() {
    let sources = Sources::new();
    sources.committed();
    let built = sources.build("debug");
    assert_eq!(built.brief, "1.2.3 (debug build, mips-of-old)");
    assert!(!built.cargo.contains("HEAD") && !built.cargo.contains("=src"), "{}", built.cargo);
}

#[test]
fn no_path_and_no_time_gets_into_the_program() {
    let [one, other] = [Sources::new(), Sources::new()];
    let [built, again] = [one.build("release"), other.build("release")];
    assert_eq!(built.verbose, again.verbose);
    assert!(!built.verbose.contains('/'), "{}", built.verbose);
    assert!(built.verbose.lines().nth(1).unwrap().starts_with("rustc 1."), "{}", built.verbose);
    assert!(built.verbose.lines().skip(1).all(|line| line.split(' ').count() == 2));
}

#[test]
fn what_is_handed_out_is_linked_in_its_order_and_nothing_else() {
    let sources = Sources::new();
    let order = format!("cargo::rustc-link-arg-bins=-Wl,-T,{}", sources.path().display());
    for (profile, is_ordered) in [("debug", false), ("release", false), ("dist", true)] {
        assert_eq!(sources.build(profile).cargo.contains(&order), is_ordered, "{profile}");
    }
}

#[test]
fn a_library_that_is_gone_fails_the_build_with_its_name() {
    let sources = Sources::new();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock = lock.replace("name = \"rustls\"", "name = \"rostls\"");
    fs::write(sources.path().join("Cargo.lock"), lock).unwrap();
    let output = sources.run("release");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("cargo::error=Cargo.lock has no rustls"), "{told}");
}
