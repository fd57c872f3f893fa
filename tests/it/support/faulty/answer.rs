//! Answers, good and bad.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use socket2::SockRef;

use super::super::secrets::WORD;
use super::{Gate, Login, Request, Resource, Shared, lock};

/// How much of a body is written at a time.
const PIECE: u64 = 64 * 1024;

/// How long a trickling server waits before each byte.
const BETWEEN_DROPS: Duration = Duration::from_millis(50);

type Fill = dyn Fn(u64, &mut [u8]) + Send + Sync;

/// A body, in memory or made while it is sent.
#[derive(Clone)]
pub(crate) struct Body {
    length: u64,
    fill: Arc<Fill>,
}

impl Body {
    /// `length` bytes which `fill` writes, given their offset.
    pub(crate) fn generated(
        length: u64,
        fill: impl Fn(u64, &mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self { length, fill: Arc::new(fill) }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The same bytes with the one at `offset` changed.
    fn corrupted(&self, offset: u64) -> Self {
        let fill = Arc::clone(&self.fill);
        Self::generated(self.length, move |start, buffer| {
            fill(start, buffer);
            let byte = offset.checked_sub(start).and_then(|index| usize::try_from(index).ok());
            if let Some(byte) = byte.and_then(|index| buffer.get_mut(index)) {
                *byte ^= 0xff;
            }
        })
    }

    /// The same bytes and `more` zeros.
    fn lengthened(&self, more: u64) -> Self {
        let (fill, length) = (Arc::clone(&self.fill), self.length);
        Self::generated(length + more, move |start, buffer| {
            let real = usize::try_from(length.saturating_sub(start)).unwrap_or(usize::MAX);
            let (real, beyond) = buffer.split_at_mut(real.min(buffer.len()));
            fill(start, real);
            beyond.fill(0);
        })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::generated(bytes.len() as u64, move |offset, buffer| {
            let start = usize::try_from(offset).expect("it is in memory");
            buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
        })
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.length)
    }
}

/// What is wrong with an answer. Offsets count from the start of that answer's body.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// An error status with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The right body under an error status.
    StatusOf(u16),
    /// The connection ends after so many bytes, as if that were all.
    Truncate(u64),
    /// The connection is reset after so many bytes.
    Reset(u64),
    /// The connection ends without an answer.
    HangUp,
    /// Nothing comes after so many bytes until the gate opens.
    Stall(u64, Gate),
    /// After so many bytes they come one by one, slowly.
    Trickle(u64),
    /// As [`Fault::Stall`], but when the gate opens the connection is reset.
    Break(u64, Gate),
    /// The byte at this offset of the whole resource is another one.
    Corrupt(u64),
    /// So many bytes more than there are, promised and sent.
    Lengthen(u64),
    /// So many bytes fewer than there are, promised and sent.
    Shorten(u64),
    /// So many bytes more than were promised.
    Overrun(u64),
    /// 200 and the whole resource, whatever the range.
    IgnoreRange,
    /// 206 with this `Content-Range` over the right bytes.
    ContentRange(String),
    /// 307 to this URL.
    Redirect(String),
    /// 200 with another body.
    Instead { content_type: &'static str, body: Body },
    /// The right bytes in HTTP chunks, without a length.
    Chunked,
    /// The right answer with these headers instead of its own.
    Headers(Vec<(&'static str, String)>),
}

/// An answer about to be sent.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    /// First byte of `body` to send, and how many.
    start: u64,
    count: u64,
}

impl Answer {
    fn status(status: u16, body: &str) -> Self {
        let body = Body::from(body.as_bytes().to_vec());
        let count = body.length;
        Self { status, headers: Vec::new(), body, start: 0, count }
    }

    fn json(status: u16, body: &str) -> Self {
        Self::status(status, body).header("Content-Type", "application/json")
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn of(resource: &Resource, request: &Request, ranges: bool) -> Self {
        let length = resource.body.length;
        let range = request.range(length).filter(|_| ranges && length > 0);
        let (status, start, count) = match &range {
            Some(range) if *range.start() >= length => {
                let whole = format!("bytes */{length}");
                return Self::status(416, "").header("Content-Range", &whole);
            }
            Some(range) => (206, *range.start(), range.end() + 1 - range.start()),
            None => (200, 0, length),
        };
        let body = resource.body.clone();
        let mut answer = Self { status, headers: Vec::new(), body, start, count }
            .header("Content-Type", &resource.content_type);
        if let Some(digest) = &resource.digest {
            answer = answer.header("Docker-Content-Digest", digest);
        }
        if ranges {
            answer = answer.header("Accept-Ranges", "bytes");
        }
        if status == 206 {
            let last = start + count - 1;
            answer = answer.header("Content-Range", &format!("bytes {start}-{last}/{length}"));
        }
        answer
    }
}

impl Shared {
    /// Answers one request; whether the connection goes on.
    pub(super) fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<bool> {
        let fault = self.fault(&request.line());
        if request.path == "/token" && fault.is_none() {
            return send(stream, request, &self.token(request));
        }
        if let Some(refusal) = self.refusal(request).filter(|_| request.path != "/token") {
            return send(stream, request, &refusal);
        }
        match self.resource(request, fault.as_ref()) {
            Some(resource) => respond(stream, request, &resource, fault),
            None => match fault {
                Some(fault) => {
                    let nothing = Resource {
                        content_type: "text/plain".to_owned(),
                        digest: None,
                        body: Body::from(Vec::new()),
                    };
                    respond(stream, request, &nothing, Some(fault))
                }
                None => {
                    let code = if request.path.contains("/blobs/") { "BLOB" } else { "MANIFEST" };
                    let errors = format!(
                        r#"{{"errors":[{{"code":"{code}_UNKNOWN","message":"unknown"}}]}}"#
                    );
                    send(stream, request, &Answer::json(404, &errors))
                }
            },
        }
    }

    fn resource(&self, request: &Request, fault: Option<&Fault>) -> Option<Resource> {
        if request.path == "/v2/" {
            let body = Body::from(b"{}".to_vec());
            return Some(Resource { content_type: "application/json".into(), digest: None, body });
        }
        let mut resource = lock(&self.resources).get(&request.path).cloned()?;
        match fault {
            Some(Fault::Corrupt(offset)) => resource.body = resource.body.corrupted(*offset),
            Some(Fault::Lengthen(more)) => resource.body = resource.body.lengthened(*more),
            Some(Fault::Shorten(less)) => {
                resource.body.length = resource.body.length.saturating_sub(*less);
            }
            _ => {}
        }
        Some(resource)
    }

    /// The 401 for a request without the credentials that are wanted.
    fn refusal(&self, request: &Request) -> Option<Answer> {
        let given = request.header("authorization").unwrap_or_default();
        let host = request.header("host").unwrap_or_default();
        let challenge = match lock(&self.login).as_ref()? {
            Login::Basic { user, password } if given == basic(user, password) => return None,
            Login::Basic { .. } => "Basic realm=\"test\"".to_owned(),
            Login::Token { .. } => {
                let known = |token: &String| given == format!("Bearer {token}");
                if lock(&self.tokens).iter().any(known) {
                    return None;
                }
                let repository = request.path.strip_prefix("/v2/").unwrap_or_default();
                let repository = ["/manifests/", "/blobs/"]
                    .iter()
                    .find_map(|part| repository.split_once(part))
                    .map_or("", |(repository, _)| repository);
                format!(
                    "Bearer realm=\"http://{host}/token\",service=\"test\",\
                     scope=\"repository:{repository}:pull\""
                )
            }
        };
        let errors = r#"{"errors":[{"code":"UNAUTHORIZED","message":"log in first"}]}"#;
        Some(Answer::json(401, errors).header("WWW-Authenticate", &challenge))
    }

    /// The token endpoint's answer.
    fn token(&self, request: &Request) -> Answer {
        let given = request.header("authorization").unwrap_or_default();
        if let Some(Login::Token { login: Some((user, password)) }) = lock(&self.login).as_ref() {
            // The OAuth2 form of the request has them in its body.
            let in_body = request.body.contains(&format!("password={password}"));
            if given != basic(user, password) && !in_body {
                return Answer::json(401, r#"{"details":"incorrect username or password"}"#);
            }
        }
        let mut tokens = lock(&self.tokens);
        let token = super::super::unique(&format!("{WORD}-token"));
        tokens.push(token.clone());
        Answer::json(200, &format!(r#"{{"token":"{token}","expires_in":300}}"#))
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

fn respond(
    stream: &mut TcpStream,
    request: &Request,
    resource: &Resource,
    fault: Option<Fault>,
) -> io::Result<bool> {
    let ranges = !matches!(fault, Some(Fault::IgnoreRange | Fault::Chunked));
    let mut answer = Answer::of(resource, request, ranges);
    match fault {
        None
        | Some(Fault::IgnoreRange | Fault::Corrupt(_) | Fault::Lengthen(_) | Fault::Shorten(_)) => {
        }
        Some(Fault::Status(status, headers)) => {
            answer = Answer::status(status, "");
            answer =
                headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value));
        }
        Some(Fault::StatusOf(status)) => answer.status = status,
        Some(Fault::Redirect(url)) => answer = Answer::status(307, "").header("Location", &url),
        Some(Fault::ContentRange(range)) => {
            answer.status = 206;
            answer = answer.header("Content-Range", &range);
        }
        Some(Fault::Headers(headers)) => {
            answer =
                headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value));
        }
        Some(Fault::Instead { content_type, body }) => {
            answer =
                Answer { count: body.length(), status: 200, headers: Vec::new(), body, start: 0 }
                    .header("Content-Type", content_type);
        }
        Some(Fault::HangUp) => return Ok(false),
        Some(Fault::Truncate(after)) => {
            send_part(stream, request, &answer, after)?;
            // Of an answer to HEAD there is nothing to cut. Ended behind it, the connection could be reset
            // below the next request.
            return Ok(request.method == "HEAD");
        }
        Some(Fault::Overrun(more)) => {
            send(stream, request, &answer)?;
            let zeros = Body::generated(more, |_, buffer| buffer.fill(0));
            send_body(stream, &zeros, 0, more)?;
            return Ok(false);
        }
        Some(fault @ (Fault::Reset(after) | Fault::Break(after, _))) => {
            send_part(stream, request, &answer, after)?;
            if let Fault::Break(_, gate) = fault {
                gate.pass();
            }
            // Without lingering, closing sends RST.
            SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
        Some(Fault::Stall(after, gate)) => {
            send_part(stream, request, &answer, after)?;
            gate.pass();
            let sent = after.min(answer.count);
            send_body(stream, &answer.body, answer.start + sent, answer.count - sent)?;
            return Ok(true);
        }
        Some(Fault::Trickle(after)) => return trickle(stream, request, &answer, after),
        Some(Fault::Chunked) => return send_chunked(stream, request, &answer),
    }
    send(stream, request, &answer)
}

fn send(stream: &mut TcpStream, request: &Request, answer: &Answer) -> io::Result<bool> {
    send_part(stream, request, answer, answer.count)?;
    Ok(true)
}

/// Sends the head, which promises everything, and the first `count` bytes of the body.
fn send_part(
    stream: &mut TcpStream,
    request: &Request,
    answer: &Answer,
    count: u64,
) -> io::Result<()> {
    let length = ("Content-Length".to_owned(), answer.count.to_string());
    stream.write_all(head(answer, &length).as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    send_body(stream, &answer.body, answer.start, count.min(answer.count))
}

fn trickle(
    stream: &mut TcpStream,
    request: &Request,
    answer: &Answer,
    after: u64,
) -> io::Result<bool> {
    send_part(stream, request, answer, after)?;
    for sent in after..answer.count {
        std::thread::sleep(BETWEEN_DROPS);
        send_body(stream, &answer.body, answer.start + sent, 1)?;
    }
    Ok(true)
}

fn send_chunked(stream: &mut TcpStream, request: &Request, answer: &Answer) -> io::Result<bool> {
    let encoding = ("Transfer-Encoding".to_owned(), "chunked".to_owned());
    stream.write_all(head(answer, &encoding).as_bytes())?;
    if request.method != "HEAD" {
        let mut sent = 0;
        while sent < answer.count {
            let piece = PIECE.min(answer.count - sent);
            stream.write_all(format!("{piece:x}\r\n").as_bytes())?;
            send_body(stream, &answer.body, answer.start + sent, piece)?;
            stream.write_all(b"\r\n")?;
            sent += piece;
        }
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(true)
}

fn head(answer: &Answer, framing: &(String, String)) -> String {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in answer.headers.iter().chain([framing]) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head + "\r\n"
}

fn send_body(stream: &mut TcpStream, body: &Body, start: u64, count: u64) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(PIECE.min(count)).unwrap_or(0)];
    let mut sent = 0;
    while sent < count {
        let piece = usize::try_from(PIECE.min(count - sent)).unwrap_or(buffer.len());
        let buffer = &mut buffer[..piece];
        (body.fill)(start + sent, buffer);
        stream.write_all(buffer)?;
        sent += piece as u64;
    }
    Ok(())
}
