//! Text from elsewhere, made safe to be shown. Registries, archives, configurations and names in
//! stores hold what anybody likes; none of it may steer a terminal or reorder what stands beside it.
//!
//! The one place that decides which characters those are.

use std::borrow::Cow;

/// Longest line shown, in characters; a registry may have written it.
pub(super) const MAX_LINE: usize = 1000;

/// Whether `c` moves the cursor, switches the terminal's mode, reorders or hides its neighbours: the
/// controls C0, C1 and DEL, the marks, overrides and isolates of the bidirectional algorithm
/// ([UAX #9](https://www.unicode.org/reports/tr9/)), and the separators of lines and paragraphs.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}')
}

/// `text` as one line of bounded length in which nothing steers the terminal.
pub fn printable(text: &str) -> String {
    let text = text.trim_end();
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut characters = text.chars().map(safe);
    let mut line: String = characters.by_ref().take(MAX_LINE).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// `text`, of any length, with its line breaks and tabs but without what steers the terminal.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| steers(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let safe = |c: char| if is_bad(c) { char::REPLACEMENT_CHARACTER } else { c };
    Cow::Owned(text.chars().map(safe).collect())
}

/// A JSON document with the characters that steer a terminal as `\u` escapes. They can stand in its
/// strings only, so it means the same.
pub fn json_escaped(document: &str) -> Cow<'_, str> {
    let is_bad = |c: char| steers(c) && !matches!(c, '\n' | '\t' | '\r');
    if !document.contains(is_bad) {
        return Cow::Borrowed(document);
    }
    let mut escaped = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if is_bad(c) {
            // All of them are in the basic plane: one escape of four digits.
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member of each kind: C0, DEL, C1 (CSI), a mark, an override, an isolate.
    const STEERING: [char; 8] =
        ['\u{1b}', '\u{7f}', '\u{9b}', '\u{200e}', '\u{061c}', '\u{202e}', '\u{2066}', '\u{8}'];

    #[test]
    fn nothing_that_is_shown_steers_the_terminal() {
        for c in STEERING {
            let text = format!("a{c}b");
            assert_eq!(printable(&text), "a\u{fffd}b", "{c:?}");
            assert_eq!(harmless(&text), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(printable("a\u{2028}b\r\nc\td\n"), "a b  c d");
        assert_eq!(harmless("a\n\tb\r"), "a\n\tb\u{fffd}");
    }

    #[test]
    fn other_scripts_and_marks_stay_as_they_are() {
        for text in ["größe", "صورة", "絵", "👩\u{200d}🚀", "e\u{301}"] {
            assert_eq!(printable(text), text);
            assert_eq!(harmless(text), text);
            assert_eq!(json_escaped(text), text);
        }
    }

    #[test]
    fn a_line_is_bounded() {
        assert_eq!(printable(&"x".repeat(1 << 20)).chars().count(), MAX_LINE + 1);
        assert_eq!(printable(&"ü".repeat(MAX_LINE)).chars().count(), MAX_LINE);
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        for c in STEERING {
            let value = serde_json::Value::String(format!("a{c}b"));
            let text = value.to_string();
            let escaped = json_escaped(&text);
            assert!(!escaped.contains(steers), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
        assert_eq!(json_escaped("{\n  \"a\": 1\n}"), "{\n  \"a\": 1\n}");
    }
}
