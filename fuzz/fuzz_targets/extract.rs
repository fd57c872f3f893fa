//! Any bytes as two layers over each other: nothing outside their roots changes, and nothing panics.
//!
//! `scripts/fuzz 60 extract`

#![no_main]

#[path = "../any_layer.rs"]
mod any_layer;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    any_layer::stays_inside(input);
});
