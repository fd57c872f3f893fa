//! Reading response bodies: bounded ones into memory, refusals into faults, encoded ones decoded.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use tokio::time::timeout;

use crate::registry::auth::Standing;
use crate::registry::context::Context;
use crate::registry::fault::{Fault, Phase, TlsFault};
use crate::registry::http::arrival::Arrival;
use crate::registry::http::envelope::{self, MAX_ERROR_BODY};

/// How much deflated input is decoded in one go, in bytes. Deflate grows at most 1032-fold, so this
/// bounds what one step can put into memory to about 4 MiB.
const DEFLATE_STEP: usize = 4 * 1024;

/// The same for zstd, of which four bytes can stand for 128 KiB.
const ZSTD_STEP: usize = 128;

/// After how many decoded bytes the rest of a frame has to wait (1 MiB).
const DECODED_BYTES: usize = 1 << 20;

/// Longest wait for the body of a refusal or a redirect: the next host is to be asked soon.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest window that a zstd body may want, as a power of two (8 MiB): what RFC 8878 §3.1.1.1.2
/// asks decoders to support and recommends not to exceed.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The next bytes of `response`, `None` at its end.
pub(crate) async fn next_frame(
    context: &Context,
    response: &mut Response,
) -> Result<Option<Bytes>, Fault> {
    let frame = context.within(Phase::Body, Duration::ZERO, response.chunk()).await?;
    // Whose bytes come has shown whatever certificate it has.
    frame.map_err(|error| Fault::from_client(&error, Duration::ZERO, true))
}

/// Reads a body of at most `limit` bytes, decoded.
pub(crate) async fn read_bounded(
    context: &Context,
    response: Response,
    limit: u64,
) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    read_into(context, response, limit, &mut body).await?;
    Ok(body.freeze())
}

/// Appends a body, decoded, to `body`, which may come to `limit` bytes. What has come stays there when
/// the rest does not come. A body that trickles counts as one that stalls.
pub(crate) async fn read_into(
    context: &Context,
    mut response: Response,
    limit: u64,
    body: &mut BytesMut,
) -> Result<(), Fault> {
    let too_large = |size| Fault::TooLarge { size, limit };
    if let Some(size) = response.content_length().filter(|size| *size > limit) {
        return Err(too_large(size));
    }
    let mut decoder = Decoder::for_response(response.headers())?;
    let mut arrival = Arrival::new(&context.policy);
    while let Some(mut frame) = next_frame(context, &mut response).await? {
        arrival.more(frame.len() as u64)?;
        match &mut decoder {
            None => body.extend_from_slice(&frame),
            Some(decoder) => {
                while !frame.is_empty() {
                    let room = usize::try_from(limit).unwrap_or(usize::MAX);
                    let decoded = decoder.decode(&mut frame, room.saturating_sub(body.len()))?;
                    body.extend_from_slice(&decoded);
                }
            }
        }
        if body.len() as u64 > limit {
            return Err(too_large(body.len() as u64));
        }
    }
    Ok(())
}

/// Reads a short body to its end, which lets its connection be used again.
pub(crate) async fn drain(context: &Context, mut response: Response) {
    if response.content_length().is_some_and(|length| length <= MAX_ERROR_BODY as u64) {
        let read = async { while let Ok(Some(_)) = next_frame(context, &mut response).await {} };
        // A connection that takes longer is not worth keeping.
        let _ = timeout(REFUSAL_TIMEOUT, read).await;
    }
}

/// What a response that is no success means.
pub(crate) async fn refusal(context: &Context, response: Response, standing: Standing) -> Fault {
    refusal_and_codes(context, response, standing).await.0
}

/// The same with the codes that the distribution specification gives errors.
pub(crate) async fn refusal_and_codes(
    context: &Context,
    response: Response,
    standing: Standing,
) -> (Fault, Vec<String>) {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_refusal(context, response).await;
    (meaning(status, &headers, &body, standing), envelope::codes(&body))
}

