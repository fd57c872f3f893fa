//! Micro-benchmarks of what a layer's bytes go through: reassembly of ranges, inflate, hash, untar.
//!
//! Throughput counts uncompressed bytes. `cargo bench --bench micro`.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't prepare its input has to stop")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use divan::Bencher;
use divan::counter::BytesCount;
use pullctl::config::{HostOptions, Keychain, defaults};
use pullctl::gzip::{self, Threads};
use pullctl::oci::{Compression, Descriptor, Digest, Hasher, MediaType};
use pullctl::progress::{Event, Sink};
use pullctl::reference::Reference;
use pullctl::registry::{Policy, Registry, Repository};
use pullctl::unpack::Allowance;
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

/// Our own decoder, which takes more than one thread.
#[divan::bench(args = [1, 2, 4], sample_count = 10)]
fn inflate_gzip_by_threads(bencher: Bencher<'_, '_>, threads: usize) {
    let packed = gzip(&layer(20_000));
    let mut buffer = vec![0; 256 << 10];
    bencher.counter(BytesCount::new(LAYER_BYTES)).bench_local(|| {
        let mut decoder = gzip::Decoder::new(&packed[..], &Threads::new(threads));
        while decoder.read(&mut buffer).unwrap() > 0 {}
    });
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

/// Answers every request on every connection with the range of `content` that it asks for.
fn serve(content: Arc<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let content = Arc::clone(&content);
            thread::spawn(move || answer(&connection, &content));
        }
    });
    address
}

/// Ends with the connection.
fn answer(mut connection: &TcpStream, content: &[u8]) -> Option<()> {
    let mut requests = BufReader::new(connection);
    loop {
        let mut range = 0..content.len();
        loop {
            let mut line = String::new();
            requests.read_line(&mut line).ok().filter(|&length| length > 0)?;
            if let Some(asked) = line.to_lowercase().strip_prefix("range: bytes=") {
                let (first, last) = asked.trim().split_once('-')?;
                range = first.parse().ok()?..last.parse::<usize>().ok()? + 1;
            }
            if line == "\r\n" {
                break;
            }
        }
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
            range.len(),
            range.start,
            range.end - 1,
            content.len()
        );
        connection.write_all(head.as_bytes()).ok()?;
        connection.write_all(content.get(range)?).ok()?;
    }
}

struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: Event) {}
}

/// A repository at `server`, whose blobs come in ranges of `chunk_bytes`.
fn repository(server: SocketAddr, chunk_bytes: u64) -> Repository {
    let policy = Policy { chunk_bytes, long_chunk_bytes: chunk_bytes, ..Policy::default() };
    let registry = Registry::new(policy, Arc::new(Keychain::default()), Arc::new(Nobody)).unwrap();
    let reference: Reference = format!("{server}/a:v1").parse().unwrap();
    let options = HostOptions { plain_http: true, ..HostOptions::default() };
    registry.repository(defaults(&reference, &options), &reference)
}

#[divan::bench(args = [1 << 20, 2 << 20, 8 << 20, LAYER_BYTES], sample_count = 10)]
fn reassemble_ranges_of(bencher: Bencher<'_, '_>, chunk_bytes: usize) {
    let content = Arc::new(layer(20_000));
    let media_type = MediaType::new("application/vnd.oci.image.layer.v1.tar");
    let descriptor = Descriptor::new(media_type, Digest::of(&content), content.len() as u64);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let repository = repository(serve(Arc::clone(&content)), chunk_bytes as u64);
    bencher.counter(BytesCount::new(content.len())).bench_local(|| {
        runtime.block_on(async {
            let mut stream = repository.blob(&descriptor, 0).await.unwrap();
            let mut bytes = 0;
            while let Some(piece) = stream.next().await {
                bytes += piece.unwrap().len();
            }
            assert_eq!(bytes, content.len());
        });
    });
}

/// A directory in memory where there is such a file system: a disk's takes its own time, above all
/// while it still cleans up what the run before has deleted.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

fn untar(bencher: Bencher<'_, '_>, packed: &[u8], compression: Compression) {
    bencher
        .counter(BytesCount::new(LAYER_BYTES))
        .with_inputs(|| (tempfile::tempdir_in(memory()).unwrap(), Cursor::new(packed.to_vec())))
        .bench_local_values(|(directory, source)| {
            let root = File::open(directory.path()).unwrap().into();
            let options = ExtractOptions {
                compression,
                whiteouts: Whiteouts::Overlay,
                allowance: Allowance::new(None),
                threads: Threads::new(1),
                is_sparing: false,
            };
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
