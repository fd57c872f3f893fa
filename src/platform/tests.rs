//! What can be typed, what it comes to, and what runs where.

use super::*;

fn platform(text: &str) -> Platform {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn normalises_the_spellings_in_use() {
    for (text, normalised) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/i386", "linux/386"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/ppc64le", "linux/ppc64le"),
        ("macos/arm64", "darwin/arm64"),
        ("windows/amd64", "windows/amd64"),
    ] {
        assert_eq!(platform(text).to_string(), normalised, "{text}");
    }
}

#[test]
fn reads_the_kernels_name_of_the_machine() {
    for (machine, expected) in [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("i686", "linux/386"),
        ("armv6l", "linux/arm/v6"),
        ("armv7l", "linux/arm/v7"),
        ("s390x", "linux/s390x"),
        ("riscv64", "linux/riscv64"),
        ("loongarch64", "linux/loong64"),
    ] {
        assert_eq!(Platform::of_machine(machine), platform(expected), "{machine}");
    }
}

#[test]
fn refuses_what_is_no_platform_and_says_why() {
    let text = |text: &str| text.to_owned();
    for (input, error) in [
        ("", PlatformError::Form(text(""))),
        ("amd63", PlatformError::Word(text("amd63"))),
        ("wasm(", PlatformError::Options(text("wasm("))),
        ("linux/arm/v7/x", PlatformError::Form(text("linux/arm/v7/x"))),
        ("linux/", PlatformError::EmptyPart(text("linux/"))),
        ("/amd64", PlatformError::EmptyPart(text("/amd64"))),
        ("linux/arm/", PlatformError::EmptyPart(text("linux/arm/"))),
        ("linux,amd64", PlatformError::Character { text: text("linux,amd64"), character: ',' }),
        ("linux/amd64 ", PlatformError::Character { text: text("linux/amd64 "), character: ' ' }),
        ("unknown/unknown", PlatformError::Unknown(text("unknown/unknown"))),
    ] {
        assert_eq!(input.parse::<Platform>(), Err(error), "{input}");
    }
}

#[test]
fn one_word_is_a_system_or_a_processor_of_this_machine() {
    let host = Platform::host();
    for (text, expected) in [
        ("arm64", platform(&format!("{}/arm64", host.os))),
        ("aarch64", platform(&format!("{}/arm64", host.os))),
        ("x86_64", platform(&format!("{}/amd64", host.os))),
        ("armhf", platform(&format!("{}/arm/v7", host.os))),
        ("armel", platform(&format!("{}/arm/v6", host.os))),
        ("s390x", platform(&format!("{}/s390x", host.os))),
        ("linux", Platform { os: "linux".to_owned(), ..host.clone() }),
        ("macos", Platform { os: "darwin".to_owned(), ..host.clone() }),
        ("linux(+erofs)", host.clone().with_features(vec!["erofs".to_owned()])),
    ] {
        assert_eq!(platform(text), expected, "{text}");
    }
}

#[test]
fn a_system_may_have_a_version_and_features() {
    for (text, version, features, shown) in [
        ("linux(+erofs)/amd64", "", &["erofs"][..], "linux(+erofs)/amd64"),
        ("linux(6.1+b+a+b)/arm64/v8", "6.1", &["a", "b"], "linux(+a+b)/arm64"),
        ("windows(10.0.17763)/amd64", "10.0.17763", &[], "windows(10.0.17763)/amd64"),
        (
            "windows(10.0.17763+win32k)/amd64",
            "10.0.17763",
            &["win32k"],
            "windows(10.0.17763+win32k)/amd64",
        ),
        ("windows(1%2b0%28a%20)/amd64", "1+0(a ", &[], "windows(1%2B0%28a%20)/amd64"),
        ("linux(+a%2Bb)/amd64", "", &["a+b"], "linux(+a%2Bb)/amd64"),
        ("linux(6.1)/amd64", "6.1", &[], "linux/amd64"),
        ("linux()/amd64", "", &[], "linux/amd64"),
    ] {
        let found = platform(text);
        assert_eq!(
            (found.os_version.as_str(), &found.os_features[..]),
            (version, &features.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>()[..]),
            "{text}"
        );
        assert_eq!(found.to_string(), shown, "{text}");
        assert_eq!(platform(shown).os_features, found.os_features, "{text}");
    }
    for text in [
        "linux(/amd64",
        "linux)/amd64",
        "linux(+)/amd64",
        "linux(a+)/amd64",
        "linux(a b)/amd64",
        "linux(%2)/amd64",
        "linux(%zz)/amd64",
        "linux(%ff)/amd64",
        "linux(a)b/amd64",
        "linux(a))/amd64",
        "(a)/amd64",
        "arm64(+a)",
        "linux/amd64(+a)",
    ] {
        assert!(text.parse::<Platform>().is_err(), "{text}");
    }
}

