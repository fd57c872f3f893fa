//! `pullctl logout`: forgets a login.

use super::login::{Error, server, store};
use super::registry_args::LogoutArgs;
use crate::output::Printer;

/// Forgets the login for the server that `args` names; that there is none is fine.
///
/// # Errors
/// When the file or the helper that keeps it refuses.
pub(super) async fn run(args: &LogoutArgs, printer: &Printer) -> Result<(), Error> {
    let server = server(&args.server)?;
    let text = match store()?.erase(&server).await? {
        true => format!("logged out of {server}"),
        false => format!("not logged in to {server}"),
    };
    printer.out(&text)?;
    Ok(())
}
