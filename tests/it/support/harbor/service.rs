//! Harbor's token service: who may pull and push what, as signed tokens. Like Harbor's own, it knows the GET
//! form of the request alone, and gives whoever may not do what is asked for a token that allows
//! nothing.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

use super::{NAME, Signer};
use crate::support::faulty::Request;

/// Where clients find it.
pub(super) const PATH: &str = "/service/token";

const SERVICE: &str = "harbor-registry";
const ISSUER: &str = "harbor-token-issuer";

/// What everybody may pull: that which the proxy project caches.
const PUBLIC: &str = "library";

/// A user or a robot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    project: Option<&'static str>,
    /// Whether it may push to that.
    pushes: bool,
}

/// Member of the project `team`.
pub(crate) const ANN: Account =
    Account { name: "ann", password: "Ann's hunter2: 100%", project: Some("team"), pushes: true };

/// Robot of the project `team`.
pub(crate) const ROBOT: Account = Account {
    name: "robot$team+puller",
    password: "robot-hunter2",
    project: Some("team"),
    pushes: false,
};

/// Has an account, and no project.
pub(crate) const STRANGER: Account =
    Account { name: "stranger", password: "strange-hunter2", project: None, pushes: false };

impl Account {
    /// Base64 of `name:password`.
    pub(crate) fn basic(&self) -> String {
        BASE64.encode(format!("{}:{}", self.name, self.password))
    }

    fn with(authorization: &str) -> Option<Self> {
        let given = authorization.strip_prefix("Basic ")?;
        [ANN, ROBOT, STRANGER].into_iter().find(|account| account.basic() == given)
    }
}

/// The service. Its threads end with the test process.
pub(super) struct TokenService {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The keys' certificates.
    certificates: TempDir,
}

struct Shared {
    /// The first token is signed with the first key, the second one with the next, and so on; the
    /// last key stays in use.
    keys: Vec<Signer>,
    requests: Mutex<Vec<Request>>,
    tokens: Mutex<Vec<String>>,
}

impl TokenService {
    /// Starts a service with so many keys.
    pub(super) fn start(keys: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let keys = (0..keys).map(|_| Signer::generate()).collect();
        let shared =
            Arc::new(Shared { keys, requests: Mutex::default(), tokens: Mutex::default() });
        let accepted = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepted);
                // An error is the client's doing.
                std::thread::spawn(move || shared.converse(stream));
            }
        });
        let certificates = tempfile::tempdir().expect("a temporary folder can be made");
        Self { address, shared, certificates }
    }

    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// What the configuration of a registry has that trusts all keys but the `retired` oldest ones.
    pub(super) fn trusted_keys(&self, retired: usize) -> String {
        let keys = self.shared.keys.get(retired..).unwrap_or_default();
        let bundle: PathBuf = self.certificates.path().join(format!("without-{retired}"));
        let content: String = keys.iter().map(Signer::certificate).collect();
        std::fs::write(&bundle, content).expect("the certificates can be written");
        format!(
            "auth:\n  token:\n    realm: https://{NAME}{PATH}\n    service: {SERVICE}\n    \
             issuer: {ISSUER}\n    rootcertbundle: {}\n",
            bundle.display()
        )
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no holder panicked").clone()
    }

    pub(super) fn tokens(&self) -> Vec<String> {
        self.shared.tokens.lock().expect("no holder panicked").clone()
    }
}

impl Shared {
    /// Serves one connection until either side ends it.
    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader, 0) {
            self.requests.lock().expect("no holder panicked").push(request.clone());
            let (status, body) = self.answer(&request);
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> (u16, String) {
        if request.method != "GET" {
            return (405, String::new());
        }
        let account = match request.header("authorization") {
            None => None,
            Some(given) => match Account::with(given) {
                Some(account) => Some(account),
                None => {
                    let error = json!({ "code": "UNAUTHORIZED", "message": "unauthorized" });
                    return (401, json!({ "errors": [error] }).to_string());
                }
            },
        };
        let token = self.issue(account, &granted(account, &request.query));
        let answer = json!({ "token": token, "access_token": token, "expires_in": 1800 });
        (200, answer.to_string())
    }

    fn issue(&self, account: Option<Account>, access: &[Value]) -> String {
        let mut tokens = self.tokens.lock().expect("no holder panicked");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("the clock is past 1970");
        let half_an_hour = Duration::from_secs(1800);
        let claims = json!({
            "iss": ISSUER,
            "sub": account.map_or("", |account| account.name),
            "aud": SERVICE,
            "iat": now.as_secs(),
            "nbf": (now - half_an_hour).as_secs(),
            "exp": (now + half_an_hour).as_secs(),
            "jti": crate::support::unique("token"),
            "access": access,
        });
        let key = self.keys.get(tokens.len()).or(self.keys.last()).expect("there is a key");
        let token = key.sign(&claims);
        tokens.push(token.clone());
        token
    }
}

/// What `account` gets of the scopes in `query`, as tokens say it.
fn granted(account: Option<Account>, query: &str) -> Vec<Value> {
    let scopes: BTreeSet<String> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, scopes)| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let own = account.and_then(|account| account.project);
    scopes
        .iter()
        .filter_map(|scope| {
            let (repository, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
            let (project, _) = repository.split_once('/')?;
            let is_own = Some(project) == own;
            let pushes = is_own && account.is_some_and(|account| account.pushes);
            let may = |action: &&str| match *action {
                "pull" => is_own || project == PUBLIC,
                "push" => pushes,
                _ => false,
            };
            let actions: Vec<&str> = actions.split(',').filter(may).collect();
            (!actions.is_empty())
                .then(|| json!({ "type": "repository", "name": repository, "actions": actions }))
        })
        .collect()
}
