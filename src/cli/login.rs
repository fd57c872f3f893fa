//! `pullctl login`: proves a login against the registry, then stores it.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::args::GlobalArgs;
use super::prompt;
use super::registry_args::LoginArgs;
use crate::config::{
    self, Credential, Environment, HostOptions, Kept, Keychain, LoginStore, NodeConfig,
    RegistryHost, RegistryKey, StoreError,
};
use crate::failure::{Diagnose, Failure};
use crate::output::{self, Options, Printer, Progress, ProgressMode};
use crate::progress::Sink;
use crate::registry::{self, Policy, Registry};

/// Longest password that is read from standard input, in bytes (64 KiB): something longer is none.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

/// Why nobody is logged in, or out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What was typed for the server names none. It is not shown: it may hold a password.
    #[error("the server's name is no host[:port]")]
    Server,
    /// Nobody is there to be asked.
    #[error("cannot ask for the {0}: standard input is no terminal")]
    NoTerminal(&'static str),
    /// Asking did not work.
    #[error("cannot read the {what}")]
    NotRead {
        /// `user name`, `password`.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Nothing was typed.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// There is no place for logins.
    #[error("cannot tell where logins are kept: there is no home directory")]
    NoHome,
    /// A file about hosts cannot be obeyed.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The registry refused, or could not be asked.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The login is good but could not be stored.
    #[error("cannot store the login")]
    Store(#[from] StoreError),
    /// Standard output did not take the result.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Server | Self::NoTerminal(_) | Self::Empty(_) => Failure::Usage,
            Self::NotRead { .. } | Self::NoHome => Failure::Other,
            Self::Config(error) => error.failure(),
            Self::Registry(error) => error.failure(),
            Self::Store(error) => error.failure(),
            Self::Output(error) => error.failure(),
            Self::Interrupted => Failure::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server => Some("write the registry alone, and the user name with -u".to_owned()),
            Self::NoTerminal(_) => Some("use -u USER --password-stdin".to_owned()),
            Self::NotRead { .. } | Self::Empty(_) | Self::Interrupted => None,
            Self::NoHome => Some("set $DOCKER_CONFIG to a directory".to_owned()),
            Self::Config(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Output(error) => error.hint(),
        }
    }
}

/// Logs in to the server that `args` names. `interrupted` ends it.
///
/// # Errors
/// [`Error`]; then nothing was stored.
pub(super) async fn run(
    global: &GlobalArgs,
    args: &LoginArgs,
    printer: &Printer,
    interrupted: impl Future<Output = ()>,
) -> Result<(), Error> {
    let server = server(&args.server)?;
    let store = store()?;
    let host = host(args, &domain(&args.server)?, printer)?;
    // This read can't be given up, so it comes before signals are caught: they end the process then.
    let piped = args.password_stdin.then(read_password).transpose()?;
    let login = async {
        let (username, password) = ask(args, piped, &server, printer).await?;
        let credential =
            Credential::Basic { username: username.clone(), password: password.clone() };
        if !prove(global, args, &host, credential, printer).await? {
            let message = format!("{server} asks for no login, so this one is stored untried");
            printer.warning(&message, None);
        }
        let place = match store.store(&server, &username, &password).await? {
            Kept::InFile(path) => format!("unencrypted in {}", path.display()),
            Kept::ByHelper(program) => format!("by {program}"),
        };
        printer.out(&format!("logged in to {server} as {username}; the login is kept {place}"))?;
        Ok(())
    };
    tokio::select! {
        // Signals are caught from here on, before anybody is asked.
        biased;
        () = interrupted => Err(Error::Interrupted),
        outcome = login => outcome,
    }
}

/// The registry as references name it: a port that is typed stays, and has a directory of its own.
fn domain(typed: &str) -> Result<String, Error> {
    let authority = config::authority_in(typed).ok_or(Error::Server)?;
    let key = RegistryKey::of(&authority);
    Ok(if key.is_docker_hub() { key.to_string() } else { authority })
}

/// The registry's name in what was typed, by which its login is kept.
pub(super) fn server(typed: &str) -> Result<String, Error> {
    let authority = config::authority_in(typed).ok_or(Error::Server)?;
    Ok(RegistryKey::of(&authority).to_string())
}

/// Where docker keeps logins.
pub(super) fn store() -> Result<LoginStore, Error> {
    let path: PathBuf = Environment::of_process().docker_config_file().ok_or(Error::NoHome)?;
    Ok(LoginStore::at(path))
}

/// The server itself, as a pull would reach it, its certificates included. Its mirrors have logins
/// of their own.
fn host(args: &LoginArgs, domain: &str, printer: &Printer) -> Result<RegistryHost, Error> {
    let options = HostOptions { plain_http: args.plain_http, skip_verify: args.skip_verify };
    // Of logins there is nothing to be read: the one to be tried is typed.
    let node = NodeConfig::read(&args.hosts.locations(None), &Environment::default())?;
    let found = node.hosts_of(domain, &options)?;
    for warning in &found.warnings {
        printer.warning(&warning.to_string(), warning.hint.as_deref());
    }
    let key = RegistryKey::of(domain);
    let own = found.hosts.into_iter().rev().find(|host| RegistryKey::of(&host.authority) == key);
    Ok(own.unwrap_or_else(|| config::own_registry(domain, &options)))
}

/// Tries `credential` at `host`; tells whether it was asked for.
async fn prove(
    global: &GlobalArgs,
    args: &LoginArgs,
    host: &RegistryHost,
    credential: Credential,
    printer: &Printer,
) -> Result<bool, Error> {
    let options = Options { progress: ProgressMode::Plain, quiet: true, verbosity: global.verbose };
    let progress = Progress::start(printer, &options);
    let keychain = Keychain::from_command_line(host.authority.clone(), credential);
    let policy = Policy { resolve: args.transport.resolve.clone(), ..Policy::default() };
    let sink = Arc::clone(&progress) as Arc<dyn Sink>;
    let proved = match Registry::new(policy, Arc::new(keychain), sink) {
        Ok(registry) => registry.check_login(host).await,
        Err(error) => Err(error),
    };
    progress.finish()?;
    Ok(proved?)
}

async fn ask(
    args: &LoginArgs,
    piped: Option<SecretString>,
    server: &str,
    printer: &Printer,
) -> Result<(String, SecretString), Error> {
    let username = match &args.username {
        Some(username) => username.clone(),
        None => ask_username(server).await?,
    };
    if username.is_empty() {
        return Err(Error::Empty("user name"));
    }
    let password = match (&args.password, piped) {
        (Some(password), _) => {
            let hint = "use --password-stdin";
            printer.warning("other users of this machine can see a password in -p", Some(hint));
            password.0.clone()
        }
        (None, Some(piped)) => piped,
        (None, None) => ask_password(&username, server).await?,
    };
    match password.expose_secret() {
        "" => Err(Error::Empty("password")),
        _ => Ok((username, password)),
    }
}

async fn ask_username(server: &str) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::NoTerminal("user name"));
    }
    prompt::line(&format!("User name at {server}: "))
        .await
        .map(|line| line.trim().to_owned())
        .map_err(|source| Error::NotRead { what: "user name", source })
}

async fn ask_password(username: &str, server: &str) -> Result<SecretString, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::NoTerminal("password"));
    }
    prompt::password(username, server)
        .await
        .map_err(|source| Error::NotRead { what: "password", source })
}

/// All of standard input but the line break at its end.
fn read_password() -> Result<SecretString, Error> {
    let mut text = String::new();
    io::stdin()
        .take(MAX_PASSWORD_BYTES)
        .read_to_string(&mut text)
        .map_err(|source| Error::NotRead { what: "password", source })?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_has_one_name_however_it_is_typed() {
        for (typed, name) in [
            ("harbor.example:443", "harbor.example"),
            ("https://Harbor.Example/", "harbor.example"),
            ("index.docker.io", "docker.io"),
            ("localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(server(typed).unwrap(), name, "{typed}");
        }
        assert_eq!(domain("harbor.example:443").unwrap(), "harbor.example:443");
        assert_eq!(domain("https://index.docker.io/v1/").unwrap(), "docker.io");
        assert_eq!(server("no registry").unwrap_err().failure(), Failure::Usage);
    }
}
