//! `pullctl login`: proves a login against the registry, then stores it.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::groups::{HostsArgs, TransportArgs};
use super::warned::Warned;
use super::{Error, Session, prompt};
use crate::config::{
    self, Credential, Environment, HostOptions, Kept, Keychain, LoginStore, NodeConfig,
    RegistryHost, RegistryKey,
};
use crate::failure::Notice;
use crate::output::{Form, Options, Printer, ProgressMode, document};
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

    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: LoginForm,

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

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LoginForm {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// A login that was stored.
#[derive(Serialize)]
struct LoggedIn {
    server: String,
    username: String,
    /// The file that it is in, unencrypted; or else
    file: Option<PathBuf>,
    /// the credential helper that keeps it.
    helper: Option<String>,
}

impl fmt::Display for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, username, file, helper } = self;
        write!(f, "logged in to {server} as {username}; the login is kept")?;
        match (file, helper) {
            (Some(path), _) => write!(f, " unencrypted in {}", path.display()),
            (None, Some(program)) => write!(f, " by {program}"),
            (None, None) => Ok(()),
        }
    }
}

/// Warnings: people see each at once, before they are asked for anything.
struct Warnings<'a> {
    printer: &'a Printer,
    given: Vec<Notice>,
}

impl Warnings<'_> {
    fn add(&mut self, notice: Notice) {
        self.printer.warning(&notice);
        self.given.push(notice);
    }
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
    let (host, found) = host(args, &domain(&args.server)?)?;
    // This read can't be given up, so it comes before signals are caught: they end the process then.
    let piped = args.password_stdin.then(prompt::piped_password).transpose()?;
    let mut warnings = Warnings { printer: session.printer, given: Vec::new() };
    found.into_iter().for_each(|notice| warnings.add(notice));
    let login = async {
        let (username, password) = ask(args, piped, &server, &mut warnings).await?;
        let credential =
            Credential::Basic { username: username.clone(), password: password.clone() };
        if !prove(args, &host, credential, session).await? {
            let message = format!("{server} asks for no login, so this one is stored untried");
            warnings.add(Notice::new("untried-login", message));
        }
        let (file, helper) = match store.store(&server, &username, &password).await? {
            Kept::InFile(path) => (Some(path), None),
            Kept::ByHelper(program) => (None, Some(program)),
        };
        let told = LoggedIn { server: server.clone(), username, file, helper };
        Ok::<_, Error>(Warned { told, warnings: warnings.given })
    };
    // Signals are caught from here on, before anybody is asked.
    let logged_in = session.catch_signals(None).or(login).await??;
    let form = match args.output {
        LoginForm::Text => Form::Text,
        LoginForm::Json => Form::JsonLine,
    };
    Ok(session.printer.out(&document(&logged_in, form))?)
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
/// of their own. Besides, what is to be known of its configuration.
fn host(args: &LoginArgs, domain: &str) -> Result<(RegistryHost, Vec<Notice>), Error> {
    let options = HostOptions { plain_http: args.plain_http, skip_verify: args.skip_verify };
    // Of logins there is nothing to be read: the one to be tried is typed.
    let node = NodeConfig::read(&args.hosts.locations(None), &Environment::default())?;
    let found = node.hosts_of(domain, &options)?;
    let key = RegistryKey::of(domain);
    let own = found.hosts.into_iter().rev().find(|host| RegistryKey::of(&host.authority) == key);
    let own = own.unwrap_or_else(|| config::own_registry(domain, &options));
    Ok((own, found.warnings))
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
    warnings: &mut Warnings<'_>,
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
            warnings.add(notice.with_hint("use --password-stdin"));
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
