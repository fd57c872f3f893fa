//! One place that may have a blob: how it is asked there, and what was learnt about it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use url::Url;

use crate::oci::Descriptor;
use crate::registry::ask::host::Host;
use crate::registry::auth::{Access, Action};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::fault::Fault;
use crate::registry::http::clients::Lane;
use crate::registry::http::endpoint::Endpoint;
use crate::registry::http::exchange::{Answer, Call};
use crate::registry::place::SettingsPlace;
use crate::sync::lock;

/// How often a blob is asked for without a range after a host refused one. Once tells, unless the
/// connection breaks just then.
const MAX_PROBES: u32 = 3;

/// A part shorter than this, in bytes (64 KiB), is a small one, unless no more was asked for.
const SMALL_PART: u64 = 64 * 1024;

/// How many small parts are taken from a host in place of what was asked for. Enough for one that
/// halves each time; more would be a request for every few bytes.
const MAX_SMALL_PARTS: u32 = 16;

/// Largest blob, in bytes (512 KiB), that comes over a connection which brought a manifest: one of its own
/// would cost more round trips than the blob.
const SMALL_BLOB: u64 = 512 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) endpoint: Arc<Endpoint>,
    /// Where the host's settings are changed.
    pub(crate) place: SettingsPlace,
    path: String,
    access: Option<Arc<Access>>,
    /// Where the host redirected to; asked directly from then on.
    target: Mutex<Option<Url>>,
    /// The host's answers are encoded, so that ranges of them are useless.
    encoded: AtomicBool,
    contributed: AtomicBool,
    /// How often the whole was asked for because a range was refused.
    probes: AtomicU32,
    small_parts: AtomicU32,
    /// Which connections the next request takes.
    is_for_shared: AtomicBool,
    /// Another host than the image's own registry.
    is_mirror: bool,
}

impl Location {
    /// `blobs/<digest>` of the repository at `host`.
    pub(crate) fn at(host: &Host, blob: &Descriptor) -> Self {
        let endpoint = Arc::clone(host.endpoint());
        let path = host.path(&format!("blobs/{}", blob.digest));
        let access = Some(Arc::new(host.access(&Action::Pull)));
        let is_mirror = host.is_mirror();
        let is_for_shared = AtomicBool::new(blob.size <= SMALL_BLOB);
        let location = Self::new(endpoint, host.place().clone(), path, access);
        Self { is_mirror, is_for_shared, ..location }
    }

    /// `path` at `endpoint`, which is nobody's mirror and gets no login.
    pub(crate) fn anonymous(endpoint: Arc<Endpoint>, path: String) -> Self {
        let place = SettingsPlace::of(endpoint.settings(), endpoint.name());
        Self::new(endpoint, place, path, None)
    }

    fn new(
        endpoint: Arc<Endpoint>,
        place: SettingsPlace,
        path: String,
        access: Option<Arc<Access>>,
    ) -> Self {
        Self {
            endpoint,
            place,
            path,
            access,
            target: Mutex::default(),
            encoded: AtomicBool::new(false),
            contributed: AtomicBool::new(false),
            probes: AtomicU32::new(0),
            small_parts: AtomicU32::new(0),
            is_for_shared: AtomicBool::new(false),
            is_mirror: false,
        }
    }

    /// Whether a chunk that lags behind may be asked for here as well: the image's own registry is
    /// left in peace as long as its mirrors work.
    pub(crate) fn may_help_out(&self) -> bool {
        self.is_mirror && self.endpoint.health().is_up() && self.serves_ranges()
    }

    /// Whether a range is worth asking for, as far as is known.
    pub(crate) fn serves_ranges(&self) -> bool {
        !self.encoded.load(Ordering::Relaxed) && !self.endpoint.ranges().are_refused()
    }

    /// Takes note that answers are encoded.
    pub(crate) fn is_encoded(&self) {
        self.encoded.store(true, Ordering::Relaxed);
    }

    /// Whether the whole may be asked for because a range was refused; counts as done.
    pub(crate) fn probes(&self) -> bool {
        self.probes.fetch_add(1, Ordering::Relaxed) < MAX_PROBES
    }

    /// Whether a part of `length` bytes will do in place of `asked`, of which there is a limit.
    pub(crate) fn takes_part(&self, length: u64, asked: u64) -> bool {
        let is_small = length < asked && length < SMALL_PART;
        !is_small || self.small_parts.fetch_add(1, Ordering::Relaxed) < MAX_SMALL_PARTS
    }

    /// Takes note that bytes came from here.
    pub(crate) fn contributed(&self) {
        self.contributed.store(true, Ordering::Relaxed);
    }

    /// Whether bytes came from here.
    pub(crate) fn has_contributed(&self) -> bool {
        self.contributed.load(Ordering::Relaxed)
    }

    /// Asks for the blob, which people are shown as `request`, or for `range` of it.
    ///
    /// # Errors
    /// A [`Fault`] when there is no response.
    pub(crate) async fn ask(
        &self,
        request: &str,
        range: Option<ByteRange>,
    ) -> Result<Answer, Fault> {
        let known = lock(&self.target).clone();
        let label = match range {
            None => request.to_owned(),
            Some(range) => format!("{request} bytes {range}"),
        };
        // What did not come over one connection may come over another, which this one is for certain.
        let is_first = self.is_for_shared.swap(false, Ordering::Relaxed);
        let lane = if is_first && range.is_none() { Lane::Api } else { Lane::Blob };
        let call = |target| Call {
            target,
            lane,
            range,
            access: self.access.as_deref(),
            ..Call::new(Method::GET, &self.path, &label)
        };
        if let Some(target) = &known {
            let answer = self.endpoint.send(&call(Some(target))).await;
            match answer {
                Ok(answer) if !is_stale(answer.response.status()) => return Ok(answer),
                // The signature in the URL expired, or its host is gone: the registry knows another.
                _ => forget(&self.target, target),
            }
        }
        let answer = self.endpoint.send(&call(None)).await?;
        // The host itself is asked as before, with logins and headers.
        let elsewhere = answer.target.as_ref().filter(|target| !self.endpoint.is_own(target));
        if elsewhere.is_some() && answer.response.status().is_success() {
            *lock(&self.target) = elsewhere.cloned();
        }
        Ok(answer)
    }
}

/// Whether a redirect's target says that its URL is no longer good.
fn is_stale(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

/// Drops `stale`, unless another task has replaced it meanwhile.
fn forget(target: &Mutex<Option<Url>>, stale: &Url) {
    let mut target = lock(target);
    if target.as_ref() == Some(stale) {
        *target = None;
    }
}
