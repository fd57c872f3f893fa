//! The keys of `auths`: what a login is for.

use crate::config::authority::RegistryKey;

/// Docker Hub's key, as docker writes it.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Paths that docker's keys carry and that say nothing: versions of the API.
const API_VERSIONS: [&str; 4] = ["", "v1", "v2", "v1/users"];

/// Paths below Docker Hub's key where `docker login` keeps tokens for itself: no logins of ours.
const TOKEN_SLOTS: [&str; 2] = ["v1/access-token", "v1/refresh-token"];

/// What a login is for: a registry, or with podman a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginKey {
    /// The registry.
    pub(super) registry: RegistryKey,
    /// The repository, or the path above some, that the login is for; empty for all of them.
    pub(super) scope: String,
}

impl LoginKey {
    /// Reads `host[:port]`, `https://host/v1/`, or podman's `host[:port]/path`.
    ///
    /// A path behind a scheme is docker's, which looks at the host alone.
    pub(super) fn parse(written: &str) -> Self {
        let (has_scheme, rest) = match written.split_once("://") {
            Some((_, rest)) => (true, rest),
            None => (false, written),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_token_slot = TOKEN_SLOTS.contains(&path.trim_matches('/'));
        let scope = if has_scheme && !is_token_slot { "" } else { scope_of(path) };
        Self { registry: RegistryKey::of(authority), scope: scope.to_owned() }
    }

    /// Whether the login is for `repository` at `registry`.
    pub(super) fn matches(&self, registry: &RegistryKey, repository: &str) -> bool {
        self.registry == *registry && is_in_scope(&self.scope, repository)
    }
}

/// The repositories that a key's path limits it to; empty for all of them.
pub(super) fn scope_of(path: &str) -> &str {
    let path = path.trim_matches('/');
    if API_VERSIONS.contains(&path) { "" } else { path }
}

/// Whether `repository` is `scope` or below it.
pub(super) fn is_in_scope(scope: &str, repository: &str) -> bool {
    match repository.strip_prefix(scope) {
        Some(rest) => scope.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_and_podman_write_them() {
        for (written, registry, scope) in [
            ("harbor.example", "harbor.example", ""),
            ("harbor.example:443", "harbor.example", ""),
            ("https://harbor.example/v1/", "harbor.example", ""),
            ("https://harbor.example:8443/v2/", "harbor.example:8443", ""),
            ("http://harbor.example", "harbor.example", ""),
            ("https://harbor.example/project", "harbor.example", ""),
            ("https://index.docker.io/v1/", "docker.io", ""),
            ("index.docker.io/v1/", "docker.io", ""),
            ("docker.io", "docker.io", ""),
            ("quay.io/organisation", "quay.io", "organisation"),
            ("quay.io/organisation/image", "quay.io", "organisation/image"),
            ("localhost:5000/a/", "localhost:5000", "a"),
        ] {
            let expected =
                LoginKey { registry: RegistryKey::of(registry), scope: scope.to_owned() };
            assert_eq!(LoginKey::parse(written), expected, "{written}");
        }
    }

    #[test]
    fn a_scope_ends_where_a_path_component_ends() {
        for (key, repository, expected) in [
            ("quay.io", "a/b", true),
            ("quay.io/a", "a", true),
            ("quay.io/a", "a/b", true),
            ("quay.io/a", "ab/c", false),
            ("quay.io/a/b", "a", false),
        ] {
            let matches = LoginKey::parse(key).matches(&RegistryKey::of("quay.io"), repository);
            assert_eq!(matches, expected, "{key} for {repository}");
        }
    }
}
