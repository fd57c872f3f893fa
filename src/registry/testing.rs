//! A scripted HTTP/1.1 server for tests: it answers each request as the test says, and can cut,
//! stall and reset in the middle of a body, which HTTP libraries do their best to prevent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::{AddressOverride, Policy, Registry, Repository};
use crate::config::{Capabilities, Credential, Keychain, RegistryHost, Source as ConfigSource};
use crate::oci::{Descriptor, Digest, MediaType};
use crate::progress::{Event, HostAttempt, Sink};
use crate::sync::lock;

/// What the server saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Number of the TCP connection it came on.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First and last byte of the `Range` header.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// One thing that the server does after the head of its reply.
#[derive(Debug, Clone)]
enum Step {
    Send(Bytes),
    /// Until the test adds a permit.
    Wait(Arc<Semaphore>),
    Close,
    Reset,
}

/// A reply: status and headers, then steps.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    steps: Vec<Step>,
}

impl Reply {
    /// An empty body.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: vec![("Content-Length".to_owned(), "0".to_owned())], steps: vec![] }
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// 200 with `body`.
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200).body(body)
    }

    /// What a well-behaved server says of `blob`: the range asked for, or the whole.
    pub(crate) fn blob(request: &Request, blob: &Bytes) -> Self {
        let Some((first, last)) = request.range() else { return Self::ok(blob.clone()) };
        let total = blob.len();
        Self::status(206)
            .body(blob.slice(first..=last.min(total - 1)))
            .header("Content-Range", format!("bytes {first}-{last}/{total}"))
    }

    /// A redirect.
    pub(crate) fn redirect(location: impl Into<String>) -> Self {
        Self::status(307).header("Location", location)
    }

    /// Not even a head, until `gate` has a permit; then the end of the connection.
    pub(crate) fn silent(gate: &Arc<Semaphore>) -> Self {
        Self { status: 0, headers: vec![], steps: vec![Step::Wait(Arc::clone(gate)), Step::Close] }
    }

    /// Replaces the body, and its length with it.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.steps = vec![Step::Send(body.clone())];
        self.header("Content-Length", body.len().to_string())
    }

    /// Sets a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends the body in HTTP chunks, followed by `excess`, with no length announced.
    pub(crate) fn unannounced(mut self, excess: &[u8]) -> Self {
        self.headers.retain(|(known, _)| known != "Content-Length");
        let mut steps: Vec<_> = self.sent().map(http_chunk).collect();
        steps.push(http_chunk(Bytes::copy_from_slice(excess)));
        steps.push(Step::Send(Bytes::from_static(b"0\r\n\r\n")));
        self.steps = steps;
        self.header("Transfer-Encoding", "chunked")
    }

    /// Sends `count` bytes of the body, and closes the connection.
    pub(crate) fn cut_at(self, count: usize) -> Self {
        self.then(count, Step::Close)
    }

    /// Sends `count` bytes of the body, and resets the connection.
    pub(crate) fn reset_at(self, count: usize) -> Self {
        self.then(count, Step::Reset)
    }

    /// Sends `count` bytes of the body, and the rest once `gate` has a permit.
    pub(crate) fn stall_at(self, count: usize, gate: &Arc<Semaphore>) -> Self {
        self.then(count, Step::Wait(Arc::clone(gate)))
    }

    fn then(mut self, count: usize, step: Step) -> Self {
        let whole: Bytes = self.sent().flatten().collect();
        self.steps = vec![Step::Send(whole.slice(..count)), step, Step::Send(whole.slice(count..))];
        self
    }

    fn sent(&self) -> impl Iterator<Item = Bytes> {
        self.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes.clone()),
            _ => None,
        })
    }
}

fn http_chunk(bytes: Bytes) -> Step {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(&bytes);
    chunk.extend_from_slice(b"\r\n");
    Step::Send(if bytes.is_empty() { Bytes::new() } else { chunk.into() })
}

/// A server on a loopback port of its own; stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    accepting: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Answers with what `answer` makes of each request and of the number of requests to the same
    /// path before it.
    pub(crate) async fn start(
        answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&log));
        let accepting = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, connection, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { address, log, accepting: accepting.abort_handle() }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.log).clone()
    }

    /// `METHOD path` of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    /// The host as configuration would name it.
    pub(crate) fn host(&self) -> RegistryHost {
        host("http", &self.authority())
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    answer: Arc<impl Fn(&Request, usize) -> Reply>,
    log: Arc<Mutex<Vec<Request>>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream, connection).await {
        let before = {
            let mut log = lock(&log);
            let before = log.iter().filter(|seen| seen.path == request.path).count();
            log.push(request.clone());
            before
        };
        let reply = answer(&request, before);
        if send(stream.get_mut(), &request, reply).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>, connection: usize) -> Option<Request> {
    let mut head = vec![stream.read_u8().await.ok()?];
    if !head[0].is_ascii_uppercase() {
        // A TLS handshake: what a plain HTTP server has to say to that.
        stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok()?;
        return None;
    }
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        // Several of one name are one list (RFC 9110 §5.3).
        headers
            .entry(name.to_lowercase())
            .and_modify(|list| *list += &format!(", {value}"))
            .or_insert_with(|| value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Request { method, path, headers, body, connection })
}

