//! Micro-benchmarks of what a layer's bytes go through: inflate, hash, untar.
//!
//! Throughput counts uncompressed bytes. `cargo bench --bench micro`.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't prepare its input has to stop")]

use std::fs::File;
use std::io::{Cursor, Read, Write};

use divan::Bencher;
use divan::counter::BytesCount;
use pullctl::oci::{Compression, Hasher};
use pullctl::unpack::extract::{ExtractOptions, Whiteouts, extract};
use pullctl::unpack::inflate::Decoder;

fn main() {
    divan::main();
}

/// A layer's uncompressed length, in bytes (64 MiB).
const LAYER_BYTES: usize = 64 << 20;

/// A tar of files of `file_bytes` each, with text that compresses about as programs do.
fn layer(file_bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let words: Vec<Vec<u8>> =
        (0..4096).map(|_| (0..random.usize(2..12)).map(|_| random.u8(..)).collect()).collect();
    let mut builder = tar::Builder::new(Vec::with_capacity(LAYER_BYTES));
    let mut number = 0;
    while builder.get_ref().len() < LAYER_BYTES {
        let mut content = Vec::with_capacity(file_bytes + 12);
        while content.len() < file_bytes {
            content.extend_from_slice(&words[random.usize(..words.len())]);
        }
        content.truncate(file_bytes);
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        let path = format!("directory-{}/file-{number}", number / 100);
        builder.append_data(&mut header, path, &content[..]).unwrap();
        number += 1;
    }
    builder.into_inner().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn inflate(bencher: Bencher<'_, '_>, packed: Vec<u8>, buffer_bytes: usize) {
    let mut buffer = vec![0; buffer_bytes];
    bencher
        .counter(BytesCount::new(LAYER_BYTES))
        .with_inputs(|| Cursor::new(packed.clone()))
        .bench_local_values(|source| {
            let mut decoder = Decoder::new(source, Compression::Gzip).unwrap();
            while decoder.read(&mut buffer).unwrap() > 0 {}
        });
}

#[divan::bench(args = [64 << 10, 256 << 10, 1 << 20], sample_count = 10)]
fn inflate_gzip(bencher: Bencher<'_, '_>, buffer_bytes: usize) {
    inflate(bencher, gzip(&layer(20_000)), buffer_bytes);
}

#[divan::bench(args = [256 << 10], sample_count = 10)]
fn inflate_zstd(bencher: Bencher<'_, '_>, buffer_bytes: usize) {
    inflate(bencher, zstd::encode_all(&layer(20_000)[..], 3).unwrap(), buffer_bytes);
}

#[divan::bench(sample_count = 10)]
fn hash_sha256(bencher: Bencher<'_, '_>) {
    let content = layer(20_000);
    bencher.counter(BytesCount::new(content.len())).bench_local(|| {
        let mut hasher = Hasher::new();
        content.chunks(256 << 10).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    });
}

fn untar(bencher: Bencher<'_, '_>, packed: &[u8], compression: Compression) {
    bencher
        .counter(BytesCount::new(LAYER_BYTES))
        .with_inputs(|| (tempfile::tempdir().unwrap(), Cursor::new(packed.to_vec())))
        .bench_local_values(|(directory, source)| {
            let root = File::open(directory.path()).unwrap().into();
            let options = ExtractOptions { compression, whiteouts: Whiteouts::Overlay };
            extract(source, root, options).unwrap();
            // Dropped outside the measurement: it removes the files.
            directory
        });
}

#[divan::bench(args = [2_000, 20_000, 2_000_000], sample_count = 5)]
fn extract_plain_files_of(bencher: Bencher<'_, '_>, file_bytes: usize) {
    untar(bencher, &layer(file_bytes), Compression::None);
}

#[divan::bench(args = [2_000, 20_000, 2_000_000], sample_count = 5)]
fn extract_gzip_files_of(bencher: Bencher<'_, '_>, file_bytes: usize) {
    untar(bencher, &gzip(&layer(file_bytes)), Compression::Gzip);
}
