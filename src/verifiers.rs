//! containerd's image verifiers: programs of the node's owner that say which images it may have.
//!
//! containerd 2.0 and later call them when they pull. An image that comes without the daemon's pulling
//! it passes them by the same contract. See
//! <https://github.com/containerd/containerd/blob/main/docs/image-verification.md>.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::VerifierSettings;
use crate::failure::{Diagnose, Failure};
use crate::oci::Descriptor;
use crate::program::{Excess, Program, Stopped};

/// What a verifier is told that its standard input is.
const INPUT_TYPE: &str = "application/vnd.oci.descriptor.v1+json";

/// Most of a verifier's reason that is taken, in bytes: containerd's own bound.
const MAX_REASON: u64 = 32 << 10;

/// The verifiers of a node.
#[derive(Debug, Clone)]
pub struct Verifiers {
    settings: VerifierSettings,
}

/// Why an image may not be here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is there and cannot be read.
    #[error("cannot tell which image verifiers there are in {}", directory.display())]
    Unlisted {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A verifier cannot be run.
    #[error("cannot run the image verifier {}", program.display())]
    NotRun {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A verifier does not end.
    #[error("the image verifier {} did not end within {} s and was stopped", program.display(), after.as_secs_f64())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// A verifier says no.
    #[error("the image verifier {} rejects {name} ({ending}): {reason}", program.display())]
    Rejected {
        /// The program.
        program: PathBuf,
        /// The image.
        name: String,
        /// How it ended.
        ending: String,
        /// What it printed, shortened.
        reason: String,
    },
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        Failure::Verification
    }

    fn hint(&self) -> Option<String> {
        let first = match self {
            Self::Rejected { .. } => "the owner of this node keeps the image away from it",
            Self::Unlisted { .. } | Self::NotRun { .. } => {
                "all that is in the directory has to be an executable: containerd pulls nothing either"
            }
            Self::TimedOut { .. } => {
                "see what it waits for, or raise `per_verifier_timeout` in containerd's configuration"
            }
        };
        Some(format!("{first}; --ignore-verifiers does without it"))
    }
}

impl Verifiers {
    /// Those that the node's containerd would call.
    pub fn of(settings: VerifierSettings) -> Self {
        Self { settings }
    }

    /// The directory that they are in.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }

