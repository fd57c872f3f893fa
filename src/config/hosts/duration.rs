//! Durations as Go writes them: `3s`, `1m30s`, `1.5h`.
//!
//! Written by hand: the crates for this either take forms that containerd refuses or follow another
//! grammar.

use std::time::Duration;

/// What a Go duration looks like, for error messages.
pub(in crate::config) const EXPECTED: &str =
    "a duration with a unit such as \"3s\", \"500ms\" or \"1m30s\"";

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Parses a duration after <https://pkg.go.dev/time#ParseDuration>; a negative one is none.
pub(in crate::config) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, after_number) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after_unit) = split_where(after_number, |c| c.is_ascii_digit() || c == '.');
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = after_unit;
    }
    Duration::try_from_secs_f64(total).ok()
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read_and_anything_else_is_refused() {
        for (text, milliseconds) in [
            ("3s", Some(3_000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            (".5s", Some(500)),
            ("2000us", Some(2)),
            ("2000µs", Some(2)),
            ("3000000ns", Some(3)),
            ("+1s", Some(1_000)),
            ("0", Some(0)),
            ("3", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("-1s", None),
            ("3 s", None),
            ("3sec", None),
            ("3d", None),
            ("1e3s", None),
            ("9999999999999999999999h", None),
        ] {
            assert_eq!(parse(text), milliseconds.map(Duration::from_millis), "{text:?}");
        }
    }
}
