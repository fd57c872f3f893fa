//! A registry in the test's own process that takes uploads, and does so as badly as the test asks for.
//! Without a trick it is a good one: sessions, ranges, digests, manifests whose content must be there.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullctl::oci::Digest;
use serde_json::json;

use super::faulty::Gate;
use super::unique;

/// How much of a body is read at a time.
const PIECE: usize = 64 * 1024;

/// One request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Received {
    /// `METHOD /path?query`, what tricks match.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

/// What is wrong with how a request is taken.
#[derive(Debug, Clone)]
pub(crate) enum Trick {
    /// Refused with this status, code and message, after the whole body.
    Refuse(u16, &'static str, &'static str),
    /// Refused with this status where the body has more bytes than that.
    Limit(usize, u16),
    /// Everything is accepted, and nothing is done.
    Accept,
    /// The connection ends when so many bytes of the body are kept.
    Cut(usize),
    /// After so many bytes nothing more is read until the gate opens.
    Stop(usize, Gate),
    /// So many bytes are read, each time after this wait.
    Slowly(usize, Duration),
    /// Done, but the connection ends in place of an answer.
    Mute,
    /// Done, and the upload goes on at this `Location`; `UPLOAD` stands for the usual path.
    Location(String),
    /// Done, and the answer says that it keeps another digest.
    Misname,
    /// Done, and the answer says that it lists what refers to the manifest's subject.
    Lists,
}

/// What requests meet whose line contains `line`.
struct Rule {
    line: String,
    asked: usize,
    script: Vec<Option<Trick>>,
    then: Option<Trick>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<String, Vec<u8>>,
    /// Type and bytes, by `repository/manifests/name`.
    manifests: HashMap<String, (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    tricks: Vec<Rule>,
    requests: Vec<Received>,
    /// The host that wants this `Authorization`.
    login: Option<(String, String)>,
}

/// The server. Its threads end with the test process.
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panicked")
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::with(Arc::default())
    }

    /// Another host with the same content, which wants no login.
    pub(crate) fn beside(&self) -> String {
        Self::with(Arc::clone(&self.state)).authority()
    }

    /// From now on wants HTTP Basic credentials.
    pub(crate) fn require(&self, user: &str, password: &str) {
        let wanted = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        lock(&self.state).login = Some((self.authority(), wanted));
    }

    /// Forgets everything but the login.
    pub(crate) fn forget(&self) {
        let mut state = lock(&self.state);
        let login = state.login.take();
        *state = State { login, ..State::default() };
    }

    fn with(state: Arc<Mutex<State>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || converse(&state, stream));
            }
        });
        Self { address, state }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// A new name here, `host:port/repository:v1`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}:v1", self.authority(), unique("team/app"))
    }

    /// The n-th request whose line contains `line` meets the n-th trick; later ones none.
    pub(crate) fn script(&self, line: &str, script: Vec<Option<Trick>>) {
        self.rule(line, script, None);
    }

    /// Every request whose line contains `line` meets `trick`.
    pub(crate) fn always(&self, line: &str, trick: Trick) {
        self.rule(line, Vec::new(), Some(trick));
    }

    fn rule(&self, line: &str, script: Vec<Option<Trick>>, then: Option<Trick>) {
        let rule = Rule { line: line.to_owned(), asked: 0, script, then };
        lock(&self.state).tricks.push(rule);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        lock(&self.state).requests.clone()
    }

    /// Those whose line contains `line`.
    pub(crate) fn requests_for(&self, line: &str) -> Vec<Received> {
        let mut requests = self.requests();
        requests.retain(|request| request.line().contains(line));
        requests
    }

    /// The bytes of a blob, where it is kept.
    pub(crate) fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        lock(&self.state).blobs.get(digest).cloned()
    }

    /// The digest of what `reference`, a name here, stands for.
    pub(crate) fn digest_of(&self, reference: &str) -> Option<String> {
        let (_, name) = reference.split_once('/')?;
        let (repository, tag) = name.rsplit_once(':')?;
        let key = format!("{repository}/manifests/{tag}");
        lock(&self.state).manifests.get(&key).map(|(_, bytes)| Digest::of(bytes).to_string())
    }

    /// Every manifest that is kept, as JSON.
    pub(crate) fn manifests(&self) -> Vec<serde_json::Value> {
        let state = lock(&self.state);
        let read = |(_, bytes): &(String, Vec<u8>)| serde_json::from_slice(bytes);
        state.manifests.values().map(|kept| read(kept).expect("it is JSON")).collect()
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    fn refusal(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": message }] });
        Self { body: body.to_string().into_bytes(), ..Self::new(status) }
            .header("Content-Type", "application/json")
    }
}

