//! The programs that keep logins for docker: `docker-credential-NAME get|store|erase`.
//!
//! `docker_credential` speaks `get` only, and waits for a program that hangs; here one that does is
//! killed. See <https://github.com/docker/docker-credential-helpers>.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::config::credentials::Credential;
use crate::failure::{Diagnose, Failure};

/// Longest wait for a helper; some ask a person for a passphrase.
const PATIENCE: Duration = Duration::from_secs(60);

/// What helpers print where they know no login. Part of their protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The user name by which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";

/// Longest part of a helper's complaint that is passed on, in characters.
const MAX_COMPLAINT: usize = 200;

/// A program that keeps logins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Helper {
    program: String,
}

/// Why a helper could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It could not be run.
    #[error("cannot run {program}")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ran and said no.
    #[error("{program} {verb} failed: {complaint}")]
    Failed {
        /// The program.
        program: String,
        /// `get`, `store` or `erase`.
        verb: &'static str,
        /// The first line of what it printed.
        complaint: String,
    },
    /// It did not end.
    #[error("{program} {verb} did not end within {} s and was stopped", PATIENCE.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// `get`, `store` or `erase`.
        verb: &'static str,
    },
    /// It answered with something else than a login.
    #[error("{program} get answered with something that is no login")]
    Malformed {
        /// The program.
        program: String,
    },
}

impl Diagnose for HelperError {
    fn failure(&self) -> Failure {
        Failure::Authentication
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRun { program, .. } => Some(format!(
                "install {program}, or take `credsStore` and `credHelpers` out of docker's \
                 config.json"
            )),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helper {
    /// The helper that configuration calls `name`; `None` if that is no name of a program.
    pub fn named(name: &str) -> Option<Self> {
        let is_name = !name.is_empty() && !name.contains(['/', '\0']);
        is_name.then(|| Self { program: format!("docker-credential-{name}") })
    }

    /// The program's name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The login that it keeps for `server`, if it keeps one.
    ///
    /// # Errors
    /// [`HelperError`] if it cannot say.
    pub async fn get(&self, server: &str) -> Result<Option<Credential>, HelperError> {
        let output = self.run("get", server).await?;
        if !output.status.success() {
            return if is_not_found(&output) {
                Ok(None)
            } else {
                Err(self.failed("get", &output, &[]))
            };
        }
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|_| HelperError::Malformed { program: self.program.clone() })?;
        Ok(match answer {
            Answer { secret, .. } if secret.is_empty() => None,
            Answer { username, secret } if username == TOKEN_USER => {
                Some(Credential::IdentityToken(secret.into()))
            }
            Answer { username, secret } => {
                Some(Credential::Basic { username, password: secret.into() })
            }
        })
    }

    /// Has it keep a login for `server`.
    ///
    /// # Errors
    /// [`HelperError`] if it does not.
    pub async fn store(
        &self,
        server: &str,
        username: &str,
        secret: &SecretString,
    ) -> Result<(), HelperError> {
        let login = json!({
            "ServerURL": server, "Username": username, "Secret": secret.expose_secret(),
        });
        let output = self.run("store", &login.to_string()).await?;
        if output.status.success() {
            return Ok(());
        }
        let in_json = login["Secret"].to_string();
        Err(self.failed("store", &output, &[secret.expose_secret(), in_json.trim_matches('"')]))
    }

    /// Has it forget its login for `server`; that there is none is fine.
    ///
    /// # Errors
    /// [`HelperError`] if it does not.
    pub async fn erase(&self, server: &str) -> Result<(), HelperError> {
        let output = self.run("erase", server).await?;
        if output.status.success() || is_not_found(&output) {
            Ok(())
        } else {
            Err(self.failed("erase", &output, &[]))
        }
    }

    async fn run(&self, verb: &'static str, input: &str) -> Result<Output, HelperError> {
        let not_run = |source| HelperError::NotRun { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(not_run)?;
        let stdin = child.stdin.take();
        let talk = async {
            if let Some(mut stdin) = stdin {
                // One that ends without reading has its reasons, and says them by its exit status.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        match tokio::time::timeout(PATIENCE, talk).await {
            Ok(output) => output.map_err(not_run),
            Err(_) => Err(HelperError::TimedOut { program: self.program.clone(), verb }),
        }
    }

    /// What the helper says, but for lines that repeat one of `secrets`, as a script's may.
    fn failed(&self, verb: &'static str, output: &Output, secrets: &[&str]) -> HelperError {
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        // Complaints are plain words; what looks like an answer may hold the login.
        let is_fit = |line: &&str| {
            !line.is_empty()
                && !line.contains(['{', '}'])
                && !line.contains("Secret")
                && !secrets.iter().any(|secret| line.contains(secret))
        };
        let first_line = said.iter().flat_map(|text| text.lines()).find(is_fit);
        let complaint = match first_line {
            Some(line) => line.chars().take(MAX_COMPLAINT).collect(),
            None => output.status.to_string(),
        };
        HelperError::Failed { program: self.program.clone(), verb, complaint }
    }
}

fn is_not_found(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stdout).contains(NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fixture() -> Helper {
        let script = "fixtures/docker-config/helpers/docker-credential-keeps";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        Helper { program: path.display().to_string() }
    }

    #[tokio::test]
    async fn a_helper_answers_with_a_password_a_token_or_nothing() {
        for (server, expected) in [
            ("known.example", Ok(Some("password of me"))),
            ("token.example", Ok(Some("identity token"))),
            ("empty.example", Ok(None)),
            ("unknown.example", Ok(None)),
            ("garbage.example", Err("answered with something that is no login")),
        ] {
            let answer = fixture().get(server).await;
            assert!(!format!("{answer:?}").contains("helper-secret"), "{server}");
            match (answer, expected) {
                (Ok(None), Ok(None)) => {}
                (Ok(Some(Credential::Basic { username, password })), Ok(Some(expected))) => {
                    assert_eq!(format!("password of {username}"), expected, "{server}");
                    assert_eq!(password.expose_secret(), "helper-secret", "{server}");
                }
                (Ok(Some(Credential::IdentityToken(_))), Ok(Some("identity token"))) => {}
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{server}: {error}");
                }
                (answer, expected) => panic!("{server}: {answer:?}, not {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_helper_that_says_no_is_quoted() {
        let error = fixture().store("a.example", "me", &"hunter2".into()).await.unwrap_err();
        assert!(error.to_string().contains("store failed: refused "), "{error}");
        let error = fixture().erase("locked.example").await.unwrap_err();
        assert!(error.to_string().contains("erase failed: the keyring is locked"), "{error}");
    }

    #[tokio::test]
    async fn forgetting_what_was_never_kept_is_fine() {
        for server in ["known.example", "unknown.example"] {
            assert!(fixture().erase(server).await.is_ok(), "{server}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_not_installed_is_named() {
        let helper = Helper::named("no-such-helper").unwrap();
        let error = helper.get("a.example").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot run docker-credential-no-such-helper");
        assert!(error.hint().unwrap().contains("credsStore"));
    }

    #[test]
    fn a_path_is_no_helpers_name() {
        for (name, is_name) in [("pass", true), ("", false), ("../sh", false), ("a\0b", false)] {
            assert_eq!(Helper::named(name).is_some(), is_name, "{name:?}");
        }
    }
}
