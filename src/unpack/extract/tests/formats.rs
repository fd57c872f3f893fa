//! The tar dialects, and archives that are none.

use super::layer::{Fields, Layer, extract_gzipped, header_block, listing, pax_record};
use crate::failure::{Diagnose, Failure};
use crate::oci::Digest;
use crate::tar::Problem;
use crate::unpack::extract::{ExtractError, Whiteouts};

fn contents(archive: &[u8]) -> Result<Vec<(String, String)>, ExtractError> {
    let root = tempfile::tempdir().unwrap();
    extract_gzipped(archive, root.path(), Whiteouts::Overlay)?;
    let files =
        listing(root.path()).into_iter().filter(|(_, node)| node.mode & 0o170_000 != 0o40000);
    Ok(files.map(|(name, node)| (name, String::from_utf8(node.content).unwrap())).collect())
}

fn problem(archive: &[u8]) -> Problem {
    match contents(archive) {
        Err(error @ ExtractError::Archive { .. }) => {
            assert_eq!(error.failure(), Failure::Verification);
            match error {
                ExtractError::Archive { source, .. } => source,
                _ => unreachable!(),
            }
        }
        other => panic!("{other:?}"),
    }
}

fn with(kind: u8) -> Fields<'static> {
    Fields { kind, ..Fields::default() }
}

#[test]
fn reads_long_names_of_gnu_and_pax() {
    let (long, link) = ("n".repeat(200), "t".repeat(150));
    let pax = vec![("path", b"pax-name".to_vec()), ("linkpath", b"pax-target".to_vec())];
    let layer = Layer::new()
        .entry("././@LongLink", with(b'L'), format!("{long}\0").as_bytes())
        .entry("././@LongLink", with(b'K'), format!("{link}\0").as_bytes())
        .entry("short", Fields { link: "short", ..with(b'2') }, b"")
        .entry("short", Fields { link: "short", pax, ..with(b'2') }, b"")
        .file("after", "short again");
    let expected = vec![
        ("after".to_owned(), "short again".to_owned()),
        (long, link),
        ("pax-name".to_owned(), "pax-target".to_owned()),
    ];
    assert_eq!(contents(&layer.finished()).unwrap(), expected);
}

#[test]
fn takes_the_size_from_pax() {
    let pax = vec![("size", b"5".to_vec())];
    let mut layer = Layer::new().entry("a", Fields { pax, ..with(b'0') }, b"");
    layer.raw(&[], b"12345");
    assert_eq!(
        contents(&layer.file("b", "").finished()).unwrap(),
        [("a".to_owned(), "12345".to_owned()), ("b".to_owned(), String::new())]
    );
}

#[test]
fn ignores_global_headers_but_clears_their_place() {
    let global = pax_record("mtime", b"1");
    let layer =
        Layer::new().file("comment", "gone").entry("comment", with(b'g'), &global).file("x", "y");
    assert_eq!(contents(&layer.finished()).unwrap(), [("x".to_owned(), "y".to_owned())]);
}

#[test]
fn skips_no_content_of_entries_that_have_none() {
    let mut layer = Layer::new();
    layer.raw(&header_block("link", &Fields { link: "x", ..with(b'2') }, 4096), b"");
    assert_eq!(contents(&layer.file("x", "y").finished()).unwrap().len(), 2);
}

#[test]
fn takes_a_trailing_slash_of_an_old_header_for_a_directory() {
    let layer = Layer::new().entry("old/", with(0), b"").entry("new/", with(b'0'), b"file");
    let root = tempfile::tempdir().unwrap();
    layer.extract_to(root.path()).unwrap();
    assert!(root.path().join("old").is_dir());
    assert!(root.path().join("new").is_file());
}