fn meaning(status: StatusCode, headers: &HeaderMap, body: &[u8], standing: Standing) -> Fault {
    let retry_after = retry_after(headers, SystemTime::now());
    let title = envelope::page_title(body).filter(|title| !status.to_string().contains(title));
    let is_page = envelope::is_page(body);
    // A 401 of a web server that asks for logins in a registry's place has a page as well.
    if is_page && status == StatusCode::FORBIDDEN {
        return Fault::Page { status, title };
    }
    if let Some(title) = title.as_ref().filter(|it| is_page && wants_certificate(status, it)) {
        return TlsFault::ClientCertificate(title.clone()).into();
    }
    let reason = if is_page { title } else { envelope::reason(body) };
    let with_login = standing.is_login();
    match status {
        StatusCode::NOT_FOUND => Fault::NotFound { reason },
        // A registry says 401 as well when a token is good but not for this: the login needs rights,
        // and another password would not help.
        StatusCode::UNAUTHORIZED if standing == Standing::Proved => {
            Fault::Denied { status, with_login, reason }
        }
        StatusCode::UNAUTHORIZED => Fault::Unauthorized { with_login, reason },
        StatusCode::FORBIDDEN => Fault::Denied { status, with_login, reason },
        StatusCode::TOO_MANY_REQUESTS => Fault::RateLimited { retry_after, reason },
        status => Fault::Status { status, retry_after, reason },
    }
}

/// Whether a page with this title refuses a client for its certificate. nginx lets everybody shake hands
/// and answers "400 No required SSL certificate was sent" or "400 The SSL certificate error".
fn wants_certificate(status: StatusCode, title: &str) -> bool {
    status == StatusCode::BAD_REQUEST && title.contains("SSL certificate")
}

/// The body of a refusal as far as it comes; empty when it is slow.
async fn read_refusal(context: &Context, mut response: Response) -> BytesMut {
    let read = async {
        let mut body = BytesMut::new();
        while body.len() < MAX_ERROR_BODY {
            match next_frame(context, &mut response).await {
                Ok(Some(frame)) => body.extend_from_slice(&frame),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(MAX_ERROR_BODY);
        body
    };
    timeout(REFUSAL_TIMEOUT, read).await.unwrap_or_default()
}

/// `Retry-After`, in seconds or as a date. See RFC 9110 §10.2.3.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

/// Whether the body is a web page, which no registry answer is.
pub(crate) fn is_html(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|text| text.eq_ignore_ascii_case("text/html"))
}

/// `Content-Type` without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// Undoes a `Content-Encoding` that a proxy applied although `identity` was asked for.
pub(crate) enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Decoder {
    /// The decoder that the response needs; `None` for a plain one.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for an encoding that nobody asked for and we do not know.
    pub(crate) fn for_response(headers: &HeaderMap) -> Result<Option<Self>, Fault> {
        let unknown = |text: &str| {
            let shown: String = text.chars().take(50).collect();
            Fault::Malformed(format!("unknown Content-Encoding {shown:?}"))
        };
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let text = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        match text.as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip(MultiGzDecoder::new(Vec::new())))),
            "deflate" => Ok(Some(Self::Deflate(ZlibDecoder::new(Vec::new())))),
            "zstd" => zstd::stream::write::Decoder::new(Vec::new())
                .and_then(|mut decoder| decoder.window_log_max(ZSTD_WINDOW_LOG).map(|()| decoder))
                .map(|decoder| Some(Self::Zstd(Box::new(decoder))))
                .map_err(|error| Fault::Malformed(error.to_string())),
            other => Err(unknown(other)),
        }
    }

    /// Decodes from the front of `input`, so much that the output stays a few MiB; it may have at
    /// most `limit` bytes.
    ///
    /// # Errors
    /// [`Fault::Malformed`] when it is not what it claims to be, [`Fault::Excess`] beyond `limit`.
    pub(crate) fn decode(&mut self, input: &mut Bytes, limit: usize) -> Result<Bytes, Fault> {
        let step = if matches!(self, Self::Zstd(_)) { ZSTD_STEP } else { DEFLATE_STEP };
        let mut output = Vec::new();
        while !input.is_empty() && output.len() < DECODED_BYTES {
            self.write(&input.split_to(step.min(input.len())))
                .map_err(|error| Fault::Malformed(format!("body can't be decoded: {error}")))?;
            output.append(self.decoded());
            if output.len() > limit {
                return Err(Fault::Excess { expected: limit as u64 });
            }
        }
        Ok(output.into())
    }

    fn write(&mut self, input: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(input).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => decoder.write_all(input).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => decoder.write_all(input).and_then(|()| decoder.flush()),
        }
    }

    fn decoded(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}