fn converse(state: &Mutex<State>, mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    if reader.fill_buf()?.first() == Some(&22) {
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    while let Some(request) = read_head(&mut reader)? {
        let trick = {
            let mut state = lock(state);
            state.requests.push(request.clone());
            let line = request.line();
            let known = state.tricks.iter_mut().find(|rule| line.contains(&rule.line));
            known.and_then(|rule| {
                rule.asked += 1;
                rule.script.get(rule.asked - 1).cloned().unwrap_or_else(|| rule.then.clone())
            })
        };
        let length = request.header("content-length").parse().unwrap_or(0);
        let Some(body) = read_body(&mut reader, length, trick.as_ref())? else {
            return stream.shutdown(Shutdown::Both);
        };
        let is_cut = body.len() < length;
        let wanted = lock(state).login.clone();
        let is_stranger = wanted.is_some_and(|(host, wanted)| {
            request.header("host") == host && request.header("authorization") != wanted
        });
        let answer = match &trick {
            _ if is_stranger => Answer::refusal(401, "UNAUTHORIZED", "log in first")
                .header("WWW-Authenticate", "Basic realm=\"test\""),
            Some(Trick::Refuse(status, code, message)) => Answer::refusal(*status, code, message),
            Some(Trick::Limit(most, status)) if length > *most => {
                Answer::refusal(*status, "", "that is too much at once")
            }
            Some(Trick::Accept) => {
                Answer::new(202).header("Location", request.path()).header("Range", "0-0")
            }
            // What has come is kept, and nobody is there to be answered.
            _ if is_cut && request.method == "PUT" => append(&mut lock(state), &request, &body),
            _ => respond(&mut lock(state), &request, body),
        };
        if is_cut || matches!(trick, Some(Trick::Mute)) {
            return stream.shutdown(Shutdown::Both);
        }
        let answer = match trick {
            Some(Trick::Location(location)) if answer.status == 202 => {
                let usual = answer.headers.iter().find(|(name, _)| *name == "Location");
                let usual = usual.map(|(_, value)| value.clone()).unwrap_or_default();
                answer.header("Location", location.replace("UPLOAD", &usual))
            }
            Some(Trick::Lists) => answer.header("OCI-Subject", "sha256:0"),
            Some(Trick::Misname) => {
                answer.header("Docker-Content-Digest", Digest::of(b"another").to_string())
            }
            _ => answer,
        };
        let mut head = format!("HTTP/1.1 {} Said\r\n", answer.status);
        for (name, value) in &answer.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !answer.headers.iter().any(|(name, _)| *name == "Content-Length") {
            let _ = write!(head, "Content-Length: {}\r\n", answer.body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(&answer.body)?;
        }
    }
    Ok(())
}

fn read_head(reader: &mut impl io::BufRead) -> io::Result<Option<Received>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Received { method, target, headers }))
}

/// The body, or the part of it that comes before it is cut; `None` when the test is over with it.
fn read_body(
    reader: &mut impl Read,
    length: usize,
    trick: Option<&Trick>,
) -> io::Result<Option<Vec<u8>>> {
    let (mut body, mut piece) = (Vec::new(), vec![0; PIECE]);
    while body.len() < length {
        let mut wanted = PIECE.min(length - body.len());
        match trick {
            Some(Trick::Cut(after)) if body.len() >= *after => return Ok(Some(body)),
            Some(Trick::Cut(after)) => wanted = wanted.min(after - body.len()),
            Some(Trick::Stop(after, gate)) if body.len() >= *after => {
                gate.pass();
                return Ok(None);
            }
            Some(Trick::Slowly(count, wait)) if body.len() % count < PIECE => {
                std::thread::sleep(*wait);
            }
            _ => {}
        }
        let count = reader.read(&mut piece[..wanted])?;
        if count == 0 {
            break;
        }
        body.extend_from_slice(&piece[..count]);
    }
    Ok(Some(body))
}

