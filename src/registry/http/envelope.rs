//! Why a registry refuses, in its own words.

use oci_distribution::errors::OciEnvelope;

/// Longest registry error body read, in bytes (64 KiB); the rest is dropped so that a hostile
/// mirror cannot exhaust memory.
pub(crate) const MAX_ERROR_BODY: usize = 64 * 1024;

/// Longest part of a registry's words that is shown, in characters.
const MAX_REASON: usize = 300;

/// The messages of an error body, when it is one of the distribution specification's, on one line
/// and without control characters.
pub(crate) fn reason(body: &[u8]) -> Option<String> {
    let envelope: OciEnvelope = serde_json::from_slice(body).ok()?;
    let words = envelope
        .errors
        .iter()
        .map(|error| {
            if error.message.is_empty() {
                // Only the message is meant for people, but a bare code is better than nothing.
                serde_json::to_value(&error.code)
                    .ok()
                    .and_then(|code| code.as_str().map(str::to_lowercase))
                    .unwrap_or_default()
            } else {
                error.message.clone()
            }
        })
        .filter(|words| !words.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    let printable: String = words
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_REASON)
        .collect();
    Some(printable).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_messages_of_an_error_body() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"DENIED","message":"no access"}]}"#, Some("no access")),
            (r#"{"errors":[{"code":"NAME_UNKNOWN","message":""}]}"#, Some("name_unknown")),
            (
                r#"{"errors":[{"code":"A","message":"x\ny"},{"code":"B","message":"z"}]}"#,
                Some("x y; z"),
            ),
            (r#"{"errors":[]}"#, None),
            (r#"{"details":"incorrect username or password"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(reason(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
