//! kubeadm's configuration of a cluster: it says where images are and which version, and kubeadm alone
//! knows which images those are.
//!
//! What is run is the `kubeadm` that is on the `PATH`, from a directory that is written out there: never
//! anything that lies beside a list. It is given the documents that are for it on its standard input.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::listed::{Cluster, Listed, Origin};
use super::plain;
use crate::program::{Excess, Output, Program, Stopped};

/// Longest wait for an answer: of a version that is a channel (`stable-1`), kubeadm asks the network for
/// up to ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest answer, in bytes (64 KiB): it has some ten lines.
const MAX_ANSWER: u64 = 64 << 10;

/// The program.
const KUBEADM: &str = "kubeadm";

/// Who reads what of a stream: kubeadm refuses two objects of one kind, be they none of its own.
const GROUPS: [&str; 3] = ["kubeadm.k8s.io/", "kubelet.config.k8s.io/", "kubeproxy.config.k8s.io/"];

/// The images that kubeadm names for `cluster`, where `path`, the variable, leads to a kubeadm; `text`
/// is the list that it stands in.
///
/// # Errors
/// [`Error::Cluster`] without a kubeadm, [`Error::Kubeadm`] where that names none.
pub(super) fn images(
    cluster: &Cluster,
    text: &str,
    path: Option<&OsStr>,
) -> Result<Vec<Listed>, Error> {
    asked(cluster, text, path, PATIENCE)
}

fn asked(
    cluster: &Cluster,
    text: &str,
    path: Option<&OsStr>,
    patience: Duration,
) -> Result<Vec<Listed>, Error> {
    let Some(program) = find(path) else {
        let Cluster { place, repository, version } = cluster.clone();
        return Err(Error::Cluster { place, repository, version });
    };
    let failed = |problem: String| Error::Kubeadm {
        place: cluster.place.clone(),
        program: program.clone(),
        problem,
    };
    let output = run(&program, documents(text), patience).map_err(|stopped| {
        failed(match stopped {
            Stopped::NotRun(error) => format!("cannot be run: {error}"),
            Stopped::TimedOut => {
                format!("did not end within {} s and was stopped", patience.as_secs())
            }
            Stopped::TooMuch => format!("printed more than {MAX_ANSWER} bytes and was stopped"),
        })
    })?;
    if !output.status.success() {
        return Err(failed(format!("failed: {}", output.complaint(is_no_warning))));
    }
    let answer = String::from_utf8_lossy(&output.stdout);
    let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    let origin = Origin {
        kind: "ClusterConfiguration".to_owned(),
        name: None,
        field: Some("kubeadm config images list".to_owned()),
    };
    let image = |line: &str| {
        let reference = plain::reference(&cluster.place, line)
            .map_err(|_| failed("printed what is no image".to_owned()))?;
        Ok(Listed::new(reference, cluster.place.clone(), origin.clone()))
    };
    let images = lines.map(image).collect::<Result<Vec<_>, Error>>()?;
    match images.is_empty() {
        true => Err(failed("named no image".to_owned())),
        false => Ok(images),
    }
}

/// The kubeadm on the `PATH`. Directories that depend on where somebody stands do not count.
fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |file: &Path| {
        let found = std::fs::metadata(file);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path?)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(KUBEADM))
        .find(|file| is_program(file))
}

/// The documents of a stream that are for kubeadm.
fn documents(text: &str) -> String {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("---") {
            documents.push(String::new());
        }
        if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|document| GROUPS.iter().any(|group| document.contains(group)));
    documents.concat()
}

/// Lists are read before anything else is done, so that this may be waited for.
fn run(program: &Path, input: String, patience: Duration) -> Result<Output, Stopped> {
    let run = Program {
        path: program,
        arguments: ["config", "images", "list", "--config", "/dev/stdin"]
            .map(str::to_owned)
            .to_vec(),
        variables: &[],
        input: input.into_bytes(),
        patience,
        max_output: MAX_ANSWER,
        excess: Excess::Fatal,
    };
    // A runtime of its own, since this may be called within one.
    let running = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(Stopped::NotRun)?.block_on(run.run())
    };
    std::thread::scope(|scope| match scope.spawn(running).join() {
        Ok(ended) => ended,
        Err(_) => Err(Stopped::NotRun(std::io::Error::other("its thread ended"))),
    })
}

/// Warnings of Kubernetes' programs are marked so: `W1128 21:18:44.000000 …`.
fn is_no_warning(line: &str) -> bool {
    let mut characters = line.chars();
    !(characters.next() == Some('W') && characters.next().is_some_and(|it| it.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::lists::Place;

    #[test]
    fn kubeadm_is_looked_for_in_directories_that_are_written_out() {
        let folder = tempfile::tempdir().unwrap();
        let [empty, plain, good] = ["empty", "plain", "good"].map(|name| folder.path().join(name));
        for directory in [&empty, &plain, &good] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(plain.join(KUBEADM), "").unwrap();
        symlink("/bin/true", good.join(KUBEADM)).unwrap();
        let joined = std::env::join_paths([&empty, &plain, &good]).unwrap();
        assert_eq!(find(Some(&joined)), Some(good.join(KUBEADM)));
        let relative = std::env::join_paths([Path::new("."), Path::new(""), &plain]).unwrap();
        assert_eq!(find(Some(&relative)), None);
        assert_eq!(find(None), None);
    }

    #[test]
    fn kubeadm_gets_its_own_documents_of_a_stream() {
        let text = "# all\n---\napiVersion: v1\nkind: Pod\n---\napiVersion: kubeadm.k8s.io/v1beta4\n\
                    kind: ClusterConfiguration\n--- # more\napiVersion: v1\nkind: Pod\n";
        let own = "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n";
        assert_eq!(documents(text), own);
        let json = "{\"apiVersion\": \"kubeadm.k8s.io/v1beta4\"}";
        assert_eq!(documents(json), format!("{json}\n"));
    }

    fn cluster() -> Cluster {
        Cluster {
            place: Place::new(Path::new("list"), 4),
            repository: "harbor.example/k8s".to_owned(),
            version: "v1.34.2".to_owned(),
        }
    }

    #[test]
    fn a_kubeadm_that_hangs_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\nexec sleep 4711\n").unwrap();
        // Another process writes it: a child of this one might have it open.
        let mut install = std::process::Command::new("install");
        let installed =
            install.args(["-m", "755"]).arg(&script).arg(folder.path().join(KUBEADM)).status();
        assert!(installed.unwrap().success());
        let path = folder.path().as_os_str();
        let error = asked(&cluster(), "", Some(path), Duration::from_millis(10));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("list:4: ") && error.contains("did not end"), "{error}");
    }

    #[test]
    fn without_a_kubeadm_the_error_says_what_the_configuration_does() {
        let error = images(&cluster(), "", None).unwrap_err().to_string();
        assert!(error.contains("imageRepository harbor.example/k8s"), "{error}");
    }
}