fn respond(state: &mut State, request: &Received, body: Vec<u8>) -> Answer {
    let path = request.path().strip_prefix("/v2/").unwrap_or_default().to_owned();
    let method = request.method.as_str();
    if let Some((repository, id)) = path.split_once("/blobs/uploads/") {
        return upload(state, request, repository, id, body);
    }
    if let Some((_, digest)) = path.split_once("/blobs/") {
        let Some(blob) = state.blobs.get(digest) else {
            return Answer::refusal(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        return kept(blob, "application/octet-stream");
    }
    if let Some((repository, name)) = path.split_once("/manifests/") {
        return match method {
            "PUT" => manifest(state, request, repository, name, body),
            _ => match state.manifests.get(&path) {
                Some((media_type, bytes)) => kept(bytes, media_type),
                None => Answer::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            },
        };
    }
    Answer::new(if path.is_empty() { 200 } else { 404 })
}

fn kept(bytes: &[u8], media_type: &str) -> Answer {
    Answer { body: bytes.to_vec(), ..Answer::new(200) }
        .header("Content-Type", media_type)
        .header("Docker-Content-Digest", Digest::of(bytes).to_string())
}

fn upload(
    state: &mut State,
    request: &Received,
    repository: &str,
    id: &str,
    body: Vec<u8>,
) -> Answer {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let place = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}?_state=s%2F1");
    if request.method == "POST" {
        let id = format!("id-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        state.uploads.insert(id.clone(), Vec::new());
        return Answer::new(202).header("Location", place(&id)).header("Range", "0-0");
    }
    let Some(upload) = state.uploads.get_mut(id) else {
        return Answer::refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    if request.method == "DELETE" {
        state.uploads.remove(id);
        return Answer::new(204);
    }
    if request.method == "PATCH" {
        let start = request.header("content-range").split('-').next().unwrap_or_default();
        if start.parse() != Ok(upload.len()) {
            return Answer::refusal(416, "RANGE_INVALID", "invalid content range");
        }
    }
    upload.extend_from_slice(&body);
    let has = format!("0-{}", upload.len().saturating_sub(1));
    match request.method.as_str() {
        "PUT" => {
            let bytes = state.uploads.remove(id).expect("it was there");
            let digest = Digest::of(&bytes).to_string();
            if request.parameter("digest") != Some(digest.clone()) {
                return Answer::refusal(400, "DIGEST_INVALID", "provided digest did not match");
            }
            state.blobs.insert(digest.clone(), bytes);
            Answer::new(201).header("Docker-Content-Digest", digest)
        }
        "PATCH" => Answer::new(202).header("Location", place(id)).header("Range", has),
        _ => Answer::new(204).header("Location", place(id)).header("Range", has),
    }
}

/// Keeps the beginning of a request that was to complete an upload.
fn append(state: &mut State, request: &Received, body: &[u8]) -> Answer {
    let id = request.path().rsplit('/').next().unwrap_or_default();
    if let Some(upload) = state.uploads.get_mut(id) {
        upload.extend_from_slice(body);
    }
    Answer::new(202)
}

fn manifest(
    state: &mut State,
    request: &Received,
    repository: &str,
    name: &str,
    body: Vec<u8>,
) -> Answer {
    let manifest: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let digest_of = |entry: &serde_json::Value| entry["digest"].as_str().map(str::to_owned);
    let list = |member: &str| manifest[member].as_array().cloned().unwrap_or_default();
    let blobs = list("layers").into_iter().chain([manifest["config"].clone()]);
    let blobs = blobs.filter(|blob| blob["urls"].is_null());
    let is_there = blobs.filter_map(|blob| digest_of(&blob)).all(|d| state.blobs.contains_key(&d))
        && list("manifests").iter().filter_map(digest_of).all(|digest| {
            state.manifests.contains_key(&format!("{repository}/manifests/{digest}"))
        });
    if !is_there {
        return Answer::refusal(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
    }
    let digest = Digest::of(&body).to_string();
    let media_type = request.header("content-type").to_owned();
    for name in [name, &digest] {
        let key = format!("{repository}/manifests/{name}");
        state.manifests.insert(key, (media_type.clone(), body.clone()));
    }
    Answer::new(201).header("Docker-Content-Digest", digest)
}
