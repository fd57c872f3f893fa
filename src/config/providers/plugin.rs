//! Running a plugin: its program looked at, its time and its output bounded.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{self, Answer};
use crate::program::{Excess, Program, Stopped};

/// Longest wait for an answer: the kubelet's own.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest answer, in bytes (1 MiB): some logins, of which one is a few KiB.
const MAX_ANSWER: u64 = 1 << 20;

/// A plugin as it is configured.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    /// The program's name in the directory.
    pub(super) name: String,
    /// That directory.
    pub(super) programs: PathBuf,
    /// Which images it is for.
    pub(super) patterns: Vec<String>,
    /// How long an answer is kept that does not say so.
    pub(super) default_lasts: Duration,
    /// Of the messages.
    pub(super) api_version: String,
    pub(super) arguments: Vec<String>,
    /// Added to this process's own environment.
    pub(super) variables: Vec<(String, String)>,
}

/// Why a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    /// There is no such program, or it may not be run.
    #[error("cannot run the credential provider plugin {}", program.display())]
    NotRun {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A symbolic link leads out of the directory.
    #[error(
        "the credential provider plugin {} is not run: it is a link to {}, outside of its directory",
        program.display(), target.display()
    )]
    Outside {
        /// The program.
        program: PathBuf,
        /// Where the link leads.
        target: PathBuf,
    },
    /// It ran and ended with an error.
    #[error("the credential provider plugin {} failed: {complaint}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// What it printed, shortened, or how it ended.
        complaint: String,
    },
    /// It did not end.
    #[error(
        "the credential provider plugin {} did not end within {} s and was stopped",
        program.display(), PATIENCE.as_secs()
    )]
    TimedOut {
        /// The program.
        program: PathBuf,
    },
    /// It printed without end.
    #[error(
        "the credential provider plugin {} printed more than {MAX_ANSWER} bytes and was stopped",
        program.display()
    )]
    TooMuch {
        /// The program.
        program: PathBuf,
    },
    /// What it printed is no answer.
    #[error("the answer of the credential provider plugin {} is not used: {problem}", program.display())]
    Malformed {
        /// The program.
        program: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

impl PluginError {
    /// Whether asking it for another image would end the same.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Malformed { .. })
    }

    /// What to do about it.
    pub(super) fn hint_text(&self) -> &'static str {
        match self {
            Self::NotRun { .. } => {
                "install it there with mode 755, or name its directory with \
                 --image-credential-provider-bin-dir"
            }
            Self::Outside { .. } => {
                "put the program itself there, or name the directory that it is in with \
                 --image-credential-provider-bin-dir"
            }
            Self::Failed { .. } | Self::TimedOut { .. } => {
                "the kubelet's log tells how it fares there; -u or --auth-file does without it"
            }
            Self::TooMuch { .. } | Self::Malformed { .. } => {
                "compare its version with `apiVersion` in the configuration"
            }
        }
    }
}

impl Plugin {
    /// Asks it for the login of `image`.
    ///
    /// # Errors
    /// [`PluginError`].
    pub(super) async fn ask(&self, image: &str) -> Result<Answer, PluginError> {
        let program = self.program()?;
        let run = Program {
            path: &program,
            arguments: self.arguments.clone(),
            variables: &self.variables,
            input: protocol::request(&self.api_version, image),
            patience: PATIENCE,
            max_output: MAX_ANSWER,
            excess: Excess::Fatal,
        };
        let output = match run.run().await {
            Ok(output) => output,
            Err(Stopped::NotRun(source)) => return Err(PluginError::NotRun { program, source }),
            Err(Stopped::TimedOut) => return Err(PluginError::TimedOut { program }),
            Err(Stopped::TooMuch) => return Err(PluginError::TooMuch { program }),
        };
        if !output.status.success() {
            let complaint = output.complaint(is_no_secret);
            return Err(PluginError::Failed { program, complaint });
        }
        protocol::answer(&output.stdout, &self.api_version, image)
            .map_err(|problem| PluginError::Malformed { program, problem })
    }

    /// Its program, which lies in the directory itself: whoever may write a link elsewhere decides
    /// nothing here.
    fn program(&self) -> Result<PathBuf, PluginError> {
        let program = self.programs.join(&self.name);
        let looked_at = || -> io::Result<(PathBuf, PathBuf)> {
            let (directory, target) = (self.programs.canonicalize()?, program.canonicalize()?);
            let metadata = target.metadata()?;
            if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "it is no executable file",
                ));
            }
            Ok((directory, target))
        };
        match looked_at() {
            Ok((directory, target)) if !target.starts_with(&directory) => {
                Err(PluginError::Outside { program, target })
            }
            Ok(_) => Ok(program),
            Err(source) => Err(PluginError::NotRun { program, source }),
        }
    }
}

