//! Requests to one host as a pull makes them, and what the heads of its answers say besides: the clock,
//! rate limits, warnings.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use http::header::{DATE, WARNING};
use http::{HeaderMap, Version};
use tokio::time::Instant;

use crate::failure::Notice;
use crate::registry::ask::host::Host;
use crate::registry::auth::{Access, Action, Grant};
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::exchange::{Answer, Call};

/// How far two clocks may be apart before it is said: tokens and certificates are good to the minute.
const SKEW: Duration = Duration::from_secs(120);

/// Longest text of a header that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// Most remarks that a host's headers may make.
const MAX_REMARKS: usize = 20;

/// See the module.
pub(super) struct Asker<'a> {
    pub(super) host: &'a Host,
    /// What all requests are for.
    pub(super) access: Access,
    /// What is sent with them.
    pub(super) grant: Grant,
    /// What fails nothing.
    pub(super) remarks: Vec<Notice>,
    /// `ratelimit-remaining: 76;w=21600`, as the last answer had them.
    pub(super) limits: Vec<String>,
    told: BTreeSet<String>,
    /// Whether anything was answered yet.
    answered: bool,
}

impl<'a> Asker<'a> {
    /// Asks `host` for what a pull wants.
    pub(super) fn new(host: &'a Host, grant: Grant) -> Self {
        Self {
            host,
            access: host.access(&Action::Pull),
            grant,
            remarks: Vec::new(),
            limits: Vec::new(),
            told: BTreeSet::new(),
            answered: false,
        }
    }

    /// Sends `call`, which changes nothing; answers how long that took, and what came. A connection that
    /// was kept may be closed just when it is used again: the host is asked once more then, by a new one,
    /// as RFC 9112, section 9.3.1, allows.
    pub(super) async fn ask(&mut self, call: &Call<'_>) -> (Duration, Result<Answer, Fault>) {
        let started = Instant::now();
        let endpoint = self.host.endpoint();
        let mut answer = endpoint.send_as(call, &self.grant).await;
        if let Err(Fault::Broken(why)) = &answer
            && self.answered
        {
            let message =
                format!("{} dropped a connection that it had kept: {why}", endpoint.name());
            answer = endpoint.send_as(call, &self.grant).await;
            if answer.is_ok() {
                let hint = "a pull asks again; look at the idle timeouts of the proxies and \
                    firewalls on the way if it happens often";
                self.remark(Notice::new("connection-dropped", message).with_hint(hint));
            }
        }
        if let Ok(answer) = &answer {
            self.answered = true;
            self.note(answer.response.headers());
        }
        (started.elapsed(), answer)
    }

    /// What an answer means that is no success.
    pub(super) async fn refusal(&self, answer: Answer) -> Fault {
        let context = self.host.endpoint().context();
        body::refusal(context, answer.response, answer.standing).await
    }

    /// Takes note of what fails nothing.
    pub(super) fn remark(&mut self, notice: Notice) {
        if self.remarks.len() < MAX_REMARKS && self.told.insert(notice.to_string()) {
            self.remarks.push(notice);
        }
    }

    fn note(&mut self, headers: &HeaderMap) {
        let name = self.host.endpoint().name();
        if let Some(notice) = skew(headers, SystemTime::now(), name).filter(|_| !self.tells_skew())
        {
            self.remark(notice);
        }
        for warning in headers.get_all(WARNING) {
            let text = shown(warning.as_bytes());
            self.remark(Notice::new("registry-warning", format!("{name} warns: {text}")));
        }
        let limits: Vec<String> = headers
            .iter()
            .filter(|(header, _)| header.as_str().contains("ratelimit-"))
            .map(|(header, value)| format!("{header}: {}", shown(value.as_bytes())))
            .take(MAX_REMARKS)
            .collect();
        if !limits.is_empty() {
            self.limits = limits;
        }
        if let Some(left) = remaining(headers).filter(|left| *left == 0) {
            let message = format!("{name} has {left} requests left for this machine or login");
            let hint = format!("log in for a higher limit (pullctl login {name}), or use a mirror");
            self.remark(Notice::new("rate-limit-reached", message).with_hint(hint));
        }
    }

    fn tells_skew(&self) -> bool {
        self.remarks.iter().any(|notice| notice.code == "clock-skew")
    }
}

/// The count in `ratelimit-remaining: 76;w=21600`.
fn remaining(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get("ratelimit-remaining")?.to_str().ok()?;
    value.split(';').next()?.trim().parse().ok()
}

/// A notice where this machine's clock, at `now`, and that of `host` are apart.
fn skew(headers: &HeaderMap, now: SystemTime, host: &str) -> Option<Notice> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let (by, relation) = match now.duration_since(theirs) {
        Ok(by) => (by, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    if by <= SKEW {
        return None;
    }
    let message = format!("this machine's clock is {} s {relation} that of {host}", by.as_secs());
    let hint = "set the clock (timedatectl set-ntp true): certificates and tokens are judged by it";
    Some(Notice::new("clock-skew", message).with_hint(hint))
}

fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().take(MAX_SHOWN).collect()
}

/// `HTTP/2`, `HTTP/1.1`.
pub(super) fn spoken(answer: &Answer) -> &'static str {
    match answer.response.version() {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        let headers = HeaderMap::from_iter([(DATE, date)]);
        let theirs = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let told = |now| skew(&headers, now, "a.example").map(|notice| notice.message);
        assert_eq!(told(theirs + SKEW), None);
        assert_eq!(told(theirs - SKEW), None);
        let ahead = told(theirs + Duration::from_secs(3600)).unwrap();
        assert_eq!(ahead, "this machine's clock is 3600 s ahead of that of a.example");
        assert!(told(theirs - Duration::from_secs(121)).unwrap().contains("121 s behind that"));
        assert!(skew(&HeaderMap::new(), theirs, "a.example").is_none());
    }

    #[test]
    fn what_is_left_of_a_limit_is_read_with_or_without_its_window() {
        for (value, expected) in [("76;w=21600", Some(76)), ("0", Some(0)), ("many", None)] {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-remaining", HeaderValue::from_static(value));
            assert_eq!(remaining(&headers), expected, "{value}");
        }
    }
}
