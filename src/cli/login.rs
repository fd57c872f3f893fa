//! `pullctl login`: proves a login against the registry, then stores it.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::groups::{HostsArgs, TransportArgs};
use super::{Error, Session, prompt};
use crate::config::{
    self, Credential, Environment, HostOptions, Kept, Keychain, LoginStore, NodeConfig,
    RegistryHost, RegistryKey,
};
use crate::failure::Notice;
use crate::output::{Options, ProgressMode};
use crate::reference::DOCKER_HUB;
use crate::registry::Policy;

const LOGIN_EXAMPLES: &str = "\
Examples:
  Harbor, asking for the password:
    pullctl login -u admin harbor.example.net

  A robot account, in a script:
    pullctl login -u 'robot$puller' --password-stdin harbor.example.net < token

The login is tried before it is stored. It is stored where docker and nerdctl keep theirs:
$DOCKER_CONFIG/config.json or ~/.docker/config.json, or the credential helper named there.";

/// `pullctl login`.
#[derive(Debug, Args)]
#[command(after_long_help = LOGIN_EXAMPLES)]
pub struct LoginArgs {
    /// Registry to log in to, `HOST[:PORT]`
    #[arg(value_name = "SERVER", default_value = DOCKER_HUB)]
    pub server: String,

    /// User name; asked for when it is missing
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,

    /// Password or token; other users of this machine can see it, so prefer --password-stdin
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<TypedPassword>,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub password_stdin: bool,

    /// Talk plain HTTP to the registry
    #[arg(long)]
    pub plain_http: bool,

    /// Do not verify the registry's certificate
    #[arg(long, visible_alias = "insecure-registry")]
    pub skip_verify: bool,

    /// Where its certificates are configured.
    #[command(flatten)]
    pub hosts: HostsArgs,

    /// How requests travel.
    #[command(flatten)]
    pub transport: TransportArgs,
}

/// A password from the command line. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct TypedPassword(pub SecretString);

impl From<&str> for TypedPassword {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Logs in to the server that `args` names.
///
/// # Errors
/// [`Error`]; then nothing was stored.
pub(super) async fn run(args: &LoginArgs, session: &Session<'_>) -> Result<(), Error> {
    let server = server(&args.server)?;
    let store = store()?;
    let host = host(args, &domain(&args.server)?, session)?;
    // This read can't be given up, so it comes before signals are caught: they end the process then.
    let piped = args.password_stdin.then(prompt::piped_password).transpose()?;
    let login = async {
        let (username, password) = ask(args, piped, &server, session).await?;
        let credential =
            Credential::Basic { username: username.clone(), password: password.clone() };
        if !prove(args, &host, credential, session).await? {
            let message = format!("{server} asks for no login, so this one is stored untried");
            session.printer.warning(&Notice::new("untried-login", message));
        }
        let place = match store.store(&server, &username, &password).await? {
            Kept::InFile(path) => format!("unencrypted in {}", path.display()),
            Kept::ByHelper(program) => format!("by {program}"),
        };
        let text = format!("logged in to {server} as {username}; the login is kept {place}");
        session.printer.out(&text)?;
        Ok(())
    };
    // Signals are caught from here on, before anybody is asked.
    session.catch_signals(None).or(login).await?
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
fn host(args: &LoginArgs, domain: &str, session: &Session<'_>) -> Result<RegistryHost, Error> {
    let options = HostOptions { plain_http: args.plain_http, skip_verify: args.skip_verify };
    // Of logins there is nothing to be read: the one to be tried is typed.
    let node = NodeConfig::read(&args.hosts.locations(None), &Environment::default())?;
    let found = node.hosts_of(domain, &options)?;
    for warning in &found.warnings {
        session.printer.warning(warning);
    }
    let key = RegistryKey::of(domain);
    let own = found.hosts.into_iter().rev().find(|host| RegistryKey::of(&host.authority) == key);
    Ok(own.unwrap_or_else(|| config::own_registry(domain, &options)))
}

/// Tries `credential` at `host`; tells whether it was asked for.
async fn prove(
    args: &LoginArgs,
    host: &RegistryHost,
    credential: Credential,
    session: &Session<'_>,
) -> Result<bool, Error> {
    let options = Options { progress: ProgressMode::Plain, quiet: true, ..Options::default() };
    let progress = session.progress(options);
    let keychain = Keychain::from_command_line(host.authority.clone(), credential);
    let policy = Policy { resolve: args.transport.resolve.clone(), ..Policy::default() };
    let proved = match session.registry(policy, keychain, &progress) {
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
    session: &Session<'_>,
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
            let message = "other users of this machine can see a password in -p";
            let notice = Notice::new("visible-password", message);
            session.printer.warning(&notice.with_hint("use --password-stdin"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Diagnose as _, Failure};

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