/// `None` when the connection is over.
async fn send(stream: &mut TcpStream, request: &Request, reply: Reply) -> Option<()> {
    let is_silent = reply.status == 0;
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if !is_silent {
        stream.write_all(head.as_bytes()).await.ok()?;
    }
    if request.method == "HEAD" {
        return Some(());
    }
    for step in reply.steps {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await.ok()?,
            Step::Wait(gate) => gate.acquire().await.ok()?.forget(),
            Step::Close => {
                stream.shutdown().await.ok()?;
                return None;
            }
            Step::Reset => {
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
    }
    Some(())
}

/// A host with every capability and nothing special.
pub(crate) fn host(scheme: &str, authority: &str) -> RegistryHost {
    RegistryHost {
        scheme: scheme.to_owned(),
        authority: authority.to_owned(),
        path: "/v2".to_owned(),
        capabilities: Capabilities::ALL,
        ca: Vec::new(),
        client: Vec::new(),
        skip_verify: false,
        headers: Vec::new(),
        common_headers: Vec::new(),
        override_path: false,
        dial_timeout: None,
        http_fallback: false,
        ns: None,
        rewrites: Vec::new(),
        header_realms: Vec::new(),
        source: ConfigSource::Default,
        directory: None,
    }
}

/// A policy by which `name` is this machine.
pub(crate) fn loopback(name: &str) -> Policy {
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    let entry = AddressOverride { host: name.to_owned(), address, port: None };
    let first_wait = Duration::from_millis(1);
    Policy { resolve: vec![entry], first_wait, ..Policy::default() }
}

/// An authority where nothing listens. Its port stays taken until the process ends, so that no server of
/// another test comes to have it.
pub(crate) fn dead_authority() -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let authority = socket.local_addr().unwrap().to_string();
    std::mem::forget(socket);
    authority
}

/// Keeps the events.
#[derive(Default)]
pub(crate) struct Record(Mutex<Vec<Event>>);

impl Sink for Record {
    fn event(&self, event: Event) {
        lock(&self.0).push(event);
    }
}

impl Record {
    pub(crate) fn attempts(&self) -> Vec<HostAttempt> {
        let events = lock(&self.0);
        events
            .iter()
            .filter_map(|event| match event {
                Event::Attempt(attempt) => Some(attempt.clone()),
                _ => None,
            })
            .collect()
    }

    /// The messages of all warnings with `code`.
    pub(crate) fn warnings(&self, code: &str) -> Vec<String> {
        let events = lock(&self.0);
        let warnings = events.iter().filter_map(|event| match event {
            Event::Warning(notice) if notice.code == code => Some(notice.message.clone()),
            _ => None,
        });
        warnings.collect()
    }

    /// Host, request and seconds of all that told of a silent host.
    pub(crate) fn waits(&self) -> Vec<(String, String, u64)> {
        let events = lock(&self.0);
        let waits = events.iter().filter_map(|event| match event {
            Event::Waiting { host, request, waited } => {
                Some((host.clone(), request.clone(), waited.as_secs()))
            }
            _ => None,
        });
        waits.collect()
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        let events = lock(&self.0);
        events
            .iter()
            .map(|event| match event {
                Event::Received { delta_bytes, .. } => *delta_bytes,
                _ => 0,
            })
            .sum()
    }
}

/// What a test may set before it asks for a repository.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) login: Option<(String, Credential)>,
    pub(crate) record: Arc<Record>,
}

impl Setup {
    pub(crate) fn policy(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    pub(crate) fn login(authority: String, credential: Credential) -> Self {
        Self { login: Some((authority, credential)), ..Self::default() }
    }

    /// `registry.example/team/app:v1` at `hosts`.
    pub(crate) fn repository(&self, hosts: Vec<RegistryHost>) -> Repository {
        self.repository_of("registry.example/team/app:v1", hosts)
    }

    pub(crate) fn repository_of(&self, reference: &str, hosts: Vec<RegistryHost>) -> Repository {
        self.registry().repository(hosts, &reference.parse().unwrap())
    }

    pub(crate) fn registry(&self) -> Registry {
        let keychain = match self.login.clone() {
            Some((authority, credential)) => Keychain::from_command_line(authority, credential),
            None => Keychain::default(),
        };
        let sink: Arc<dyn Sink> = Arc::clone(&self.record) as _;
        Registry::new(self.policy.clone(), Arc::new(keychain), sink).unwrap()
    }
}

/// `length` bytes without a period that a chunk size could hide.
pub(crate) fn noise(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// The descriptor of a gzip layer with this content.
pub(crate) fn layer(content: &[u8]) -> Descriptor {
    let media_type = MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip");
    Descriptor::new(media_type, Digest::of(content), content.len() as u64)
}
