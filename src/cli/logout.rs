//! `pullctl logout`: forgets a login.

use clap::Args;

use super::login::{server, store};
use super::{Error, Session};
use crate::reference::DOCKER_HUB;

/// `pullctl logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Registry to log out of, `HOST[:PORT]`
    #[arg(value_name = "SERVER", default_value = DOCKER_HUB)]
    pub server: String,
}

/// Forgets the login for the server that `args` names; that there is none is fine.
///
/// # Errors
/// When the file or the helper that keeps it refuses.
pub(super) async fn run(args: &LogoutArgs, session: &Session<'_>) -> Result<(), Error> {
    let server = server(&args.server)?;
    let text = match store()?.erase(&server).await? {
        true => format!("logged out of {server}"),
        false => format!("not logged in to {server}"),
    };
    session.printer.out(&text)?;
    Ok(())
}
