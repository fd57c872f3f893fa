//! What each file of `fixtures/docker-config` yields.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::*;
use crate::config::authority::RegistryKey;
use crate::config::{Credential, Error};
use crate::failure::Diagnose;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/docker-config").join(name)
}

fn read(name: &str) -> LoginFile {
    LoginFile::read(&fixture(name)).unwrap().unwrap()
}

/// The login that `file` has, as `user:password` or `kind token`.
fn login(file: &LoginFile, authority: &str, repository: &str) -> Option<String> {
    let credential = file.login(&RegistryKey::of(authority), authority, repository)?;
    Some(match credential {
        Credential::Basic { username, password } => {
            format!("{username}:{}", password.expose_secret())
        }
        Credential::IdentityToken(token) => format!("identity {}", token.expose_secret()),
        Credential::RegistryToken(token) => format!("registry {}", token.expose_secret()),
    })
}

#[test]
fn dockers_logins_are_found_however_their_key_is_spelled() {
    let file = read("docker/config.json");
    for (authority, expected) in [
        ("registry-1.docker.io", Some("hub:hub-secret")),
        ("docker.io", Some("hub:hub-secret")),
        ("harbor.example", Some("robot$puller:pass:with:colons")),
        ("harbor.example:443", Some("robot$puller:pass:with:colons")),
        ("harbor.example:8443", None),
        ("schemed.example", Some("schemed:schemed-secret")),
        ("unpadded.example:5000", Some("me:unpadded-secret12")),
        ("zero.example", Some("me:zero-secret")),
        ("members.example", Some("me:members-secret")),
        ("both.example", Some("auth:auth-secret")),
        ("token.example", Some("identity identity-secret")),
        ("empty-token.example", Some("me:empty-secret")),
        ("bearer.example", Some("registry bearer-secret")),
        ("twice.example", Some("plain:twice-secret")),
        ("twice.example:443", Some("port:twice-secret")),
        ("kept-elsewhere.example", None),
        ("null.example", None),
        ("bad-base64.example", None),
        ("no-colon.example", None),
        ("no-user.example", None),
        ("unknown.example", None),
    ] {
        assert_eq!(login(&file, authority, "a/b").as_deref(), expected, "{authority}");
    }
}

#[test]
fn one_bad_entry_is_a_warning_and_takes_no_other_with_it() {
    let file = read("docker/config.json");
    let found: Vec<_> = file
        .warnings()
        .iter()
        .map(|warning| (warning.line.unwrap(), warning.message.as_str()))
        .collect();
    let not_base64 = "has an `auth` that is not base64 of user:password and is not used";
    assert_eq!(
        found,
        [
            (46, format!("the login for bad-base64.example {not_base64}").as_str()),
            (49, format!("the login for no-colon.example {not_base64}").as_str()),
            (52, format!("the login for no-user.example {not_base64}").as_str()),
            (
                55,
                "the login for number.example has a value of `auth` that is no string and is not \
                 used"
            ),
            (58, "the login for text.example is no object and is not used"),
        ]
    );
}

#[test]
fn podmans_key_with_the_longest_path_wins() {
    let file = read("podman/auth.json");
    for (authority, repository, expected) in [
        ("quay.io", "other/image", Some("all:all-secret")),
        ("quay.io", "team/other", Some("team:team-secret")),
        ("quay.io", "team/image", Some("image:image-secret")),
        ("quay.io", "teams/image", Some("all:all-secret")),
        ("only.example", "team/image", Some("scoped:scoped-secret")),
        ("only.example", "other/image", None),
        ("registry-1.docker.io", "library/busybox", Some("hub:hub-secret")),
    ] {
        let found = login(&file, authority, repository);
        assert_eq!(found.as_deref(), expected, "{authority}/{repository}");
    }
}

#[test]
fn the_most_specific_key_wins_where_keys_hold_wildcards() {
    let file = LoginFile::read_any(&fixture("secret/wildcards.yaml")).unwrap();
    for (authority, repository, expected) in [
        ("harbor.example.com", "a/b", Some("named:named-secret")),
        ("other.example.com", "a/b", Some("any:any-secret")),
        ("other.example.com:443", "a/b", Some("any:any-secret")),
        ("other.example.com", "team/b", Some("team:team-secret")),
        ("harbor.example.com", "team/b", Some("named:named-secret")),
        ("mirror-7.example.com", "a/b", Some("mirrors:mirrors-secret")),
        ("mirror-7.example.com", "team/b", Some("mirrors:mirrors-secret")),
        ("other.example.com:5000", "a/b", Some("port:port-secret")),
        ("other.example.com:5001", "a/b", None),
        ("deep.other.example.com", "a/b", None),
        ("example.com", "a/b", None),
        ("a.bad.example", "a/b", None),
        ("a.class.example", "a/b", None),
    ] {
        let found = login(&file, authority, repository);
        assert_eq!(found.as_deref(), expected, "{authority}/{repository}");
    }
    let warnings: Vec<_> = file.warnings().iter().map(|warning| &warning.message).collect();
    assert_eq!(
        warnings,
        [
            "the login for *.bad.example has an `auth` that is not base64 of user:password and is \
             not used",
            "the login for [ab].class.example is for a pattern other than with `*` and `?` and is \
             not used",
        ]
    );
}

