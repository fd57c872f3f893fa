//! Where an answer sends the client: redirects, and the locations of uploads.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::registry::fault::Fault;
use crate::registry::http::authority::authority;

/// `fault`, blamed on where a redirect led.
pub(crate) fn redirected(target: Option<&Url>, fault: Fault) -> Fault {
    match target {
        None => fault,
        Some(target) => Fault::Redirected { target: authority(target), fault: Box::new(fault) },
    }
}

/// Whether another place is to be asked.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Where `headers`, of an answer from `base`, lead.
///
/// # Errors
/// [`Fault::BadRedirect`] when that is nowhere.
pub(crate) fn location(base: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    headers
        .get(LOCATION)
        .map(|value| in_ascii(value.as_bytes()))
        .and_then(|text| base.join(&text).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(Fault::BadRedirect)
}

/// The text of a `Location`, which some servers fill with what is no ASCII: names as they are stored.
fn in_ascii(value: &[u8]) -> String {
    // URLs are read as UTF-8, and what is not ASCII in a path is escaped then.
    std::str::from_utf8(value).map_or_else(
        |_| {
            let escape = |byte: &u8| match byte {
                0..=0x7f => char::from(*byte).to_string(),
                other => format!("%{other:02X}"),
            };
            value.iter().map(escape).collect()
        },
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_location_may_hold_what_is_no_ascii() {
        let base: Url = "https://a.example/v2/x/blobs/y?ns=z".parse().unwrap();
        for (value, expected) in [
            (&b"https://b.example/c"[..], Some("https://b.example/c")),
            (b"/d", Some("https://a.example/d")),
            ("/sch\u{f6}n?n=\u{e4}".as_bytes(), Some("https://a.example/sch%C3%B6n?n=%C3%A4")),
            (b"/sch\xf6n", Some("https://a.example/sch%F6n")),
            ("https://b\u{fc}cher.example/".as_bytes(), Some("https://xn--bcher-kva.example/")),
            (b"ftp://a.example/", None),
            (b"https://", None),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            let headers = HeaderMap::from_iter([(LOCATION, value)]);
            let url = location(&base, &headers).ok();
            assert_eq!(url.as_ref().map(Url::as_str), expected);
        }
        assert_eq!(location(&base, &HeaderMap::new()), Err(Fault::BadRedirect));
    }
}