#[test]
fn what_an_image_needs_of_the_system_must_be_wanted() {
    let (plain, erofs, both) = ("linux/amd64", "linux(+erofs)/amd64", "linux(+erofs+x)/amd64");
    for (wanted, candidates, chosen) in [
        (plain, &[erofs, plain][..], Some(plain)),
        (plain, &[erofs], None),
        (erofs, &[plain, erofs], Some(erofs)),
        (erofs, &[erofs, plain], Some(erofs)),
        (erofs, &[plain, both], Some(plain)),
        (both, &[plain, erofs], Some(erofs)),
        ("linux(+erofs)/amd64/v3", &[erofs, "linux/amd64/v3"], Some("linux/amd64/v3")),
        (
            "windows(10.0.17763)/amd64",
            &["windows(10.0.20348.1)/amd64", "windows(10.0.17763.7)/amd64"],
            Some("windows(10.0.17763.7)/amd64"),
        ),
        (
            "windows(10.0.17763.5)/amd64",
            &["windows/amd64", "windows(10.0.17763.5)/amd64"],
            Some("windows(10.0.17763.5)/amd64"),
        ),
        ("windows(10.0.1776)/amd64", &["windows(10.0.17763)/amd64"], None),
        ("windows/amd64", &["windows(10.0.20348)/amd64"], Some("windows(10.0.20348)/amd64")),
        ("linux(6.1)/amd64", &["linux(5.1)/amd64"], Some("linux/amd64")),
    ] {
        let matcher = Matcher::strict(&platform(wanted));
        assert_eq!(pick(&matcher, candidates).as_deref(), chosen, "{wanted}: {candidates:?}");
    }
}

/// What the matcher picks, by name.
fn pick(matcher: &Matcher, candidates: &[&str]) -> Option<String> {
    let candidates: Vec<Platform> = candidates.iter().map(|text| platform(text)).collect();
    matcher.best(&candidates).map(|position| candidates[position].to_string())
}

#[test]
fn the_default_takes_the_exact_platform_first_and_then_a_lesser_one() {
    for (host, candidates, chosen) in [
        ("linux/amd64", &["linux/386", "linux/amd64"][..], Some("linux/amd64")),
        ("linux/amd64", &["linux/arm64", "linux/386"], Some("linux/386")),
        ("linux/amd64", &["linux/amd64/v2", "linux/amd64/v3"], None),
        ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some("linux/amd64/v2")),
        ("linux/amd64/v3", &["linux/386", "linux/amd64"], Some("linux/amd64")),
        ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some("linux/arm64")),
        ("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
        ("linux/arm64", &["linux/amd64"], None),
        ("linux/arm64/v8.2", &["linux/arm64", "linux/arm64/v8.1"], Some("linux/arm64/v8.1")),
        ("linux/arm64/v9", &["linux/arm64", "linux/arm64/v8.5"], Some("linux/arm64/v8.5")),
        ("linux/arm64/v9", &["linux/arm64/v8.6"], None),
        ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some("linux/arm/v6")),
        ("linux/arm/v6", &["linux/arm/v7"], None),
        ("linux/386", &["linux/amd64"], None),
        ("linux/amd64", &["windows/amd64"], None),
        ("linux/riscv64", &["linux/riscv64"], Some("linux/riscv64")),
    ] {
        let matcher = Matcher::default_for(&platform(host));
        assert_eq!(pick(&matcher, candidates).as_deref(), chosen, "{host}: {candidates:?}");
    }
}

#[test]
fn an_explicit_platform_takes_no_other_architecture() {
    for (wanted, candidates, chosen) in [
        ("linux/amd64", &["linux/386"][..], None),
        ("linux/arm64", &["linux/arm/v7"], None),
        ("linux/amd64", &["linux/amd64/v2"], None),
        ("linux/amd64/v2", &["linux/amd64/v3", "linux/amd64"], Some("linux/amd64")),
        ("linux/arm", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
        ("linux/arm/v7", &["linux/arm/v5"], Some("linux/arm/v5")),
        ("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64")),
    ] {
        let matcher = Matcher::strict(&platform(wanted));
        assert_eq!(pick(&matcher, candidates).as_deref(), chosen, "{wanted}: {candidates:?}");
    }
}

#[test]
fn attestations_never_match() {
    let unknown = Platform::from_parts("unknown", "unknown", "", "");
    assert_eq!(Matcher::default_for(&Platform::host()).rank(&unknown), None);
    assert_eq!(Matcher::strict(&unknown).rank(&unknown), None);
}

#[test]
fn the_first_of_equals_wins() {
    let twice = [platform("linux/amd64"), platform("linux/amd64/v1")];
    assert_eq!(Matcher::strict(&platform("linux/amd64")).best(&twice), Some(0));
}
