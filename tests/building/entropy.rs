//! `.cargo/config.toml` keeps a start short: TLS has its random numbers from the kernel alone.

use std::fs;

#[test]
fn no_process_measures_the_jitter_of_its_processor() {
    let program = fs::read(env!("CARGO_BIN_EXE_pullctl")).unwrap();
    let has = |name: &str| program.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    // The names of functions that are linked in: those of the random generator are there to be found.
    assert!(has("RAND_bytes"));
    assert!(!has("jent_"), "AWS_LC_SYS_NO_JITTER_ENTROPY was not set when aws-lc-sys was built");
}
