#!/bin/sh
# aws-lc-rs 1.19.0 over aws-lc-sys 0.47.0 (rustls' usual provider): the first random byte of a process takes tens of milliseconds
# of processor time, 30 on one machine, in which the jitter of the processor's clock is measured (SHA-3 over timings, compiled
# without optimisation on purpose), though the kernel has random numbers at once. A client that makes one TLS connection and
# ends pays it each time. Every later byte takes less than a microsecond; another thread's first one a quarter of a millisecond.
# Built with AWS_LC_SYS_NO_JITTER_ENTROPY=1, the first takes some twenty microseconds.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

mkdir src
cat >Cargo.toml <<'END'
[package]
name = "first-byte"
version = "0.0.0"
edition = "2021"

[dependencies]
aws-lc-rs = { version = "=1.19.0", default-features = false, features = ["aws-lc-sys"] }
aws-lc-sys = "=0.47.0"

[workspace]
END
cat >src/main.rs <<'END'
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::time::Instant;

fn main() {
    for _ in 0..2 {
        let began = Instant::now();
        SystemRandom::new().fill(&mut [0]).expect("there is a random byte");
        print!("{} ", began.elapsed().as_micros());
    }
    println!();
}
END

# The quickest of ten processes: microseconds to the first byte, and to the second.
quickest() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do "$1/release/first-byte"; done | sort -n | head -n 1
}
cargo build --quiet --release --target-dir usual
AWS_LC_SYS_NO_JITTER_ENTROPY=1 cargo build --quiet --release --target-dir without
usual=$(quickest usual)
without=$(quickest without)
echo "microseconds to the first and to the second random byte of a process: $usual; built without jitter: $without"

first=${usual%% *}
second=$(echo "$usual" | cut -d ' ' -f 2)
[ "$first" -gt $((20 * ${without%% *} + 20 * second)) ] || {
    echo "changed: the first byte no longer takes far longer" >&2
    exit 1
}
