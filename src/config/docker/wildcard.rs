//! Keys of `auths` that stand for several registries: `*.example.com`, as the kubelet reads them.

use glob::Pattern;

use crate::config::authority::{RegistryKey, split_port};

use super::key::{is_in_scope, scope_of};

/// A key that no sort of wildcard makes usable. The kubelet reads classes of characters too, by
/// rules of Go's; a login is not sent to a registry by a guess at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is for a pattern other than with `*` and `?`")]
pub(super) struct NoWildcard;

/// `*.example.com`, `registry-?.example.com:5000/team`: a wildcard stands for characters between
/// two dots of the host name. The port must be the same, and the path begin with the key's.
///
/// Neither docker nor podman writes such keys; a Kubernetes Secret may hold them. See
/// <https://kubernetes.io/docs/concepts/containers/images/#config-json>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WildcardKey {
    labels: Vec<Pattern>,
    port: Option<String>,
    scope: String,
}

impl WildcardKey {
    /// Reads a key; `None` if it names one registry.
    pub(super) fn parse(written: &str) -> Option<Result<Self, NoWildcard>> {
        let rest = written.split_once("://").map_or(written, |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let registry = RegistryKey::of(authority);
        let (host, port) = split_port(registry.as_str());
        let is_address = host.contains(':');
        if is_address || !host.contains(['*', '?', '[', '\\']) {
            return None;
        }
        let label = |label: &str| match Pattern::new(label) {
            Ok(pattern) if !label.contains(['[', '\\']) => Ok(pattern),
            Ok(_) | Err(_) => Err(NoWildcard),
        };
        let key = |labels| Self {
            labels,
            port: port.map(str::to_owned),
            scope: scope_of(path).to_owned(),
        };
        Some(host.split('.').map(label).collect::<Result<_, _>>().map(key))
    }

    /// Whether the login is for `repository` at `registry`.
    pub(super) fn matches(&self, registry: &RegistryKey, repository: &str) -> bool {
        let (host, port) = split_port(registry.as_str());
        let labels: Vec<&str> = host.split('.').collect();
        self.port.as_deref() == port
            && self.labels.len() == labels.len()
            && self.labels.iter().zip(labels).all(|(pattern, label)| pattern.matches(label))
            && is_in_scope(&self.scope, repository)
    }

    /// Orders keys by how much they leave open, the most specific last: as the kubelet does, by
    /// their text, in which a wildcard sorts before what it stands for; then by their path.
    pub(super) fn specificity(&self) -> (Vec<&str>, usize) {
        (self.labels.iter().map(Pattern::as_str).collect(), self.scope.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_characters_of_one_label() {
        for (key, registry, repository, expected) in [
            ("*.example.com", "harbor.example.com", "a/b", true),
            ("*.example.com", "Harbor.Example.com:443", "a/b", true),
            ("*.example.com", "example.com", "a/b", false),
            ("*.example.com", "one.two.example.com", "a/b", false),
            ("*.example.com", "harbor.example.org", "a/b", false),
            ("*.*.example.com", "one.two.example.com", "a/b", true),
            ("*.*.example.com", "two.example.com", "a/b", false),
            ("harbor-*.example.com", "harbor-7.example.com", "a/b", true),
            ("harbor-*.example.com", "harbor-.example.com", "a/b", true),
            ("harbor-*.example.com", "harbor.example.com", "a/b", false),
            ("harbor-?.example.com", "harbor-7.example.com", "a/b", true),
            ("harbor-?.example.com", "harbor-17.example.com", "a/b", false),
            ("harbor.*.com", "harbor.example.com", "a/b", true),
            ("*", "localhost", "a/b", true),
            ("*", "harbor.example.com", "a/b", false),
            ("10.0.0.*", "10.0.0.7", "a/b", true),
            ("*.docker.io", "registry-1.docker.io", "library/busybox", false),
            ("*.example.com:5000", "harbor.example.com:5000", "a/b", true),
            ("*.example.com:5000", "harbor.example.com", "a/b", false),
            ("*.example.com", "harbor.example.com:5000", "a/b", false),
            ("*.example.com:443", "harbor.example.com", "a/b", true),
            ("*.example.com/team", "harbor.example.com", "team", true),
            ("*.example.com/team", "harbor.example.com", "team/image", true),
            ("*.example.com/team", "harbor.example.com", "teams/image", false),
            ("*.example.com/team", "harbor.example.com", "other/team", false),
            ("*.example.com/*", "harbor.example.com", "team/image", false),
            ("https://*.example.com", "harbor.example.com", "a/b", true),
            ("https://*.example.com/v1/", "harbor.example.com", "a/b", true),
            ("https://*.example.com/team", "harbor.example.com", "a/b", false),
        ] {
            let parsed = WildcardKey::parse(key).unwrap().unwrap();
            let matches = parsed.matches(&RegistryKey::of(registry), repository);
            assert_eq!(matches, expected, "{key} for {registry}/{repository}");
        }
    }

    #[test]
    fn a_key_without_wildcards_in_its_host_names_one_registry() {
        for key in
            ["harbor.example.com", "harbor.example.com/*", "[fd00::1]:5000", "[::1]", "https://a/?"]
        {
            assert_eq!(WildcardKey::parse(key), None, "{key}");
        }
    }

    #[test]
    fn patterns_that_mean_other_things_elsewhere_are_refused() {
        for key in ["[a-c].example.com", "[^a]*.example.com", "\\*.example.com", "***.example.com"]
        {
            assert_eq!(WildcardKey::parse(key), Some(Err(NoWildcard)), "{key}");
        }
    }

    #[test]
    fn what_leaves_less_open_is_more_specific() {
        let keys = [
            "*.*.com",
            "*.example.com",
            "*.example.com/team",
            "*.example.com/team/image",
            "?.example.com",
            "h*.example.com",
            "harbor-*.example.com",
            "harbor-7.*.com",
        ];
        let parsed = keys.map(|key| WildcardKey::parse(key).unwrap().unwrap());
        assert!(parsed.is_sorted_by_key(WildcardKey::specificity), "{parsed:?}");
    }
}
