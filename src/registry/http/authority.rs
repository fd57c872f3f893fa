//! A host by the name that people know it by.

use url::Url;

/// `host[:port]` of a URL, without the scheme's own port; never its user info.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_and_the_usual_port_are_left_out() {
        for (url, expected) in [
            ("https://user:pass@a.example:443/v2", "a.example"),
            ("http://a.example:5000", "a.example:5000"),
            ("https://[fd00::1]:8443/", "[fd00::1]:8443"),
        ] {
            assert_eq!(authority(&url.parse().unwrap()), expected);
        }
    }
}
