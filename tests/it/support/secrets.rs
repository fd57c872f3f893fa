//! What no output may show. Every password and token of the test bed holds one word, so that one
//! search finds them all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Part of every secret.
pub(crate) const WORD: &str = "hunter2";

/// The word as it is, and as base64 shows it at each of its three offsets.
pub(crate) fn needles() -> [String; 4] {
    let in_base64 = |before: usize| {
        let encoded = BASE64.encode([&vec![0; before][..], WORD.as_bytes()].concat());
        // Characters that hold bits of the neighbours too.
        let (first, last) = [(0, 9), (2, 10), (3, 12)][before];
        encoded[first..last].to_owned()
    };
    [WORD.to_owned(), in_base64(0), in_base64(1), in_base64(2)]
}

/// The first secret that `text` shows.
pub(crate) fn shown_in(text: &str) -> Option<String> {
    needles().into_iter().find(|needle| text.contains(needle.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cli::Pullctl;

    #[test]
    fn the_word_is_found_in_whatever_it_is_encoded_with() {
        for before in ["", "a", "ann:", "robot$ann:", "robot$team+puller:"] {
            for after in ["", "x", ":more", "-wrong"] {
                let login = format!("{before}{WORD}{after}");
                assert!(shown_in(&format!("Basic {}", BASE64.encode(&login))).is_some(), "{login}");
            }
        }
        assert_eq!(shown_in("Basic bm90aGluZzpzZWNyZXQ="), None);
    }

    #[test]
    #[should_panic(expected = "is shown")]
    fn a_run_that_shows_one_fails_its_test() {
        let image = format!("registry.example/{WORD}");
        Pullctl::new().args(["explain", "--ignore-containerd-config", &image]).run();
    }
}
