//! A registry in the test's own process which answers as badly as the test asks for: scripted by
//! request line and by how many times it was asked. It keeps every request, so what a client asked
//! for, over how many connections and with whose credentials, can be counted.
//!
//! Requests are recorded before they are answered: once a client is done, the record is complete.

mod answer;
mod wire;

use std::collections::HashMap;
use std::io::{self, BufRead as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use socket2::{Domain, Socket, Type};

use super::image::Image;
pub(crate) use answer::{Body, Fault};
pub(crate) use wire::Request;

/// First byte of a client that wants TLS.
const TLS_HANDSHAKE: u8 = 22;

/// Who may ask.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// HTTP Basic.
    Basic { user: String, password: String },
    /// Bearer tokens from this server's own `/token`, which itself wants Basic credentials when
    /// there are any.
    Token { login: Option<(String, String)> },
}

/// Something that a path stands for.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) content_type: String,
    /// For `Docker-Content-Digest`; blobs of real registries have it as well.
    pub(crate) digest: Option<String>,
    pub(crate) body: Body,
}

/// What a script says about the requests that match `line`.
struct Rule {
    /// Part of `METHOD /path`.
    line: String,
    /// One element a request, in order; `None` is a healthy answer.
    script: Vec<Option<Fault>>,
    /// What holds when the script is at its end.
    then: Option<Fault>,
    asked: usize,
}

#[derive(Default)]
struct Shared {
    resources: Mutex<HashMap<String, Resource>>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
    login: Mutex<Option<Login>>,
    tokens: Mutex<Vec<String>>,
    /// Where a CONNECT to an authority ends up.
    tunnels: Mutex<HashMap<String, String>>,
    connections: AtomicU64,
}

/// The server. Its threads end with the test process.
pub(crate) struct FaultyRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultyRegistry {
    pub(crate) fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    /// One that listens on another address than usual; port 0 is any.
    pub(crate) fn start_on(address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let accepted = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepted);
                std::thread::spawn(move || shared.converse(stream));
            }
        });
        Self { address, shared }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Serves `image` as `repository:tag` and answers its reference.
    pub(crate) fn add(&self, image: &Image, repository: &str, tag: &str) -> String {
        let base = format!("/v2/{repository}");
        for blob in &image.blobs {
            self.serve(
                &format!("{base}/blobs/{}", blob.digest),
                "application/octet-stream",
                Some(blob.digest.to_string()),
                Body::from(blob.bytes.clone()),
            );
        }
        for (document, tag) in image
            .documents
            .iter()
            .map(|document| (document, None))
            .chain([(&image.root, Some(tag))])
        {
            let digest = document.digest.to_string();
            for name in [Some(digest.as_str()), tag].into_iter().flatten() {
                self.serve(
                    &format!("{base}/manifests/{name}"),
                    &document.media_type,
                    Some(digest.clone()),
                    Body::from(document.bytes.clone()),
                );
            }
        }
        format!("{}/{repository}:{tag}", self.authority())
    }

    /// Serves `image` under a name of its own and answers the reference.
    pub(crate) fn add_new(&self, image: &Image) -> String {
        self.add(image, &super::unique("test/image"), "v1")
    }

    /// Serves `body` at `path`, which replaces what was there.
    pub(crate) fn serve(&self, path: &str, content_type: &str, digest: Option<String>, body: Body) {
        let resource = Resource { content_type: content_type.to_owned(), digest, body };
        lock(&self.shared.resources).insert(path.to_owned(), resource);
    }

    /// The n-th request whose `METHOD /path` contains `line` gets the n-th fault; later ones are
    /// answered well. Rules that were made first win.
    pub(crate) fn script(&self, line: &str, script: Vec<Option<Fault>>) {
        self.rule(line, script, None);
    }

    /// Every request whose `METHOD /path` contains `line` gets `fault`.
    pub(crate) fn always(&self, line: &str, fault: Fault) {
        self.rule(line, Vec::new(), Some(fault));
    }

    /// The first `good` requests whose `METHOD /path` contains `line` are answered well, all later
    /// ones get `fault`.
    pub(crate) fn after(&self, good: usize, line: &str, fault: Fault) {
        self.rule(line, vec![None; good], Some(fault));
    }

    /// Forgets all faults.
    pub(crate) fn heal(&self) {
        lock(&self.shared.rules).clear();
    }

    fn rule(&self, line: &str, script: Vec<Option<Fault>>, then: Option<Fault>) {
        lock(&self.shared.rules).push(Rule { line: line.to_owned(), script, then, asked: 0 });
    }

    /// From now on wants `login`.
    pub(crate) fn require(&self, login: Login) {
        *lock(&self.shared.login) = Some(login);
    }

    /// As an HTTP proxy, connects clients that want `authority` with `target`, so that a server on
    /// loopback can be reached under any name.
    pub(crate) fn tunnel(&self, authority: &str, target: &str) {
        lock(&self.shared.tunnels).insert(authority.to_owned(), target.to_owned());
    }

    /// From now on takes `token` as if it had handed it out.
    pub(crate) fn accept_token(&self, token: &str) {
        lock(&self.shared.tokens).push(token.to_owned());
    }

    /// Makes every token that was handed out invalid.
    pub(crate) fn revoke_tokens(&self) {
        lock(&self.shared.tokens).clear();
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The requests whose `METHOD /path` contains `line`.
    pub(crate) fn requests_for(&self, line: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.line().contains(line));
        requests
    }

    /// Forgets the requests so far.
    pub(crate) fn forget_requests(&self) {
        lock(&self.shared.requests).clear();
    }
}

