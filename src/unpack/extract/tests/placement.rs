//! Which file an entry becomes, where something is there already, and what it looks like.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::layer::{Fields, Layer, extract_gzipped, is_root, listing};
use crate::unpack::extract::{ExtractError, Roots, Whiteouts, inherit};

fn extracted(layer: &Layer) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    layer.extract_to(root.path()).unwrap();
    root
}

fn read(root: &Path, path: &str) -> String {
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn sets_modes_and_times_to_the_nanosecond() {
    let pax = vec![("mtime", b"1234567890.987654321".to_vec()), ("atime", b"99".to_vec())];
    let layer = Layer::new()
        .entry("d/", Fields { kind: b'5', mode: 0o1777, modified: 7, ..Fields::default() }, b"")
        .entry("d/f", Fields { mode: 0o6755, pax, ..Fields::default() }, b"content")
        .file("d/g", "");
    let root = extracted(&layer);
    // containerd never lets a file be read before it was written.
    let metadata = std::fs::metadata(root.path().join("d/f")).unwrap();
    assert_eq!(metadata.atime(), 1_234_567_890);
    let nodes = listing(root.path());
    assert_eq!((nodes["d"].mode, nodes["d"].modified), (0o41777, (7, 0)));
    assert_eq!(nodes["d/f"].mode, 0o106_755);
    assert_eq!(nodes["d/f"].modified, (1_234_567_890, 987_654_321));
}

#[test]
fn replaces_times_out_of_bounds_by_1970() {
    let time = |value: &str| Fields {
        pax: vec![("mtime", value.as_bytes().to_vec())],
        ..Fields::default()
    };
    let layer = Layer::new()
        .entry("negative", time("-1.5"), b"")
        .entry("late", time("9223372037"), b"")
        .entry("last", time("9223372036.854775807"), b"");
    let nodes = listing(extracted(&layer).path());
    assert_eq!(nodes["negative"].modified, (0, 0));
    assert_eq!(nodes["late"].modified, (0, 0));
    // The file system may keep fewer bits; it must not be 1970.
    assert!(nodes["last"].modified.0 > 0);
}

#[test]
fn lets_the_later_entry_win_whatever_its_type() {
    let layer = Layer::new()
        .file("a", "first")
        .file("a", "second, longer")
        .file("b", "file")
        .directory("b/")
        .file("b/c", "in b")
        .directory("d/e/f/")
        .file("d/e/f/g", "deep")
        .file("d", "file")
        .symlink("l", "a")
        .file("l", "no link any more")
        .directory("m/")
        .file("m/kept", "kept")
        .entry("m", Fields { kind: b'5', mode: 0o700, ..Fields::default() }, b"");
    let root = extracted(&layer);
    assert_eq!(read(root.path(), "a"), "second, longer");
    assert_eq!(read(root.path(), "b/c"), "in b");
    assert_eq!(read(root.path(), "d"), "file");
    assert_eq!(read(root.path(), "l"), "no link any more");
    assert_eq!(read(root.path(), "m/kept"), "kept");
    assert_eq!(listing(root.path())["m"].mode, 0o40700);
}

#[test]
fn follows_links_on_the_way_but_not_at_the_end() {
    let layer = Layer::new()
        .directory("usr/lib/")
        .symlink("lib", "usr/lib")
        .file("lib/libc.so", "c")
        .symlink("absolute", "/usr/lib")
        .file("absolute/libm.so", "m")
        .symlink("dangling", "not/yet")
        .file("dangling/there", "made")
        .symlink("up", "../../../usr")
        .file("up/lib/libup.so", "up")
        .symlink("link", "usr")
        .directory("link/")
        .file("link/own", "own");
    let root = extracted(&layer);
    assert_eq!(read(root.path(), "usr/lib/libc.so"), "c");
    assert_eq!(read(root.path(), "usr/lib/libm.so"), "m");
    assert_eq!(read(root.path(), "usr/lib/libup.so"), "up");
    assert_eq!(read(root.path(), "not/yet/there"), "made");
    assert!(root.path().join("link").symlink_metadata().unwrap().is_dir());
    assert!(!root.path().join("usr/own").exists());
}

#[test]
fn follows_parent_components_from_where_a_link_has_led() {
    let layer = Layer::new()
        .directory("d/e/")
        .symlink("s", "d/e")
        .symlink("above", "s/../f")
        .file("above/x", "")
        .symlink("beyond", "missing/../../../g")
        .file("beyond/x", "")
        .file("h", "")
        .hard_link("d/e/h", "s/../../h");
    let nodes = listing(extracted(&layer).path());
    assert!(nodes.contains_key("d/f/x") && nodes.contains_key("g/x"));
    assert!(!nodes.contains_key("f") && !nodes.contains_key("missing"));
    assert_eq!(nodes["h"].links, 2);
}

#[test]
fn makes_hard_links_across_directories_and_to_links() {
    let layer = Layer::new()
        .directory("a/")
        .directory("b/")
        .file("a/file", "shared")
        .hard_link("b/name", "a/file")
        .hard_link("/c", "./b/../a/file")
        .symlink("a/link", "nowhere")
        .hard_link("b/link", "/a/link");
    let nodes = listing(extracted(&layer).path());
    assert_eq!((nodes["a/file"].links, &nodes["b/name"].content[..]), (3, &b"shared"[..]));
    assert_eq!(nodes["a/link"].links, 2);
    assert_eq!(nodes["b/link"].content, b"nowhere");
}

#[test]
fn refuses_a_hard_link_without_target() {
    let root = tempfile::tempdir().unwrap();
    for target in ["missing", "missing/file", "", "..", "a/"] {
        let layer = Layer::new().directory("a/").hard_link("link", target);
        assert!(layer.extract_to(root.path()).is_err(), "{target}");
    }
}

#[test]
fn implies_directories_that_are_not_listed() {
    let root = tempfile::tempdir().unwrap();
    let layer = Layer::new().file("a/b/c", "").file("a/d", "").directory("a/b/");
    let extracted = layer.extract_to(root.path()).unwrap();
    assert_eq!(listing(root.path())["a"].mode, 0o40755);
    assert_eq!(extracted.implied.len(), 2);
    assert_eq!(extracted.entries, 3);
}

#[test]
fn lets_implied_directories_take_after_the_layers_below() {
    if !is_root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let upper = tempfile::tempdir().unwrap();
    let pax = vec![("SCHILY.xattr.user.note", b"kept".to_vec())];
    let private = Fields { kind: b'5', mode: 0o2750, owner: (12, 34), pax, ..Fields::default() };
    Layer::new()
        .entry("a/", private.clone(), b"")
        .entry("b/", private, b"")
        .extract_to(base.path())
        .unwrap();
    let extracted = Layer::new()
        .file("a/x", "")
        .file("b/x", "")
        .directory("b/")
        .file("new/x", "")
        .file("a/new/x", "")
        .extract_to(upper.path())
        .unwrap();

    let open = |path: &Path| std::fs::File::open(path).unwrap().into();
    inherit(&extracted.implied, open(upper.path()), &[base.path().to_owned()], &Roots::default())
        .unwrap();
    let nodes = listing(upper.path());
    assert_eq!((nodes["a"].mode, nodes["a"].owner), (0o42750, (12, 34)));
    assert_eq!((nodes["b"].mode, nodes["b"].owner), (0o40755, (0, 0)));
    assert_eq!((nodes["new"].mode, nodes["new"].owner), (0o40755, (0, 0)));
    assert_eq!((nodes["a/new"].mode, nodes["a/new"].owner), (0o40755, (0, 34)));
    for directory in ["a", "b"] {
        assert_eq!(attribute(&upper.path().join(directory), "user.note").unwrap(), b"kept");
    }
}

#[test]
fn gives_files_away_and_makes_devices() {
    if !is_root() {
        return;
    }
    let owner = (1000, 50);
    let device = |kind, device| Fields { kind, device, owner, mode: 0o620, ..Fields::default() };
    let layer = Layer::new()
        .entry("suid", Fields { mode: 0o4711, owner, ..Fields::default() }, b"#!")
        .entry("link", Fields { kind: b'2', link: "suid", owner, ..Fields::default() }, b"")
        .entry("character", device(b'3', (1, 3)), b"")
        .entry("block", device(b'4', (259, 300_000)), b"")
        .entry("pipe", device(b'6', (0, 0)), b"")
        .entry("d/", Fields { kind: b'5', mode: 0o3775, owner, ..Fields::default() }, b"")
        .file("d/root", "owned by root, though the directory is setgid");
    let nodes = listing(extracted(&layer).path());
    for name in ["suid", "link", "character", "block", "pipe", "d"] {
        assert_eq!(nodes[name].owner, (1000, 50), "{name}");
    }
    assert_eq!(nodes["suid"].mode, 0o104_711);
    assert_eq!((nodes["character"].mode, nodes["character"].device), (0o20620, 0x103));
    assert_eq!(nodes["block"].device, rustix::fs::makedev(259, 300_000));
    assert_eq!(nodes["pipe"].mode, 0o10620);
    assert_eq!(nodes["d"].mode, 0o43775);
    assert_eq!((nodes["d/root"].mode, nodes["d/root"].owner), (0o100_644, (0, 0)));
}

#[test]
fn sets_attributes_but_not_the_administrators() {
    if !is_root() {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pax = || {
        vec![
            ("SCHILY.xattr.security.capability", capability.to_vec()),
            ("SCHILY.xattr.user.empty", Vec::new()),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y".to_vec()),
        ]
    };
    let fields = |kind| Fields { kind, owner: (1, 1), pax: pax(), ..Fields::default() };
    let user = vec![("SCHILY.xattr.user.x", b"y".to_vec())];
    let layer = Layer::new().entry("file", fields(b'0'), b"").entry("d", fields(b'5'), b"").entry(
        "link",
        Fields { kind: b'2', link: "file", pax: user, ..Fields::default() },
        b"",
    );
    let root = extracted(&layer);
    for name in ["file", "d"] {
        let path = root.path().join(name);
        assert_eq!(attribute(&path, "security.capability").as_deref(), Some(&capability[..]));
        assert_eq!(attribute(&path, "user.empty").as_deref(), Some(&b""[..]));
        assert_eq!(attribute(&path, "trusted.overlay.opaque"), None);
    }
}

#[test]
fn turns_whiteouts_into_what_overlayfs_wants() {
    if !is_root() {
        return;
    }
    let layer = Layer::new()
        .entry("a/.wh.gone", Fields { owner: (5, 6), ..Fields::default() }, b"")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/kept", "")
        .file(".wh.replaced", "")
        .file("replaced", "by this")
        .file(".wh..wh.plnk", "");
    let root = extracted(&layer);
    let nodes = listing(root.path());
    let gone = &nodes["a/gone"];
    assert_eq!((gone.mode, gone.device, gone.owner), (0o20000, 0, (5, 6)));
    assert_eq!(nodes[".wh.plnk"].mode, 0o20000);
    assert_eq!(nodes["replaced"].content, b"by this");
    let opaque = root.path().join("opaque");
    assert_eq!(attribute(&opaque, "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert!(!nodes.keys().any(|name| name.ends_with(".opq")));

    let clash = Layer::new().file("x", "").file(".wh.x", "");
    assert!(matches!(clash.extract_to(root.path()), Err(ExtractError::Unusable { .. })));
}

#[test]
fn removes_what_whiteouts_of_a_base_layer_name() {
    let root = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .file("a", "")
        .file(".wh.a", "")
        .file(".wh.never", "")
        .directory("d/")
        .directory("d/described/")
        .file("d/described/x", "")
        .file("d/implied/x", "")
        .file("d/.wh..wh..opq", "")
        .file("d/implied/later", "");
    extract_gzipped(&layer.finished(), root.path(), Whiteouts::Remove).unwrap();
    let names: Vec<_> = listing(root.path()).into_keys().collect();
    let expected = ["", "d", "d/described", "d/described/x", "d/implied", "d/implied/later"];
    assert_eq!(names, expected);
}

#[test]
fn leaves_the_root_itself_alone() {
    let root = tempfile::tempdir().unwrap();
    let before = listing(root.path());
    let mode = Fields { kind: b'5', mode: 0o123, modified: 5, ..Fields::default() };
    let layer = ["./", "/", "..", "", "a/.."]
        .into_iter()
        .fold(Layer::new(), |layer, path| layer.entry(path, mode.clone(), b""));
    layer.extract_to(root.path()).unwrap();
    assert_eq!(listing(root.path()), before);
}