/// Plain words; what looks like an answer may hold the login.
fn is_no_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    !line.contains(['{', '}'])
        && !["password", "secret", "token"].iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Another process writes the script: of this one a child that is just started might have it open,
    /// and then nobody may run it.
    fn install(path: &std::path::Path, script: &str) {
        let text = tempfile::NamedTempFile::new().unwrap();
        fs::write(text.path(), format!("#!/bin/sh\n{script}\n")).unwrap();
        let mut install = std::process::Command::new("install");
        let installed = install.args(["-m", "755"]).arg(text.path()).arg(path).status();
        assert!(installed.unwrap().success());
    }

    /// A plugin `p` that is this shell script, in a directory of its own.
    fn plugin(script: &str) -> (tempfile::TempDir, Plugin) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p");
        install(&path, script);
        let plugin = Plugin {
            name: "p".to_owned(),
            programs: directory.path().to_owned(),
            patterns: vec!["*".to_owned()],
            default_lasts: Duration::ZERO,
            api_version: protocol::api_version("v1"),
            arguments: vec!["--flag".to_owned()],
            variables: vec![("REGION".to_owned(), "here".to_owned())],
        };
        (directory, plugin)
    }

    async fn complaint_of(script: &str) -> String {
        let (_directory, plugin) = plugin(script);
        plugin.ask("reg.example/app").await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_plugin_gets_the_question_its_arguments_and_its_environment() {
        let (_directory, plugin) = plugin(
            r#"read request
               case "$request" in *'"image":"reg.example/app"'*) ;; *) exit 1 ;; esac
               echo '{"kind":"CredentialProviderResponse",
                 "apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image",
                 "auth":{"'"$1-$REGION"'":{"username":"u","password":"hunter2"}}}'"#,
        );
        let answer = plugin.ask("reg.example/app").await.unwrap();
        assert_eq!(answer.logins[0].0, "--flag-here");
        assert!(!format!("{answer:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_named_and_no_secret_is_repeated() {
        for (script, problem) in [
            ("echo 'no role' >&2; exit 3", "p failed: no role"),
            ("echo 'password hunter2' >&2; exit 3", "p failed: exit status: 3"),
            ("echo '{\"a\": \"hunter2\"}' >&2; exit 3", "exit status: 3"),
            ("echo hunter2", "no CredentialProviderResponse"),
            ("exit 0", "no CredentialProviderResponse"),
            ("kill -9 $$", "signal: 9"),
            ("head -c 3000000 /dev/zero; exit 0", "printed more than 1048576 bytes"),
            ("yes >&2 & yes", "printed more than 1048576 bytes"),
        ] {
            let complaint = complaint_of(script).await;
            assert!(complaint.contains("/p"), "{script}: {complaint}");
            assert!(complaint.contains(problem), "{script}: {complaint}");
            assert!(!complaint.contains("hunter2"), "{script}: {complaint}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_that_hangs_is_stopped() {
        // The clock stands still until nobody has anything to do, and then shows the time-out.
        assert!(complaint_of("sleep 4711 & wait").await.contains("did not end within 60 s"));
    }

    #[tokio::test]
    async fn a_program_is_run_only_from_its_directory() {
        let (directory, plugin) = plugin("exit 0");
        let path = directory.path().join("p");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = plugin.ask("a/b").await.unwrap_err();
        assert!(matches!(error, PluginError::NotRun { .. }), "{error}");
        assert!(error.is_lasting());

        fs::remove_file(&path).unwrap();
        assert!(matches!(plugin.ask("a/b").await, Err(PluginError::NotRun { .. })));
        symlink("/bin/true", &path).unwrap();
        let error = plugin.ask("a/b").await.unwrap_err();
        assert!(matches!(error, PluginError::Outside { .. }), "{error}");
        symlink("/bin/true", directory.path().join("q")).unwrap();
        install(&directory.path().join("real"), "exit 0");
        fs::remove_file(&path).unwrap();
        symlink("real", &path).unwrap();
        assert!(matches!(plugin.ask("a/b").await, Err(PluginError::Malformed { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(plugin.ask("a/b").await, Err(PluginError::NotRun { .. })));
    }
}