impl Shared {
    /// Serves one connection until either side ends it.
    fn converse(&self, mut stream: TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(reading) = stream.try_clone() else { return };
        let mut reader = std::io::BufReader::new(reading);
        if reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&TLS_HANDSHAKE)) {
            // As real servers do; clients tell by it that they may fall back to plain HTTP.
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            return;
        }
        while let Some(request) = Request::read(&mut reader, connection) {
            lock(&self.requests).push(request.clone());
            if request.method == "CONNECT" {
                let target = lock(&self.tunnels).get(&request.path).cloned();
                // A client that breaks off ends its tunnel.
                let _ = target.map(|target| splice(stream, &target));
                return;
            }
            let answered = self.answer(&request, &mut stream);
            // An error is the client's doing, or a fault that ends the connection.
            if !answered.unwrap_or(false) {
                return;
            }
        }
    }

    /// The fault that the script has for this request.
    fn fault(&self, line: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let rule = rules.iter_mut().find(|rule| line.contains(&rule.line))?;
        let turn = rule.asked;
        rule.asked += 1;
        rule.script.get(turn).cloned().unwrap_or_else(|| rule.then.clone())
    }
}

/// Hands on bytes between the client and `target`, both ways, until either ends.
fn splice(mut client: TcpStream, target: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both)
    });
    io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)
}

/// A point where the server waits until the test goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    state: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Debug, Default)]
struct GateState {
    reached: bool,
    open: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits, in the test, until the server has come to the gate.
    pub(crate) fn wait_until_reached(&self) {
        let (state, changed) = &*self.state;
        let (state, _) = changed
            .wait_timeout_while(lock(state), super::cli::DEADLINE, |state| !state.reached)
            .expect("no gate panicked");
        assert!(state.reached, "the client never asked for what stalls");
    }

    /// Lets the server go on, now and whenever it comes by again.
    pub(crate) fn open(&self) {
        let (state, changed) = &*self.state;
        lock(state).open = true;
        changed.notify_all();
    }

    pub(super) fn pass(&self) {
        let (state, changed) = &*self.state;
        let mut state = lock(state);
        state.reached = true;
        changed.notify_all();
        while !state.open {
            state = changed.wait(state).expect("no gate panicked");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panicked")
}

/// An address on which nothing listens, unless who asks for it starts what does.
///
/// Its port stays taken until the process ends, by a socket that is bound and does not listen, so that no
/// registry of another test comes to have it. A daemon that sets `SO_REUSEADDR`, as they do, can bind it too.
pub(crate) fn dead_authority() -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    socket.set_reuse_address(true).expect("a new socket takes it");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port is free");
    let bound = socket.local_addr().expect("it is bound");
    std::mem::forget(socket);
    bound.as_socket().expect("it is of IPv4").to_string()
}

#[cfg(test)]
mod tests;