    /// Their names, in the order in which they are called; none where there is no directory.
    ///
    /// # Errors
    /// [`Error::Unlisted`].
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let directory = self.directory();
        let listed = fs::read_dir(directory).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        });
        let mut names = match listed {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Unlisted { directory: directory.to_owned(), source }),
        };
        names.sort();
        Ok(names)
    }

    /// Whether there is nobody to ask.
    pub fn are_none(&self) -> bool {
        self.names().is_ok_and(|names| names.is_empty())
    }

    /// Asks all of them, as many as the configuration wants, whether the image called `name` may be here
    /// that `target` points to.
    ///
    /// # Errors
    /// The first that does not agree.
    pub async fn judge(&self, name: &str, target: &Descriptor) -> Result<(), Error> {
        let names = self.names()?;
        let wanted = self.settings.max.unwrap_or(names.len());
        if names.len() > wanted {
            let directory = self.directory().display();
            tracing::warn!(
                "of the image verifiers in {directory}, {wanted} are called: `max_verifiers`"
            );
        }
        for verifier in names.iter().take(wanted) {
            self.ask(&self.directory().join(verifier), name, target).await?;
        }
        Ok(())
    }

    async fn ask(&self, path: &Path, name: &str, target: &Descriptor) -> Result<(), Error> {
        let plain = Descriptor::new(target.media_type.clone(), target.digest, target.size);
        let input = serde_json::to_vec(&plain).unwrap_or_default();
        let digest = target.digest.to_string();
        let arguments =
            ["-name", name, "-digest", &digest, "-stdin-media-type", INPUT_TYPE].map(str::to_owned);
        let run = Program {
            path,
            arguments: arguments.to_vec(),
            variables: &[],
            input,
            patience: self.settings.timeout,
            max_output: MAX_REASON,
            excess: Excess::Dropped,
        };
        let program = path.to_owned();
        let output = match run.run().await {
            Ok(output) => output,
            Err(Stopped::NotRun(source)) => return Err(Error::NotRun { program, source }),
            Err(Stopped::TimedOut | Stopped::TooMuch) => {
                return Err(Error::TimedOut { program, after: self.settings.timeout });
            }
        };
        let reason = output.first_line();
        tracing::debug!(name, verifier = %path.display(), status = %output.status, reason);
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Rejected {
            program,
            name: name.to_owned(),
            ending: output.status.to_string(),
            reason: reason.unwrap_or_else(|| output.complaint(|_| true)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::oci::{Digest, MediaType};

    /// Verifiers that are these shell scripts, `1`, `2` and so on; at most two are called.
    fn with(scripts: &[&str]) -> (tempfile::TempDir, Verifiers) {
        let directory = tempfile::tempdir().unwrap();
        for (number, script) in scripts.iter().enumerate() {
            // Another process writes it: of this one a child that is just started might have it open,
            // and then nobody may run it.
            let text = tempfile::NamedTempFile::new().unwrap();
            fs::write(text.path(), format!("#!/bin/sh\n{script}\n")).unwrap();
            let path = directory.path().join((number + 1).to_string());
            let mut install = std::process::Command::new("install");
            let installed = install.args(["-m", "755"]).arg(text.path()).arg(path).status();
            assert!(installed.unwrap().success());
        }
        let settings = VerifierSettings {
            directory: directory.path().to_owned(),
            max: Some(2),
            timeout: Duration::from_secs(60),
        };
        (directory, Verifiers::of(settings))
    }

    async fn judge(scripts: &[&str]) -> Result<(), Error> {
        let (_directory, verifiers) = with(scripts);
        let media_type = MediaType::new("application/vnd.oci.image.index.v1+json");
        let target = Descriptor::new(media_type, Digest::of(b"image"), 5);
        verifiers.judge("docker.io/library/app:v1", &target).await
    }

    #[tokio::test]
    async fn all_have_to_agree_by_their_exit_status() {
        let yes = "exit 0";
        let no = "echo 'not signed by us'; exit 1";
        for (scripts, rejected) in [
            (&[][..], None),
            (&[yes, yes], None),
            (&[no], Some("/1 rejects docker.io/library/app:v1 (exit status: 1): not signed by us")),
            (&[yes, no], Some("/2 rejects")),
            (&["kill -9 $$"], Some("signal: 9")),
            (&["echo because >&2; exit 2"], Some("because")),
            // More than are called by the configuration.
            (&[yes, yes, no], None),
        ] {
            let judged = judge(scripts).await.map_err(|error| error.to_string());
            match rejected {
                None => assert_eq!(judged, Ok(()), "{scripts:?}"),
                Some(words) => {
                    assert!(judged.clone().is_err_and(|e| e.contains(words)), "{judged:?}")
                }
            }
        }
    }

    #[tokio::test]
    async fn a_verifier_gets_name_digest_and_descriptor() {
        let digest = Digest::of(b"image");
        let script = format!(
            r#"test "$*" = "-name docker.io/library/app:v1 -digest {digest} -stdin-media-type {INPUT_TYPE}" || exit 1
               test "$(cat)" = '{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{digest}","size":5}}'"#
        );
        judge(&[&script]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_verifier_that_hangs_rejects() {
        let error = judge(&["sleep 4711 & wait"]).await.unwrap_err();
        assert!(error.to_string().contains("did not end within 60 s"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_program_rejects_and_a_long_reason_is_cut() {
        let (directory, verifiers) = with(&["yes no | head -c 100000; exit 1"]);
        let target = Descriptor::new(MediaType::new("x"), Digest::of(b"image"), 5);
        let error = verifiers.judge("a/b:c", &target).await.unwrap_err();
        assert!(matches!(&error, Error::Rejected { reason, .. } if reason == "no"), "{error}");
        fs::set_permissions(directory.path().join("1"), fs::Permissions::from_mode(0o644)).unwrap();
        let error = verifiers.judge("a/b:c", &target).await.unwrap_err();
        assert!(matches!(error, Error::NotRun { .. }), "{error}");
        assert_eq!(error.failure(), Failure::Verification);
    }
}
