//! A host's URL as hosts.toml writes it.
//!
//! Parsed with `http::Uri`, which keeps the authority as it is written: containerd compares it with
//! the image's own registry as a string, so that `reg:443` and `reg` are different hosts.

use http::Uri;

use crate::config::authority::DOCKER_HUB_REGISTRY;
use crate::config::document::Setting;
use crate::config::error::Error;
use crate::reference::DOCKER_HUB;

/// The API's path at a registry that does not override it.
const API_PATH: &str = "/v2";

/// Where a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct HostUrl {
    pub(in crate::config) scheme: &'static str,
    pub(in crate::config) authority: String,
    /// Cleaned: begins with a slash or is empty, does not end in one.
    path: String,
}

impl HostUrl {
    /// Parses `text`; `https://` is assumed where no scheme is written.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
            Some(_) => return Err(UrlError::Scheme),
            None => ("https", text),
        };
        let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Login);
        }
        if uri.query().is_some() || rest.contains('#') {
            return Err(UrlError::Query);
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if authority.host().is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
            return Err(UrlError::Malformed);
        }
        Ok(Self { scheme, authority: authority.as_str().to_owned(), path: clean(uri.path()) })
    }

    /// The URL in the value of `setting`.
    pub(in crate::config) fn of_value(setting: &Setting<'_>) -> Result<Self, Error> {
        Self::parse(setting.string()?).map_err(|error| error.at(setting))
    }

    /// The URL that is the name of `setting`.
    pub(in crate::config) fn of_name(setting: &Setting<'_>) -> Result<Self, Error> {
        Self::parse(setting.name)
            .map_err(|error| setting.invalid_name(format!("host {error}"), UrlError::EXPECTED))
    }

    /// Whether a path is written, `/v2` apart.
    pub(in crate::config) fn has_own_path(&self) -> bool {
        !self.path.is_empty() && self.path != API_PATH
    }

    /// What repositories are appended to.
    pub(in crate::config) fn api_path(&self, override_path: bool) -> String {
        if override_path || self.path.ends_with(API_PATH) {
            self.path.clone()
        } else {
            format!("{}{API_PATH}", self.path)
        }
    }

    /// Sends `docker.io`, a web site, to the registry it stands for. Says whether it had to.
    pub(in crate::config) fn correct_docker_hub(&mut self) -> bool {
        let wrong = self.authority == DOCKER_HUB;
        if wrong {
            self.authority = DOCKER_HUB_REGISTRY.to_owned();
        }
        wrong
    }
}

/// Why a text is no host's URL. Never shows it: people write passwords into URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::config) enum UrlError {
    #[error("is no URL of a registry host")]
    Malformed,
    #[error("has a scheme other than https and http")]
    Scheme,
    #[error("carries a user name in its URL, where it would be ignored; use `pullctl login`")]
    Login,
    #[error("carries a query or a fragment in its URL, where it would be ignored")]
    Query,
}

impl UrlError {
    const EXPECTED: &str = "a URL such as \"https://mirror.example:5000\"";

    /// The error for the value of `setting`.
    pub(in crate::config) fn at(self, setting: &Setting<'_>) -> Error {
        setting.invalid(format!("`{}` {self}", setting.name), Self::EXPECTED)
    }
}

/// Drops empty and `.` segments, resolves `..`, and with them a slash at the end.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.iter().map(|segment| format!("/{segment}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_a_scheme_and_the_api_path_where_they_lack_them() {
        for (written, override_path, expected) in [
            ("https://mirror.example", false, "https://mirror.example/v2"),
            ("http://mirror.example:5000", false, "http://mirror.example:5000/v2"),
            ("HTTPS://Mirror.Example", false, "https://Mirror.Example/v2"),
            ("mirror.example", false, "https://mirror.example/v2"),
            ("host.example:5000", false, "https://host.example:5000/v2"),
            ("httpbin.example", false, "https://httpbin.example/v2"),
            ("https://mirror.example:443", false, "https://mirror.example:443/v2"),
            ("[fd00::1]:5000", false, "https://[fd00::1]:5000/v2"),
            ("https://mirror.example/", false, "https://mirror.example/v2"),
            ("https://mirror.example/v2", false, "https://mirror.example/v2"),
            ("https://mirror.example/v2/", false, "https://mirror.example/v2"),
            ("https://mirror.example//a/./b/../v2/", false, "https://mirror.example/a/v2"),
            ("https://harbor/v2/proj", false, "https://harbor/v2/proj/v2"),
            ("https://harbor/v2/proj", true, "https://harbor/v2/proj"),
            ("https://mirror.example/", true, "https://mirror.example"),
        ] {
            let url = HostUrl::parse(written).unwrap();
            let built =
                format!("{}://{}{}", url.scheme, url.authority, url.api_path(override_path));
            assert_eq!(built, expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_hosts_url_is_refused() {
        for (written, error) in [
            ("", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            (":5000", UrlError::Malformed),
            ("host name", UrlError::Malformed),
            ("host:port", UrlError::Malformed),
            ("host:70000", UrlError::Malformed),
            ("host:", UrlError::Malformed),
            ("ftp://mirror.example", UrlError::Scheme),
            ("htps://mirror.example", UrlError::Scheme),
            ("https://user:secret@mirror.example", UrlError::Login),
            ("https://mirror.example/?a=b", UrlError::Query),
            ("https://mirror.example/#a", UrlError::Query),
        ] {
            assert_eq!(HostUrl::parse(written), Err(error), "{written}");
        }
    }
}