#[test]
fn expands_sparse_files_of_every_format() {
    let expanded = "\0\0\0ab\0\0\0\0\0cd\0\0";
    let records = |pairs: &[(&'static str, &str)]| {
        pairs.iter().map(|(key, value)| (*key, value.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let v00 = records(&[("GNU.sparse.size", "14"), ("GNU.sparse.numblocks", "2")]);
    let mut layer = Layer::new();
    // 0.0 repeats its keys, in order.
    let pax: Vec<u8> = [
        pax_record("GNU.sparse.size", b"14"),
        pax_record("GNU.sparse.numblocks", b"2"),
        pax_record("GNU.sparse.offset", b"3"),
        pax_record("GNU.sparse.numbytes", b"2"),
        pax_record("GNU.sparse.offset", b"10"),
        pax_record("GNU.sparse.numbytes", b"2"),
    ]
    .concat();
    layer = layer.entry("x", with(b'x'), &pax).entry("v0.0", with(b'0'), b"abcd");
    let mut pax = v00;
    pax.extend(records(&[("GNU.sparse.map", "3,2,10,2"), ("GNU.sparse.name", "v0.1")]));
    layer = layer.entry("mangled", Fields { pax, ..with(b'0') }, b"abcd");
    let pax = records(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "v1.0"),
        ("GNU.sparse.realsize", "14"),
    ]);
    let mut content = b"2\n3\n2\n10\n2\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abcd");
    layer = layer.entry("mangled", Fields { pax, ..with(b'0') }, &content);
    let mut header = header_block("old", &with(b'S'), 4);
    header[257..265].copy_from_slice(b"ustar  \0");
    header[345..].fill(0);
    for (place, value) in [(386, 3), (398, 2), (410, 10), (422, 2), (483, 14)] {
        header[place..place + 12].copy_from_slice(format!("{value:011o}\0").as_bytes());
    }
    set_checksum(&mut header);
    layer.raw(&header, b"abcd");
    let expected =
        ["old", "v0.0", "v0.1", "v1.0"].map(|name| (name.to_owned(), expanded.to_owned()));
    assert_eq!(contents(&layer.file("z", "").finished()).unwrap()[..4], expected);
}

fn set_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn accepts_the_ends_that_go_accepts() {
    let bare = Layer::new().file("a", "x").bytes;
    let one_block = [bare.as_slice(), &[0; 512]].concat();
    let unpadded = bare[..513].to_vec();
    let trailing = [Layer::new().file("a", "x").finished(), b"anything".to_vec()].concat();
    for archive in [&bare, &one_block, &unpadded, &trailing] {
        assert_eq!(contents(archive).unwrap().len(), 1);
    }
    assert!(contents(b"").unwrap().is_empty());
    assert!(contents(&[0; 10240]).unwrap().is_empty());
}

#[test]
fn hashes_everything_that_was_packed() {
    let archive = [Layer::new().file("a", "x").finished(), b"trailing".to_vec()].concat();
    let root = tempfile::tempdir().unwrap();
    let extracted = extract_gzipped(&archive, root.path(), Whiteouts::Overlay).unwrap();
    assert_eq!(extracted.diff_id.0, Digest::of(&archive));
    assert_eq!(extracted.uncompressed_bytes, archive.len() as u64);
}

#[test]
fn names_what_is_wrong_with_an_archive() {
    let good = Layer::new().file("a", "content");
    let mut broken_checksum = good.clone().file("b", "");
    let last = broken_checksum.bytes.len() - 512;
    broken_checksum.bytes[last] ^= 1;
    let huge = |kind| {
        let mut layer = Layer::new();
        layer.raw(&header_block("x", &with(kind), 2 << 20), b"");
        layer.finished()
    };
    let sparse = |map: &[u8]| {
        let pax = vec![("GNU.sparse.major", b"1".to_vec()), ("GNU.sparse.minor", b"0".to_vec())];
        let mut content = map.to_vec();
        content.resize(content.len().next_multiple_of(512), b'\n');
        Layer::new().entry("s", Fields { pax, ..with(b'0') }, &content).finished()
    };
    let pax = |content: &[u8]| Layer::new().entry("x", with(b'x'), content).finished();
    let sized = |size: &[u8]| {
        let pax = vec![("size", size.to_vec())];
        Layer::new().entry("a", Fields { pax, ..with(b'0') }, b"").finished()
    };
    let too_long =
        |what| Problem::TooLong { what, limit_bytes: if what == "path" { 4096 } else { 1 << 20 } };
    let long_path = vec![("path", vec![b'a'; 5000])];
    for (archive, expected) in [
        (b"<html>".repeat(100), Problem::NotAnArchive),
        (b"short".to_vec(), Problem::NotAnArchive),
        (broken_checksum.finished(), Problem::Header),
        ([&[0; 512], good.bytes.as_slice()].concat(), Problem::Header),
        (good.bytes[..515].to_vec(), Problem::Truncated),
        (huge(b'x'), too_long("extension header")),
        (huge(b'L'), too_long("extension header")),
        (Layer::new().entry("a", with(b'7'), b"").finished(), Problem::UnknownType(b'7')),
        (pax(b"no record"), Problem::PaxRecord),
        (sized(b"x"), Problem::PaxRecord),
        (sized(b"-1"), Problem::Header),
        (sized(b"9223372036854775807"), Problem::Truncated),
        (sparse(b"1\n0\n5\n"), Problem::SparseMap),
        (sparse(b"x\n"), Problem::SparseMap),
        (sparse(&b"9".repeat(600)), Problem::SparseMap),
        (sparse(&[&b"1000000\n"[..], &b"0\n".repeat(1 << 20)].concat()), too_long("sparse map")),
        (
            Layer::new().entry("a", Fields { pax: long_path, ..with(b'0') }, b"").finished(),
            too_long("path"),
        ),
    ] {
        assert_eq!(problem(&archive), expected);
    }
}

#[test]
fn refuses_whiteouts_of_nothing_and_devices_out_of_range() {
    for path in [".wh.", "a/.wh..", ".wh..."] {
        let layer = Layer::new().file(path, "");
        let result = contents(&layer.finished());
        assert!(matches!(result, Err(ExtractError::Unusable { .. })), "{path}");
    }
    let mut header = header_block("device", &with(b'3'), 0);
    header[329..337].copy_from_slice(b"\x80\0\0\x01\0\0\0\0");
    set_checksum(&mut header);
    assert_eq!(problem(&header), Problem::Header);
}
