//! What the fuzz target starts from, replayed: layers over layers that try to get out of their root,
//! whole and damaged.

#[path = "../../fuzz/any_layer.rs"]
mod any_layer;

use std::io::Write as _;

use any_layer::{OUTSIDE, stays_inside};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::tree::{Tree, curious, curious_above};

/// How often each seed is damaged anew.
const DAMAGES: u64 = 12;

/// Whether the layers may be compressed, and that whiteouts are removed rather than kept.
const COMPRESSED: u8 = 1;
const REMOVED: u8 = 2;

/// Two layers as one input of the fuzz target.
fn input(choice: u8, lower: Vec<u8>, upper: Vec<u8>) -> Vec<u8> {
    let mut input = vec![choice, u8::try_from(lower.len().div_ceil(512)).unwrap()];
    input.extend(lower);
    input.resize(2 + (input.len() - 2).next_multiple_of(512), 0);
    input.extend(upper);
    input
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// A layer whose links lead out by every way, to the file outside and to where it lies.
fn leading_out() -> Tree {
    let up = "../".repeat(30);
    Tree::new()
        .symlink("beside", &format!("../{OUTSIDE}"))
        .symlink("parent", "..")
        .symlink("top", "/")
        .symlink("far", &up)
        .directory("a/b")
        .symlink("a/b/up", "../../..")
        .symlink("a/chain", "b/up")
        .symlink("magic", "/proc/self/cwd")
        .symlink("itself", "itself")
        .mode(0o6777)
        .owner(1, 2)
        .xattr("user.note", b"not to be spread")
        .directory("d")
        .fifo("pipe")
}

/// A layer that goes by the links of [`leading_out`], which are its own or those below.
fn going_by_them() -> Tree {
    Tree::new()
        .file(&format!("parent/{OUTSIDE}"), b"changed")
        .file(&format!("far/{OUTSIDE}"), b"changed")
        .file(&format!("a/chain/{OUTSIDE}"), b"changed")
        .file(&format!("../{OUTSIDE}"), b"changed")
        .file("d/implied/file", b"")
        .file("pipe/implied/file", b"")
        .file("itself/implied/file", b"")
        .file("magic/implied/file", b"")
        .file("top/implied/file", b"")
        .whiteout("parent/upper")
        .opaque("a/b/up")
        .opaque(".")
        .mode(0o700)
        .directory("parent")
        .directory("d")
        .symlink("d", "../upper")
}

/// Hard links to where links lead.
fn linking_hard() -> Tree {
    Tree::new()
        .symlink("beside", &format!("../{OUTSIDE}"))
        .hard_link("again", "beside")
        .file("again", b"changed")
}

fn seeds() -> Vec<Vec<u8>> {
    let pairs: [fn() -> (Tree, Tree); 4] = [
        || (curious(), curious_above()),
        || (leading_out(), going_by_them()),
        || (leading_out(), linking_hard()),
        // Directories below, links above, and the other way round.
        || (going_by_them(), leading_out()),
    ];
    let mut seeds = Vec::new();
    for pair in pairs {
        for choice in [0, REMOVED] {
            let (lower, upper) = pair();
            let (lower, upper) = (lower.into_tar(), upper.into_tar());
            seeds.push(input(choice | COMPRESSED, gzip(&lower), gzip(&upper)));
            seeds.push(input(choice, lower, upper));
        }
    }
    seeds
}

#[test]
fn layers_that_lead_out_of_their_root_change_nothing_outside() {
    for (number, seed) in seeds().iter().enumerate() {
        assert!(stays_inside(seed), "seed {number} is not extracted to its end");
    }
}

#[test]
fn damaged_layers_change_nothing_outside() {
    for (number, seed) in seeds().iter().enumerate() {
        for damage in 0..DAMAGES {
            let mut random = fastrand::Rng::with_seed(number as u64 * DAMAGES + damage);
            let mut input = seed.clone();
            for _ in 0..random.usize(1..=8) {
                let place = random.usize(..input.len());
                input[place] = random.u8(..);
            }
            input.truncate(random.usize(..=input.len()).max(input.len() / 2));
            stays_inside(&input);
        }
    }
}
