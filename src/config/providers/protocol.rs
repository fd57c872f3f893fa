//! What is said to a plugin and what it answers: `credentialprovider.kubelet.k8s.io`.
//!
//! See <https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/>.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::config::credentials::Credential;
use crate::config::hosts::duration;

/// The group of its messages.
const GROUP: &str = "credentialprovider.kubelet.k8s.io";

/// Versions of the protocol, which differ in nothing that is used here.
pub(super) const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CacheKey {
    Image(String),
    Registry(String),
    Global,
}

impl CacheKey {
    pub(super) fn image(image: &str) -> Self {
        Self::Image(image.to_owned())
    }

    pub(super) fn registry(image: &str) -> Self {
        Self::Registry(image.split('/').next().unwrap_or_default().to_owned())
    }
}

/// An answer, understood.
#[derive(Debug)]
pub(super) struct Answer {
    /// For which other questions it holds as well.
    pub(super) key: CacheKey,
    /// For how long, where it says so.
    pub(super) lasts: Option<Duration>,
    /// Logins, by what they are for. Without a user name and a password there is none.
    pub(super) logins: Vec<(String, Credential)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    kind: String,
    api_version: String,
    cache_key_type: String,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Auth>>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// The `apiVersion` of a message.
pub(super) fn api_version(version: &str) -> String {
    format!("{GROUP}/{version}")
}

/// The question for `image`.
pub(super) fn request(api_version: &str, image: &str) -> Vec<u8> {
    let request = json!({
        "kind": "CredentialProviderRequest", "apiVersion": api_version, "image": image,
    });
    request.to_string().into_bytes()
}

/// Reads the answer to the question for `image`, of `api_version`.
///
/// # Errors
/// What is wrong with it; of what it says nothing is repeated, as it may be a secret.
pub(super) fn answer(bytes: &[u8], api_version: &str, image: &str) -> Result<Answer, &'static str> {
    let response: Response =
        serde_json::from_slice(bytes).map_err(|_| "it is no CredentialProviderResponse")?;
    if response.kind != "CredentialProviderResponse" {
        return Err("it is of another kind than CredentialProviderResponse");
    }
    if response.api_version != api_version {
        return Err("its apiVersion is not that of the question");
    }
    let key = match response.cache_key_type.as_str() {
        "Image" => CacheKey::image(image),
        "Registry" => CacheKey::registry(image),
        "Global" => CacheKey::Global,
        _ => return Err("its cacheKeyType is none of Image, Registry and Global"),
    };
    let lasts = response.cache_duration.map(|text| duration::parse(&text));
    if lasts == Some(None) {
        return Err("its cacheDuration is no duration");
    }
    let logins = response.auth.unwrap_or_default().into_iter().filter_map(|(key, auth)| {
        let Auth { username, password } = auth;
        (!username.is_empty())
            .then(|| (key, Credential::Basic { username, password: password.into() }))
    });
    Ok(Answer { key, lasts: lasts.flatten(), logins: logins.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Answer, &'static str> {
        answer(text.as_bytes(), &api_version("v1"), "reg.example:5000/team/app")
    }

    fn response(members: &str) -> String {
        format!(
            r#"{{"kind":"CredentialProviderResponse",
                "apiVersion":"credentialprovider.kubelet.k8s.io/v1",{members}}}"#
        )
    }

    #[test]
    fn an_answer_says_for_whom_and_for_how_long() {
        for (members, key, lasts, keys) in [
            (
                r#""cacheKeyType":"Image","cacheDuration":"5m0s","auth":{"a":{"username":"u","password":"p"}}"#,
                CacheKey::Image("reg.example:5000/team/app".to_owned()),
                Some(300),
                &["a"][..],
            ),
            (
                r#""cacheKeyType":"Registry","auth":{"b":{"username":"u","password":"p"},"c":{"username":""}}"#,
                CacheKey::Registry("reg.example:5000".to_owned()),
                None,
                &["b"],
            ),
            (
                r#""cacheKeyType":"Global","cacheDuration":"0s","auth":null"#,
                CacheKey::Global,
                Some(0),
                &[],
            ),
        ] {
            let answer = read(&response(members)).unwrap();
            assert_eq!(answer.key, key, "{members}");
            assert_eq!(answer.lasts, lasts.map(Duration::from_secs), "{members}");
            let found: Vec<_> = answer.logins.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(found, keys, "{members}");
        }
    }

    #[test]
    fn what_is_no_answer_is_told_without_repeating_it() {
        for (text, problem) in [
            ("", "no CredentialProviderResponse"),
            ("hunter2", "no CredentialProviderResponse"),
            (&response(r#""cacheKeyType":"Node""#), "cacheKeyType"),
            (&response(r#""cacheKeyType":"Image","cacheDuration":"soon""#), "cacheDuration"),
            (&response(r#""cacheKeyType":"Image""#).replace("/v1", "/v1beta1"), "apiVersion"),
            (&response(r#""cacheKeyType":"Image""#).replace("Response", "Request"), "kind"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
