//! What is an index, what a manifest, and what is neither.

use oci_distribution::manifest as wire;

use super::*;

const OCI: &str = wire::OCI_IMAGE_MEDIA_TYPE;
const DOCKER: &str = wire::IMAGE_MANIFEST_MEDIA_TYPE;
const INDEX: &str = wire::OCI_IMAGE_INDEX_MEDIA_TYPE;
const LIST: &str = wire::IMAGE_MANIFEST_LIST_MEDIA_TYPE;
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(media_type: &str, json: &str) -> Result<ManifestKind, ManifestError> {
    ManifestKind::parse(&MediaType::new(media_type), json.as_bytes())
}

fn manifest(media_type: &str, json: &str) -> Manifest {
    match parse(media_type, json) {
        Ok(ManifestKind::Manifest(manifest)) => *manifest,
        other => panic!("{json} as {media_type}: {other:?}"),
    }
}

fn index(media_type: &str, json: &str) -> Index {
    match parse(media_type, json) {
        Ok(ManifestKind::Index(index)) => index,
        other => panic!("{json} as {media_type}: {other:?}"),
    }
}

fn descriptor(size: i64) -> String {
    format!(r#"{{"mediaType":"x","digest":"{EMPTY}","size":{size}}}"#)
}

/// `members` with `D` for a descriptor, as an object.
fn object(members: &str) -> String {
    format!("{{{}}}", members.replace('D', &descriptor(2)))
}

#[test]
fn the_type_is_what_is_described_or_else_what_the_document_shows() {
    for (given, members, media_type) in [
        (OCI, r#""config":D,"layers":[D]"#, OCI),
        (DOCKER, r#""config":D,"layers":[D]"#, DOCKER),
        // Registries that convert, and tools that mix.
        (DOCKER, r#""mediaType":"application/vnd.oci.image.manifest.v1+json","config":D"#, DOCKER),
        (OCI, r#""mediaType":"application/vnd.unheard.of","config":D"#, OCI),
        (INDEX, r#""manifests":[D]"#, INDEX),
        (LIST, r#""manifests":null"#, LIST),
        ("application/json", r#""config":D,"layers":[D]"#, OCI),
        ("text/plain", r#""config":D,"layers":null"#, OCI),
        ("", r#""config":D"#, OCI),
        ("application/octet-stream", r#""manifests":[D]"#, INDEX),
        ("binary/octet-stream", r#""manifests":[]"#, INDEX),
        (
            "application/json",
            r#""mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":D"#,
            DOCKER,
        ),
        (
            "application/vnd.unheard.of",
            r#""mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]"#,
            INDEX,
        ),
        // A type that says nothing is none, also in the document.
        ("", r#""mediaType":"application/json","manifests":[D]"#, INDEX),
        ("text/plain", r#""mediaType":null,"manifests":[D]"#, INDEX),
    ] {
        let json = object(members);
        let found = MediaType::of_document(&MediaType::new(given), json.as_bytes());
        assert_eq!(found.unwrap_or_else(|e| panic!("{given} {json}: {e}")).as_str(), media_type);
    }
}

#[test]
fn refuses_what_another_client_may_take_for_something_else() {
    use ManifestError::{Ambiguous, OtherMembers, OtherType};
    let own = |media_type: &str, members: &str| format!(r#""mediaType":"{media_type}",{members}"#);
    let of_manifest = r#""config":D,"layers":[D]"#;
    let of_index = r#""manifests":[D]"#;
    let both = r#""config":D,"layers":[D],"manifests":[D]"#;
    for given in [OCI, DOCKER, INDEX, LIST, "application/json", ""] {
        let json = object(both);
        assert!(matches!(parse(given, &json), Err(Ambiguous)), "{given}");
        // Go's clients count a member that is null as there.
        let json = object(r#""layers":null,"manifests":null"#);
        let refused =
            matches!(parse(given, &json), Err(Ambiguous | ManifestError::Incomplete { .. }));
        assert!(refused, "{given}");
    }
    for given in [OCI, DOCKER, "application/json", "text/plain"] {
        let typed = own(if given == OCI { OCI } else { DOCKER }, of_index);
        assert!(matches!(parse(given, &object(&typed)), Err(OtherMembers { .. })), "{given}");
    }
    for given in [INDEX, LIST, "application/json"] {
        for members in [of_manifest, r#""config":D"#, r#""layers":[]"#, r#""layers":null"#] {
            let typed = own(if given == INDEX { INDEX } else { LIST }, members);
            assert!(matches!(parse(given, &object(&typed)), Err(OtherMembers { .. })), "{given}");
        }
    }
    for (given, own_type, members) in [
        (OCI, INDEX, of_manifest),
        (DOCKER, LIST, of_manifest),
        (OCI, LIST, of_index),
        (INDEX, OCI, of_index),
        (LIST, DOCKER, of_manifest),
    ] {
        let json = object(&own(own_type, members));
        assert!(matches!(parse(given, &json), Err(OtherType { .. })), "{given}: {json}");
    }
    assert!(matches!(parse(INDEX, &object(of_manifest)), Err(OtherMembers { .. })));
    assert!(matches!(parse(OCI, &object(of_index)), Err(OtherMembers { .. })));
}

#[test]
fn refuses_what_is_no_image() {
    let schema1 = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    assert!(matches!(parse("application/json", schema1), Err(ManifestError::Schema1)));
    assert!(matches!(parse(SCHEMA1, "{}"), Err(ManifestError::Schema1)));
    let typed = format!(r#"{{"mediaType":"{SCHEMA1}"}}"#);
    assert!(matches!(parse(OCI, &typed), Err(ManifestError::Schema1)));
    assert!(matches!(parse(OCI, " <html></html>"), Err(ManifestError::Html { .. })));
    assert!(matches!(parse(OCI, "{"), Err(ManifestError::Json { .. })));
    for json in ["{}", r#"{"status":"ok"}"#, r#"{"config":null,"layers":null}"#] {
        assert!(matches!(parse(OCI, json), Err(ManifestError::Incomplete { .. })), "{json}");
    }
    assert!(matches!(parse(INDEX, "{}"), Err(ManifestError::Incomplete { .. })));
    for given in ["application/json", "application/vnd.unheard.of", ""] {
        let json = r#"{"status":"ok"}"#;
        assert!(matches!(parse(given, json), Err(ManifestError::NotAnImage(_))), "{given}");
    }
    let chart = object(r#""mediaType":"application/vnd.cncf.helm.chart","config":D"#);
    assert!(matches!(parse("text/plain", &chart), Err(ManifestError::NotAnImage(_))));
    let unheard = object(r#""config":D"#);
    let given = "application/vnd.unheard.of";
    assert!(matches!(parse(given, &unheard), Err(ManifestError::NotAnImage(_))));
}

#[test]
fn what_is_nested_deeply_ends_in_an_error_or_is_skipped() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(parse(OCI, &deep), Err(ManifestError::Json { .. })));
    // Members that nobody asked for are skipped without recursion.
    let deep = format!(r#"{{"config":{},"x":{deep}}}"#, descriptor(2));
    assert!(parse(OCI, &deep).is_ok());
}

#[test]
fn takes_null_for_an_empty_list_as_go_writes_it() {
    assert!(manifest(OCI, &object(r#""config":D,"layers":null"#)).layers.is_empty());
    assert!(index(INDEX, r#"{"manifests":null}"#).manifests.is_empty());
}

#[test]
fn reads_the_platforms_of_an_index() {
    let json = format!(
        r#"{{"manifests":[{{"mediaType":"{OCI}","digest":"{EMPTY}","size":7,
            "platform":{{"os":"linux","architecture":"arm","variant":"v7",
            "os.features":["b","a"]}}}},
           {{"mediaType":"{OCI}","digest":"{EMPTY}","size":7}}]}}"#
    );
    let index = index(INDEX, &json);
    let platform = index.manifests[0].platform.as_ref().unwrap();
    assert_eq!(platform.to_string(), "linux(+a+b)/arm/v7");
    assert!(index.manifests[1].platform.is_none());
}

#[test]
fn an_entry_with_a_digest_of_another_algorithm_is_passed_over() {
    let other =
        format!(r#"{{"mediaType":"{OCI}","digest":"sha512:{}","size":1}}"#, "0".repeat(128));
    let json = object(&format!(r#""manifests":[{other},D]"#));
    assert_eq!(index(INDEX, &json).manifests.len(), 1);
    let json = object(&format!(r#""manifests":[{other}]"#));
    assert!(matches!(parse(INDEX, &json), Err(ManifestError::Digest(_))));
    let json = object(&format!(r#""config":{other}"#));
    assert!(matches!(parse(OCI, &json), Err(ManifestError::Digest(_))));
}

#[test]
fn keeps_what_describes_the_document() {
    let json = object(
        r#""artifactType":"application/x","config":D,"subject":D,"annotations":{"a":"b","c":null}"#,
    );
    let found = manifest(OCI, &json);
    assert_eq!(found.artifact_type.as_deref(), Some("application/x"));
    assert_eq!(found.subject.map(|subject| subject.size), Some(2));
    assert_eq!(found.annotations.len(), 2);
    let broken = object(r#""config":D,"subject":{"digest":"x"},"annotations":null"#);
    assert_eq!(manifest(OCI, &broken).subject, None);
}

#[test]
fn an_early_docker_image_has_a_configuration_without_a_type() {
    for (given, config_type, is_image) in [
        (DOCKER, "application/octet-stream", true),
        (DOCKER, "application/vnd.docker.container.image.v1+json", true),
        (OCI, "application/vnd.oci.image.config.v1+json", true),
        (OCI, "application/octet-stream", false),
        (DOCKER, "application/vnd.docker.plugin.v1+json", false),
        (OCI, "application/vnd.oci.empty.v1+json", false),
    ] {
        let config = descriptor(2).replace("\"x\"", &format!("\"{config_type}\""));
        let found = manifest(given, &format!(r#"{{"config":{config}}}"#));
        assert_eq!(found.is_image(), is_image, "{given} {config_type}");
    }
}

#[test]
fn refuses_more_layers_and_entries_than_are_bearable() {
    let many = vec![descriptor(1); json::MAX_ENTRIES + 1].join(",");
    let json = object(&format!(r#""config":D,"layers":[{many}]"#));
    assert!(matches!(parse(OCI, &json), Err(ManifestError::TooMany { length: 4097, .. })));
    let json = object(&format!(r#""manifests":[{many}]"#));
    assert!(matches!(parse(INDEX, &json), Err(ManifestError::TooMany { length: 4097, .. })));
    let enough = vec![descriptor(1); json::MAX_ENTRIES].join(",");
    assert!(parse(INDEX, &object(&format!(r#""manifests":[{enough}]"#))).is_ok());
}

#[test]
fn what_is_written_is_what_was_read() {
    let layer = format!(
        r#"{{"mediaType":"x","digest":"{EMPTY}","size":0,"urls":["https://a.example/b"],"annotations":{{"a":"b","z":""}},"data":"","artifactType":"t"}}"#
    );
    let (config, subject) = (descriptor(2), descriptor(3));
    let described = r#""annotations":{"k":"v"}"#;
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI}","artifactType":"y","config":{config},"layers":[{layer},{config}],"subject":{subject},{described}}}"#
    );
    let written = manifest(OCI, &json).to_json().unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), json);
    let entry = format!(
        r#"{{"mediaType":"{DOCKER}","digest":"{EMPTY}","size":7,"platform":{{"architecture":"arm","variant":"v6","os":"linux","os.version":"1","os.features":["a","b"]}}}}"#
    );
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[{entry}],"subject":{subject},{described}}}"#
    );
    let written = index(LIST, &json).to_json().unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), json);
    // A generic type does not come back.
    let plain = manifest("text/plain", &object(r#""config":D"#)).to_json().unwrap();
    let again = manifest("application/json", std::str::from_utf8(&plain).unwrap());
    assert_eq!(again.to_json().unwrap(), plain);
    assert_eq!(again.media_type.as_str(), OCI);
}
