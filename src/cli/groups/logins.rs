//! Who to be at either end of a copy, where that is not the same.

use clap::Args;

use crate::cli::values::Login;
use crate::cli::{Error, prompt};
use crate::config::{Credential, Keychain, NodeConfig};
use crate::failure::Notice;
use crate::reference::Reference;

/// Who to be at either end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct LoginsArgs {
    /// Login for SRC's registry alone; without a password it is asked for
    #[arg(
        long,
        visible_alias = "src-creds",
        value_name = "USER[:PASSWORD]",
        conflicts_with = "user"
    )]
    pub src_user: Option<Login>,

    /// Login for DST's registry alone; without a password it is asked for
    #[arg(
        long,
        visible_alias = "dest-creds",
        value_name = "USER[:PASSWORD]",
        conflicts_with = "user"
    )]
    pub dest_user: Option<Login>,
}

impl LoginsArgs {
    /// Whether one was given.
    pub(in crate::cli) fn is_any(&self) -> bool {
        self.src_user.is_some() || self.dest_user.is_some()
    }

    fn both(&self) -> [(&'static str, Option<&Login>); 2] {
        [("--src-user", self.src_user.as_ref()), ("--dest-user", self.dest_user.as_ref())]
    }

    /// A warning for each password that was typed.
    pub(in crate::cli) fn visible_passwords(&self) -> Vec<Notice> {
        let typed = self
            .both()
            .into_iter()
            .filter(|(_, login)| login.is_some_and(|login| login.password.is_some()));
        typed
            .map(|(flag, _)| {
                let message = format!("other users of this machine can see a password in {flag}");
                let hint = format!("use {flag} USER, which asks for it, or --auth-file");
                Notice::new("visible-password", message).with_hint(hint)
            })
            .collect()
    }

    /// Who to be at the source and at the destination, whose references are `ends`; each has the logins
    /// of the node besides.
    ///
    /// # Errors
    /// [`Error::NoUser`], [`Error::NoRegistryThere`], or a password can't be asked for.
    pub(in crate::cli) async fn keychains(
        &self,
        ends: [Option<&Reference>; 2],
        source_node: NodeConfig,
        destination_node: NodeConfig,
    ) -> Result<[Keychain; 2], Error> {
        let [source, destination] = self.both();
        let source = typed(source, ends[0]).await?;
        let destination = typed(destination, ends[1]).await?;
        Ok([source_node.with_logins(source), destination_node.with_logins(destination)])
    }
}

async fn typed(
    (flag, login): (&'static str, Option<&Login>),
    reference: Option<&Reference>,
) -> Result<Keychain, Error> {
    let Some(Login { username, password }) = login else { return Ok(Keychain::default()) };
    let reference = reference.ok_or(Error::NoRegistryThere(flag))?;
    if username.is_empty() {
        return Err(Error::NoUser);
    }
    let (domain, username) = (reference.domain().to_owned(), username.clone());
    let password = match password.clone() {
        Some(password) => password,
        None => prompt::password(&username, &domain)
            .await
            .map_err(|source| Error::Password { username: username.clone(), source })?,
    };
    let credential = Credential::Basic { username, password };
    Ok(Keychain::from_command_line(domain, credential))
}
