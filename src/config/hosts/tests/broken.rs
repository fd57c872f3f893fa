//! Files with mistakes: what is warned about, and what stops a pull.

use super::*;
use crate::failure::Diagnose as _;
use crate::failure::Notice;

#[test]
fn what_is_not_understood_is_warned_about_with_its_line() {
    for (folder, domain, expected) in [
        (
            "unknown-settings",
            "reg.example",
            &[
                "1: unknown setting `servr` has no effect",
                "3: unknown setting `hosts` has no effect",
                "6: unknown setting `skip-verify` has no effect",
                "8: unknown setting `rewrites` has no effect",
            ][..],
        ),
        (
            "server-docker-hub",
            "docker.io",
            &["1: docker.io serves no images; registry-1.docker.io is asked"],
        ),
        (
            "docker-layout",
            "reg.example:5000",
            &["1: orphan.key has no certificate beside it and is not used"],
        ),
        ("order", "docker.io", &[]),
    ] {
        let show = |warning: &Notice| {
            let directory = fixtures().join(folder).join(domain).display().to_string() + "/";
            let message = warning.message.replace(&directory, "");
            format!("{}: {message}", warning.line.unwrap())
        };
        let config = load_fixtures(&[folder], domain, NO_FLAGS).unwrap();
        let found: Vec<String> = config.warnings.iter().map(show).collect();
        assert_eq!(found, expected, "{folder}");
    }
}

#[test]
fn a_broken_file_stops_the_pull_and_shows_its_place() {
    let no_url = "a URL such as \"https://mirror.example:5000\"";
    for (case, place, problem, expected) in [
        ("syntax", "1:33", "invalid basic string", "`\"`"),
        ("unclosed-table", "3:31", "unclosed table", "`]`"),
        ("unknown-capability", "2:27", "unknown capability \"fetch\"", "\"pull\""),
        ("capabilities-no-list", "2:18", "`capabilities` is a string", "an array"),
        ("duration-without-unit", "2:18", "`dial_timeout` \"3\" is no duration", "\"3s\""),
        ("duration-number", "2:18", "`dial_timeout` is an integer", "\"3s\""),
        ("skip-verify-text", "2:17", "`skip_verify` is a string", "true or false"),
        ("duplicate-host", "3:7", "duplicate key", "TOML"),
        ("missing-ca", "2:9", "cannot read ca file", "missing.pem"),
        ("missing-client-key", "2:24", "cannot read client file", "missing.key"),
        ("directory-as-ca", "1:6", "cannot read ca file", "put the file"),
        ("client-triple", "1:11", "a list of 3 files where a pair belongs", "key.pem"),
        ("host-scheme", "1:7", "host has a scheme other than https and http", no_url),
        ("host-with-login", "1:7", "host carries a user name", no_url),
        ("host-empty", "1:7", "host is no URL", no_url),
        ("host-no-table", "2:28", "`https://mirror.example` is a boolean", "a table"),
        ("server-no-url", "1:10", "`server` is no URL", no_url),
        ("header-name", "2:3", "`x one` is no name of a header", "hyphens"),
        ("header-value", "2:19", "the value of header `authorization` cannot be sent", "text"),
        ("rewrite-pattern", "2:3", "the pattern \"^library/(\" is no regular", "hub/$1"),
        ("rewrite-replacement", "2:3", "is replaced by what has '?' in it", "hub/$1"),
        ("rewrite-type", "2:13", "`^library/` is an array", "a string in quotes"),
        ("header-realm", "1:17", "`header_realms` has a scheme other than", no_url),
        ("header-type", "2:37", "`authorization` is an integer", "a string in quotes"),
    ] {
        let error = load_fixtures(&["broken"], case, NO_FLAGS).unwrap_err();
        let path = fixtures().join("broken").join(case).join("hosts.toml");
        let message = error.to_string();
        assert!(message.starts_with(&format!("{}:{place}: ", path.display())), "{case}: {message}");
        assert!(message.contains(problem), "{case}: {message}");
        let hint = error.hint().unwrap();
        assert!(hint.contains(expected), "{case}: {hint}");
        let everything = format!("{message}{hint}{error:?}");
        assert!(!everything.contains("hunter2"), "{case}: {everything}");
    }
}

#[test]
fn the_hint_for_a_broken_file_quotes_its_line() {
    let error = load_fixtures(&["broken"], "unknown-capability", NO_FLAGS).unwrap_err();
    assert_eq!(error.location().unwrap().text, "capabilities = [\"pull\", \"fetch\"]");
    assert!(error.hint().unwrap().contains("capabilities = [\"pull\", \"fetch\"]"));
}

#[test]
fn a_dangling_link_stops_the_pull() {
    let root = tempfile::tempdir().unwrap();
    let roots = [root.path().to_owned()];
    std::os::unix::fs::symlink("nowhere", root.path().join("reg.example")).unwrap();
    std::fs::create_dir(root.path().join("quay.io")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("quay.io/hosts.toml")).unwrap();
    for domain in ["reg.example", "quay.io"] {
        let error = load_domain(&roots, domain, &NO_FLAGS).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{domain}: {error}");
    }
}
