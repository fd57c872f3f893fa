//! Tables of what is a reference and what is not.

use super::*;
use crate::failure::{Diagnose, Failure};
use crate::oci::{Digest, DigestError};

const HEX: &str = "b5d6fe0712636ceb7430189de28819e195e8966372edfc2d9409d79402a0dc16";

fn parsed(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> ReferenceError {
    match text.parse::<Reference>() {
        Ok(reference) => panic!("{text:?} was taken for {reference}"),
        Err(error) => error,
    }
}

#[test]
fn normalises_as_docker_and_containerd_do() {
    let digest = format!("sha256:{HEX}");
    for (text, domain, path, tag) in [
        ("busybox", "docker.io", "library/busybox", "latest"),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36"),
        ("docker.io/busybox", "docker.io", "library/busybox", "latest"),
        ("index.docker.io/busybox", "docker.io", "library/busybox", "latest"),
        ("docker.io/library/busybox", "docker.io", "library/busybox", "latest"),
        ("bitnami/redis:7", "docker.io", "bitnami/redis", "7"),
        ("a/b/c", "docker.io", "a/b/c", "latest"),
        ("registry.k8s.io/pause:3.6", "registry.k8s.io", "pause", "3.6"),
        ("registry.k8s.io/coredns/coredns", "registry.k8s.io", "coredns/coredns", "latest"),
        ("localhost/app", "localhost", "app", "latest"),
        ("localhost:5000", "docker.io", "library/localhost", "5000"),
        ("localhost:5000/app", "localhost:5000", "app", "latest"),
        ("127.0.0.1:5000/a/b:t", "127.0.0.1:5000", "a/b", "t"),
        ("[::1]:5000/app:t", "[::1]:5000", "app", "t"),
        ("[fd00::1]/app", "[fd00::1]", "app", "latest"),
        ("[2001:DB8::1]:443/app", "[2001:DB8::1]:443", "app", "latest"),
        ("Foo/bar", "Foo", "bar", "latest"),
        ("harbor.example.net:443/p/a", "harbor.example.net:443", "p/a", "latest"),
        ("foo_bar.com/x", "foo_bar.com", "x", "latest"),
        ("foo-bar/x", "docker.io", "foo-bar/x", "latest"),
        ("xn--n3h.com/x", "xn--n3h.com", "x", "latest"),
        ("a.b_c__d---e/x1", "a.b_c__d---e", "x1", "latest"),
        ("x/a.b_c__d---e", "docker.io", "x/a.b_c__d---e", "latest"),
        ("busybox:_.-A", "docker.io", "library/busybox", "_.-A"),
        (&format!("docker.io/{HEX}"), "docker.io", &format!("library/{HEX}"), "latest"),
        (&digest, "docker.io", "library/sha256", HEX),
    ] {
        let reference = parsed(text);
        assert_eq!(
            (reference.domain(), reference.path(), reference.tag(), reference.digest()),
            (domain, path, Some(tag), None),
            "{text}"
        );
        assert_eq!(reference.name(), format!("{domain}/{path}"));
        assert_eq!(reference.to_string(), format!("{domain}/{path}:{tag}"));
        assert_eq!(parsed(&reference.to_string()), reference, "{text} is stable");
    }
}

#[test]
fn a_digest_gets_no_latest_and_the_stored_name_drops_the_tag() {
    let alone = parsed(&format!("busybox@sha256:{HEX}"));
    assert_eq!(alone.tag(), None);
    assert_eq!(alone.digest().map(|digest| digest.hex()).as_deref(), Some(HEX));
    assert_eq!(alone.to_string(), format!("docker.io/library/busybox@sha256:{HEX}"));

    let tagged = parsed(&format!("host:5000/a/b:1.2@sha256:{HEX}"));
    assert_eq!(tagged.tag(), Some("1.2"));
    assert_eq!(tagged.to_string(), format!("host:5000/a/b@sha256:{HEX}"));
}

#[test]
fn names_the_rule_that_is_broken() {
    use ReferenceRule as Rule;
    let text = |text: &str| text.to_owned();
    let character = |path: &str, character| Rule::PathCharacter { path: text(path), character };
    for (input, rule) in [
        ("", Rule::Empty),
        (" busybox", Rule::WhiteSpace),
        ("busy box", Rule::WhiteSpace),
        ("busybox\n", Rule::WhiteSpace),
        ("busy\u{1b}[31mbox", Rule::WhiteSpace),
        ("https://registry.k8s.io/pause:3.6", Rule::Scheme(text("https"))),
        ("docker://busybox", Rule::Scheme(text("docker"))),
        ("me:secret@harbor.example.net/a", Rule::UserInfo),
        (HEX, Rule::BareIdentifier),
        ("-bad.example.net/a", Rule::Host(text("-bad.example.net"))),
        ("bad..example.net/a", Rule::Host(text("bad..example.net"))),
        ("my_registry:5000/a", Rule::Host(text("my_registry:5000"))),
        ("fd00::1/a", Rule::Host(text("fd00::1"))),
        ("[::1/a", Rule::Host(text("[::1"))),
        ("[fe80::1%eth0]/a", Rule::Host(text("[fe80::1%eth0]"))),
        ("[::ffff:127.0.0.1]/a", Rule::Host(text("[::ffff:127.0.0.1]"))),
        (":5000/a", Rule::Host(text(":5000"))),
        ("host.example:/a", Rule::Port(text("host.example:"))),
        ("host.example:http/a", Rule::Port(text("host.example:http"))),
        ("host.example:65536/a", Rule::Port(text("host.example:65536"))),
        ("host.example:+80/a", Rule::Port(text("host.example:+80"))),
        ("registry.k8s.io/", Rule::NoRepository),
        (":latest", Rule::NoRepository),
        ("@sha256:", Rule::Digest(DigestError::Malformed(text("sha256:")))),
        ("Busybox", Rule::UpperCase(text("Busybox"))),
        ("docker.io/Foo/bar", Rule::UpperCase(text("Foo/bar"))),
        ("busybÖx", Rule::UpperCase(text("busybÖx"))),
        ("busyböx", character("busyböx", 'ö')),
        ("a/b?c", character("a/b?c", '?')),
        ("a/../b", Rule::Separators(text(".."))),
        ("a//b", Rule::EmptyComponent(text("a//b"))),
        ("a/b/", Rule::EmptyComponent(text("a/b/"))),
        ("a/b..c", Rule::Separators(text("b..c"))),
        ("a/b._c", Rule::Separators(text("b._c"))),
        ("a/b___c", Rule::Separators(text("b___c"))),
        ("a/-b", Rule::Separators(text("-b"))),
        ("a/b_", Rule::Separators(text("b_"))),
        ("busybox:", Rule::EmptyTag),
        ("busybox:-1", Rule::TagStart(text("-1"))),
        ("quay.io/box:a/b", Rule::TagCharacter { tag: text("a/b"), character: '/' }),
        ("busybox:a:b", Rule::TagCharacter { tag: text("a:b"), character: ':' }),
        ("busybox:1+2", Rule::TagCharacter { tag: text("1+2"), character: '+' }),
        ("busybox@", Rule::Digest(DigestError::Malformed(text("")))),
        ("busybox:1@", Rule::Digest(DigestError::Malformed(text("")))),
        ("busybox:1@0abc", Rule::Digest(DigestError::Malformed(text("0abc")))),
        ("me:secret@quay.io", Rule::UserInfo),
        ("busybox@latest", Rule::Digest(DigestError::Malformed(text("latest")))),
        ("busybox@sha256:ab/c", Rule::Digest(DigestError::BadHex(text("sha256:ab/c")))),
        ("busybox@sha512:ab", Rule::Digest(DigestError::UnsupportedAlgorithm(text("sha512")))),
    ] {
        let error = refused(input);
        assert_eq!(*error.rule(), rule, "{input:?}");
        assert_eq!(error.failure(), Failure::Usage);
    }
}

#[test]
fn the_length_limit_counts_the_path_only_and_the_implied_library_too() {
    let host = "registry.example.net";
    assert_eq!(parsed(&format!("{host}/{}", "a".repeat(255))).path().len(), 255);
    assert_eq!(
        *refused(&format!("{host}/{}", "a".repeat(256))).rule(),
        ReferenceRule::PathTooLong(256)
    );
    assert_eq!(parsed(&"a".repeat(247)).path().len(), 255);
    assert_eq!(*refused(&"a".repeat(248)).rule(), ReferenceRule::PathTooLong(256));

    assert_eq!(parsed(&format!("busybox:{}", "1".repeat(128))).tag().map(str::len), Some(128));
    assert_eq!(
        *refused(&format!("busybox:{}", "1".repeat(129))).rule(),
        ReferenceRule::TagTooLong(129)
    );
}

#[test]
fn suggests_the_form_that_was_meant() {
    let upper = format!("busybox@sha256:{}", HEX.to_uppercase());
    let lower = format!("did you mean busybox@sha256:{HEX}?");
    for (input, hint) in [
        (" busybox:1 ", "did you mean busybox:1?"),
        ("https://quay.io/a/b:1", "did you mean quay.io/a/b:1?"),
        ("Busybox:1.36-Musl", "did you mean busybox:1.36-Musl?"),
        ("Harbor.example.net/Team/App", "did you mean Harbor.example.net/team/app?"),
        ("a//b/", "did you mean a/b?"),
        ("busybox:", "did you mean busybox?"),
        ("me:secret@quay.io/a", "write quay.io/a and give the login with -u USER"),
        (&upper, &lower),
    ] {
        assert_eq!(refused(input).hint().as_deref(), Some(hint), "{input:?}");
    }
    for input in ["", "busy box", "a/b..c", "busybox@latest"] {
        assert_eq!(refused(input).hint(), None, "{input:?}");
    }
}

#[test]
fn errors_repeat_no_password_and_no_megabytes() {
    for input in [
        "me:s3cret@quay.io/a",
        "https://me:s3cret@quay.io/a",
        "me:s3/c@s3cret@quay.io/a:1",
        "https://me:s3cret@quay.io",
        "me:s3cret@quay.io",
        "me:s3cret@quay.io:5000",
        &format!("me:s3cret@quay.io/a@sha256:{HEX}"),
    ] {
        let error = refused(input);
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert!(!shown.contains("s3"), "{shown}");
    }
    let error = refused(&"a".repeat(1 << 20));
    assert_eq!(*error.rule(), ReferenceRule::TooLong(1 << 20));
    assert!(error.to_string().len() < 2048, "{} bytes", error.to_string().len());
}

/// A second opinion, for what it reads as the original does.
#[test]
fn agrees_with_an_independent_parser() {
    for text in [
        "busybox",
        "busybox:1.36",
        "docker.io/busybox",
        "index.docker.io/busybox",
        "bitnami/redis:7",
        "localhost/app",
        "localhost:5000",
        "localhost:5000/app",
        "host.example:5000/a/b:t",
        "a/b__c---d.e",
        "busybox:_1",
        &format!("busybox@sha256:{HEX}"),
        &format!("host.example:5000/a/b:1@sha256:{HEX}"),
    ] {
        let ours = parsed(text);
        let theirs: oci_distribution::Reference = text.parse().unwrap();
        assert_eq!(ours.domain(), theirs.registry(), "{text}");
        assert_eq!(ours.path(), theirs.repository(), "{text}");
        assert_eq!(ours.tag(), theirs.tag(), "{text}");
        let digest = ours.digest().map(|digest| digest.to_string());
        assert_eq!(digest.as_deref(), theirs.digest(), "{text}");
    }
    for text in ["", "Busybox", "a//b", "a/b..c", "busybox:", "quay.io/box:a/b", "busybox@latest"] {
        assert!(text.parse::<oci_distribution::Reference>().is_err(), "{text}");
        refused(text);
    }
}

#[test]
fn an_image_without_a_name_is_its_digest_and_no_text_is_read_as_that() {
    let digest = Digest::of(b"image");
    let nameless = Reference::nameless(digest);
    assert!(nameless.is_nameless() && nameless.digest() == Some(digest));
    assert_eq!(nameless.to_string(), digest.to_string());
    let read = digest.to_string().parse::<Reference>();
    assert!(read.is_ok_and(|reference| !reference.is_nameless()));
}
