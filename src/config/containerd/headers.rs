//! `registry.headers`: what the CRI adds to every request to a registry host.

use http::HeaderName;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST,
    PROXY_AUTHORIZATION, RANGE, TRANSFER_ENCODING,
};

use crate::config::document::Setting;
use crate::config::error::Error;
use crate::config::hosts::{Header, header};
use crate::config::warning::WarningKind;
use crate::failure::Notice;

/// Logins are for one host. containerd sends even these to every registry and mirror.
const LOGINS: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// Headers that say how a request is sent, and are not the configuration's to set.
const OWN: [HeaderName; 7] =
    [ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, RANGE, TRANSFER_ENCODING];

/// The section, merged from every file.
#[derive(Default)]
pub(super) struct Headers {
    sent: Vec<Header>,
    warnings: Vec<Notice>,
}

impl Headers {
    /// Adds what `headers` says; a header takes the place of the same one of an earlier file.
    pub(super) fn absorb(&mut self, headers: &Setting<'_>) -> Result<(), Error> {
        for entry in headers.table()?.settings() {
            let (name, values) = header(&entry)?;
            match refusal(&entry) {
                Some(warning) => self.warnings.push(warning),
                None => {
                    self.sent.retain(|(earlier, _)| !earlier.eq_ignore_ascii_case(&name));
                    self.sent.push((name, values));
                }
            }
        }
        Ok(())
    }

    /// Those that are sent.
    pub(super) fn sent(&self) -> &[Header] {
        &self.sent
    }

    /// A warning for each of the others.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Notice> {
        self.warnings.iter().cloned()
    }
}

impl std::fmt::Debug for Headers {
    /// Shows no value: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sent.iter().map(|(name, _)| name)).finish()
    }
}

/// Why `entry` is not sent, if it is not.
fn refusal(entry: &Setting<'_>) -> Option<Notice> {
    let is_one_of = |names: &[HeaderName]| {
        names.iter().any(|name| entry.name.eq_ignore_ascii_case(name.as_str()))
    };
    let (reason, hint) = if is_one_of(&LOGINS) {
        (
            "every registry and mirror would get it",
            "write it as `header` into the hosts.toml of the host that it is for, or log in there",
        )
    } else if is_one_of(&OWN) {
        ("each request has its own", "take it out")
    } else {
        return None;
    };
    let message = format!("`{}` of `registry.headers` is not sent: {reason}", entry.name);
    Some(entry.warning(WarningKind::HeaderNotSent, message).with_hint(hint))
}