#[test]
fn the_helper_for_one_registry_is_asked_before_the_store() {
    let file = read("helpers/config.json");
    let ask = |authority: &str| -> Vec<(String, Vec<String>)> {
        file.helpers(&RegistryKey::of(authority), authority)
            .into_iter()
            .map(|question| (question.helper.program().to_owned(), question.servers))
            .collect()
    };
    let pair = |helper: &str, servers: &[&str]| {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        (format!("docker-credential-{helper}"), servers)
    };
    let hub = ["https://index.docker.io/v1/", "docker.io"];
    for (authority, expected) in [
        (
            "ecr.example",
            vec![pair("ecr-login", &["ecr.example"]), pair("desktop", &["ecr.example"])],
        ),
        ("registry-1.docker.io", vec![pair("hub", &["docker.io", hub[0]]), pair("desktop", &hub)]),
        ("store.example", vec![pair("desktop", &["https://store.example", "store.example"])]),
        ("slash.example", vec![pair("desktop", &["slash.example"])]),
        ("a.example:443", vec![pair("desktop", &["a.example:443", "a.example"])]),
    ] {
        assert_eq!(ask(authority), expected, "{authority}");
    }
    let warning = &file.warnings()[0];
    assert!(warning.message.contains("slash.example"), "{warning:?}");
}

#[test]
fn an_auth_file_may_be_dockers_or_a_kubernetes_secret() {
    for name in ["data.json", "data.yaml", "string-data.yaml", "list.yaml", "documents.yaml"] {
        let file = LoginFile::read_any(&fixture("secret").join(name)).unwrap();
        let found = login(&file, "harbor.example", "a/b");
        assert_eq!(found.as_deref(), Some("robot$k8s:secret-secret"), "{name}");
    }
    for name in ["beside-others.yaml", "old-kind.yaml"] {
        let file = LoginFile::read_any(&fixture("secret").join(name)).unwrap();
        assert_eq!(login(&file, "old.example", "a").as_deref(), Some("me:old-secret"), "{name}");
    }
    let documents = LoginFile::read_any(&fixture("secret/documents.yaml")).unwrap();
    assert_eq!(login(&documents, "first.example", "a").as_deref(), Some("first:first-secret"));
    let docker = LoginFile::read_any(&fixture("docker/config.json")).unwrap();
    assert_eq!(login(&docker, "docker.io", "a").as_deref(), Some("hub:hub-secret"));
}

#[test]
fn a_secret_is_found_behind_thousands_of_other_documents() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let others = "---\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n".repeat(5000);
    let secret = std::fs::read_to_string(fixture("secret/data.yaml")).unwrap();
    std::fs::write(file.path(), format!("{others}---\n{secret}")).unwrap();
    let found = LoginFile::read_any(file.path()).unwrap();
    assert!(login(&found, "harbor.example", "a/b").is_some());
}

#[test]
fn an_auth_may_have_line_breaks_as_base64_writes_them() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for auth in
        ["bWU6b2xkLXNl\\nY3JldA==", "bWU6b2xkLXNl\\r\\nY3JldA==\\r\\n", "bWU6b2xkLXNlY3JldA\\n"]
    {
        let json = format!("{{\"auths\": {{\"old.example\": {{\"auth\": \"{auth}\"}}}}}}");
        std::fs::write(file.path(), json).unwrap();
        let found = LoginFile::read_any(file.path()).unwrap();
        assert_eq!(login(&found, "old.example", "a").as_deref(), Some("me:old-secret"), "{auth}");
    }
}

#[test]
fn a_file_without_logins_is_refused_with_its_place_and_no_secret() {
    for (name, place, problem) in [
        ("not-json.json", "1:37", "the file holds no logins"),
        ("array.json", "1:1", "the file is not what it should be"),
        ("auths-list.json", "2:3", "`auths` is not what it should be"),
        ("opaque.yaml", "1:1", "the Secret has no `.dockerconfigjson`"),
        ("config-map.yaml", "3:3", "the object is a ConfigMap"),
        ("not-base64.yaml", "3:3", "`.dockerconfigjson` is not base64"),
        ("not-inner-json.yaml", "3:3", "`.dockerconfigjson` does not hold JSON"),
        ("text.yaml", "1:1", "the file holds no logins"),
        ("not-yaml.yaml", "2:9", "the file is not valid YAML"),
    ] {
        let path = fixture("broken").join(name);
        let error = LoginFile::read_any(&path).unwrap_err();
        let expected = format!("{}:{place}: {problem}", path.display());
        assert_eq!(error.to_string(), expected, "{name}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("expected "), "{name}: {hint}");
        let everything = format!("{error}{hint}{error:?}");
        assert!(!everything.contains("hunter2"), "{name}: {everything}");
    }
}

#[test]
fn a_missing_file_is_an_error_only_where_it_is_named() {
    let path = fixture("no-such-file");
    assert!(LoginFile::read(&path).unwrap().is_none());
    let error = LoginFile::read_any(&path).unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
}

#[test]
fn an_empty_file_holds_no_logins() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let logins = LoginFile::read(file.path()).unwrap().unwrap();
    assert_eq!(login(&logins, "docker.io", "a"), None);
}

#[test]
fn no_secret_is_printed_for_debugging() {
    for (name, secrets) in [
        ("docker/config.json", &["hub-secret", "with:colons", "identity-secret", "aHVi"][..]),
        ("podman/auth.json", &["all-secret", "team-secret"]),
    ] {
        let printed = format!("{:?}", read(name));
        for secret in secrets {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
