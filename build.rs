//! What `--version` says, known when the crate is built: commit, target, compiler, libraries.
//!
//! Nothing of it depends on the clock or on where the sources are, so that the same sources make the
//! same bytes. The commit is that of the checkout, or, in a release's tarball, what `git archive` has
//! put into `packaging/commit`. A debug build leaves it out: all would be built anew after each commit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Those that decide how pullctl speaks to registries and to containerd, and what unpacks.
const LIBRARIES: [&str; 14] = [
    "containerd-client",
    "k8s-cri",
    "tonic",
    "oci-client",
    "reqwest",
    "hyper",
    "h2",
    "rustls",
    "rustls-webpki",
    "aws-lc-rs",
    "aws-lc-sys",
    "tokio",
    "zlib-rs",
    "zstd-sys",
];

/// What a binary is made of besides its dependencies, as git takes it.
const SOURCES: [&str; 7] =
    ["src", "build.rs", "Cargo.toml", "Cargo.lock", "protos", ".cargo", ORDER];

/// What lays the functions side by side that a pull passes through: `scripts/order`.
const ORDER: &str = "packaging/order.ld";

/// Set where it is made: valgrind knows no function by its name that lies in another section than most do.
const UNORDERED: &str = "PULLCTL_UNORDERED";

/// `git archive` writes the commit there.
const EXPORTED: &str = "packaging/commit";

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    for path in ["build.rs", "Cargo.lock", EXPORTED] {
        println!("cargo::rerun-if-changed={path}");
    }
    // For what is handed out alone: it takes a linker that reads scripts, as those of GNU and LLVM do, ten seconds.
    if variable("OPT_LEVEL") == "s" {
        println!("cargo::rerun-if-changed={ORDER}");
        println!("cargo::rerun-if-env-changed={UNORDERED}");
        if env::var_os(UNORDERED).is_none() {
            println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", root.join(ORDER).display());
        }
    }
    let commit =
        if variable("PROFILE") == "release" { commit(&root) } else { "debug build".into() };
    let short = format!("{} ({commit}, {})", variable("CARGO_PKG_VERSION"), variable("TARGET"));
    let verbose = format!("{short}\n{}\n{}", compiler(), libraries(&root).join("\n"));
    write(&out.join("version"), &short);
    write(&out.join("version-verbose"), &verbose);
}

/// Sixteen digits of the commit, with a mark where the sources are not what was committed.
fn commit(root: &Path) -> String {
    let exported = fs::read_to_string(root.join(EXPORTED)).unwrap_or_default();
    // Its time is beside it, for those who make releases.
    if let Some(commit) = exported.split(' ').next().filter(|commit| is_commit(commit)) {
        return commit[..16].to_owned();
    }
    // Not that of a repository which the sources were merely unpacked into.
    let Some(head) = git(root, &["rev-parse", "HEAD"]).filter(|head| is_commit(head)) else {
        return "commit unknown".to_owned();
    };
    if git(root, &["ls-files", "--error-unmatch", "build.rs"]).is_none() {
        return "commit unknown".to_owned();
    }
    watch(root);
    let changed = git(root, &[&["status", "--porcelain", "--"][..], &SOURCES].concat());
    let mark = if changed.is_none_or(|changed| changed.is_empty()) { "" } else { "+changes" };
    format!("{}{mark}", &head[..16])
}

fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Has this run again when HEAD moves, by whatever way, and when a source changes. A path that does
/// not exist would have it run each time.
fn watch(root: &Path) {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let files = ["HEAD", "logs/HEAD", "packed-refs"].map(str::to_owned);
    for file in files.into_iter().chain(branch) {
        let path = git(root, &["rev-parse", "--git-path", &file]).map(|path| root.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// What git says, where there is a git that has something to say of `root`.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// `rustc 1.95.0`.
fn compiler() -> String {
    let output = Command::new(variable("RUSTC")).arg("--version").output();
    let output = output.unwrap_or_else(|error| fail(&format!("cannot run rustc: {error}")));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split(' ').take(2).map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Name and version of each, as Cargo.lock has them.
fn libraries(root: &Path) -> Vec<String> {
    let lock = fs::read_to_string(root.join("Cargo.lock"))
        .unwrap_or_else(|error| fail(&format!("cannot read Cargo.lock: {error}")));
    let value = |line: Option<&str>, name: &str| {
        let (key, value) = line?.split_once(" = ")?;
        (key == name).then(|| value.trim_matches('"').to_owned())
    };
    let mut packages = Vec::new();
    for entry in lock.split("[[package]]\n").skip(1) {
        let mut lines = entry.lines();
        let name = value(lines.next(), "name");
        packages.extend(name.zip(value(lines.next(), "version")));
    }
    let mut told = Vec::new();
    for library in LIBRARIES {
        let versions: Vec<_> = packages.iter().filter(|(name, _)| name == library).collect();
        if versions.is_empty() {
            fail(&format!("Cargo.lock has no {library}: take it out of LIBRARIES"));
        }
        told.extend(versions.iter().map(|(name, version)| format!("{name} {version}")));
    }
    told
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("{name} is not set: cargo runs this")))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text)
        .unwrap_or_else(|error| fail(&format!("cannot write what --version says: {error}")));
}

/// Ends the build with a sentence instead of a panic's.
#[expect(clippy::exit, reason = "nothing is left to be done")]
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}
