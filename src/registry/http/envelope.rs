//! Why a registry refuses, in its own words.

use serde_json::Value;

/// Longest registry error body read, in bytes (64 KiB); the rest is dropped so that a hostile
/// mirror cannot exhaust memory.
pub(crate) const MAX_ERROR_BODY: usize = 64 * 1024;

/// Longest part of a registry's words that is shown, in characters.
const MAX_REASON: usize = 300;

/// How much of a body is looked at to tell whether it is a web page, in bytes.
const PAGE_HEAD: usize = 1024;

/// Where servers that have no list of errors put their words: token endpoints (OAuth2's first), Docker
/// Hub, gateways.
const ELSEWHERE: [&str; 6] = ["error_description", "message", "details", "detail", "error", "msg"];

/// The messages of an error body on one line, without control characters: of the distribution
/// specification's JSON, of what other servers send in its place (JSON, S3's XML), or a line of plain
/// text. A web page has no words, but see [`page_title`].
pub(crate) fn reason(body: &[u8]) -> Option<String> {
    let words = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(members)) => match members.get("errors").and_then(Value::as_array) {
            Some(errors) => errors.iter().filter_map(message).collect::<Vec<_>>().join("; "),
            None => ELSEWHERE
                .iter()
                .find_map(|name| members.get(*name).and_then(Value::as_str))?
                .to_owned(),
        },
        Ok(Value::String(words)) => words,
        Ok(_) => return None,
        Err(_) if is_markup(body) => element(body, "message")?,
        Err(_) => plain(body)?,
    };
    shown(&words)
}

/// The codes of the specification's list of errors.
pub(crate) fn codes(body: &[u8]) -> Vec<String> {
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let errors = members.get("errors").and_then(Value::as_array).into_iter().flatten();
    errors.filter_map(|error| error.get("code")?.as_str().map(str::to_owned)).collect()
}

/// The words of one entry of the specification's list. Only the message is meant for people, but a
/// bare code is better than nothing.
fn message(error: &Value) -> Option<String> {
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let code = || text("code").map(str::to_lowercase);
    text("message").map(str::to_owned).or_else(code)
}

/// The first line of a text that is no markup.
fn plain(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let broken_json = text.starts_with(['{', '[']);
    if broken_json { None } else { text.lines().next().map(str::to_owned) }
}

fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Whether `body` is a web page, whatever its type says.
pub(crate) fn is_page(body: &[u8]) -> bool {
    let head = body.trim_ascii_start();
    let head = String::from_utf8_lossy(head.get(..PAGE_HEAD).unwrap_or(head)).to_ascii_lowercase();
    is_markup(body) && (head.contains("<html") || head.contains("<!doctype html"))
}

/// What a web page calls itself.
pub(crate) fn page_title(body: &[u8]) -> Option<String> {
    shown(&element(body, "title")?)
}

/// The text of the first element `name`, in lower case, that holds nothing but text.
fn element(body: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    // ASCII only, so that places in one are places in the other.
    let lower = text.to_ascii_lowercase();
    let opened = lower.find(&format!("<{name}"))?;
    let begin = opened + lower.get(opened..)?.find('>')? + 1;
    let end = begin + lower.get(begin..)?.find('<')?;
    text.get(begin..end).map(str::to_owned)
}

/// `words` on one line, bounded, without what would steer a terminal: control characters and those
/// that reverse the direction of writing.
fn shown(words: &str) -> Option<String> {
    let is_blank = |c: char| c.is_control() || c.is_whitespace() || steers(c);
    let words = words.split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(MAX_REASON).collect();
    Some(words).filter(|words| !words.is_empty())
}

/// Unicode's bidirectional marks, embeddings and isolates.
fn steers(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_words_of_an_error_body() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"DENIED","message":"no access"}]}"#, Some("no access")),
            (r#"{"errors":[{"code":"NAME_UNKNOWN","message":""}]}"#, Some("name_unknown")),
            (r#"{"errors":[{"code":7,"message":"odd"},"x",null]}"#, Some("odd")),
            (
                r#"{"errors":[{"code":"A","message":"x\ny"},{"code":"B","message":"z"}]}"#,
                Some("x y; z"),
            ),
            (r#"{"errors":[]}"#, None),
            (
                r#"{"details":"incorrect username or password"}"#,
                Some("incorrect username or password"),
            ),
            (
                r#"{"error":"invalid_grant","error_description":"bad password"}"#,
                Some("bad password"),
            ),
            (r#"{"error":"invalid_grant"}"#, Some("invalid_grant")),
            (r#"{"message":"Forbidden"}"#, Some("Forbidden")),
            (r#"{"message":{"a":1}}"#, None),
            ("\"go away\"", Some("go away")),
            ("404 page not found\nmore\n", Some("404 page not found")),
            ("{\"errors\":[{", None),
            (" <html><title>x</title>", None),
            (
                "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                Some("Request has expired"),
            ),
            ("a\u{1b}[31mb\u{9b}c\u{202e}d\u{2028}e", Some("a [31mb c d e")),
            ("", None),
        ] {
            assert_eq!(reason(body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert_eq!(reason(b"\xff\xfe\x00"), None);
        assert_eq!(reason("ü".repeat(1000).as_bytes()).unwrap().chars().count(), MAX_REASON);
    }

    #[test]
    fn a_page_is_told_from_other_markup() {
        assert!(is_page(b" <!DOCTYPE HTML PUBLIC>") && is_page(b"<?xml?><html xmlns='x'>"));
        assert!(!is_page(b"<?xml?><Error>") && !is_page(b"not <html>") && !is_page(b""));
    }

    #[test]
    fn finds_what_a_page_calls_itself() {
        for (body, expected) in [
            ("<html><head><TITLE lang=en>Access\n Denied</title>", Some("Access Denied")),
            ("<title>İ</title>", Some("İ")),
            ("<title></title>", None),
            ("<title>open", None),
            ("<titl", None),
            ("<title", None),
        ] {
            assert_eq!(page_title(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
