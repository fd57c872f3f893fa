//! Rust source as words and signs with their lines. Comments, lifetimes and what stands in literals
//! are left out, so that nothing in them is taken for code.

/// A word, `::`, a single sign, or [`LITERAL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// Stands for any string, character or number.
pub(crate) const LITERAL: &str = "\"\"";

impl Token<'_> {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_start)
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens of `code`, which must be Rust that compiles.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut rest = code;
    let mut line = 1;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (text, length) = next(rest, first);
        if let Some(text) = text {
            found.push(Token { text, line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// What `rest` begins with, if it is a token, and its length in bytes.
fn next(rest: &str, first: char) -> (Option<&str>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (None, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (None, block_comment(rest));
    }
    if let Some(length) = literal(rest) {
        return (Some(LITERAL), length);
    }
    if first == '\'' {
        return (None, 1 + word_length(&rest[1..]));
    }
    if is_word_start(first) {
        let length = word_length(rest);
        return (Some(&rest[..length]), length);
    }
    let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
    (Some(&rest[..length]), length)
}

fn word_length(rest: &str) -> usize {
    rest.find(|c| !is_in_word(c)).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the literal that `rest` begins with, if it begins with one.
fn literal(rest: &str) -> Option<usize> {
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(number(rest));
    }
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|after| after.starts_with(['"', '\'', '#']))
    });
    let start = prefix.map_or(0, str::len);
    let after = &rest[start..];
    if prefix.is_some_and(|prefix| prefix.ends_with('r')) {
        return raw(after).map(|length| start + length);
    }
    if after.starts_with('"') {
        return Some(start + closed(after, '"'));
    }
    // `'a'` is a character and `'a` a lifetime.
    let mut next = after.strip_prefix('\'')?.chars();
    let (first, second) = (next.next()?, next.next()?);
    (first == '\\' || second == '\'').then(|| start + closed(after, '\''))
}

fn number(rest: &str) -> usize {
    let whole = word_length(rest);
    match rest[whole..].strip_prefix('.') {
        Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => {
            whole + 1 + word_length(after)
        }
        _ => whole,
    }
}

/// The length of `"…"` or `#"…"#`; none for a raw identifier.
fn raw(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let content = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + content.find(&end)? + end.len())
}

/// The length of a literal between two `quote`s, which a backslash protects.
fn closed(rest: &str, quote: char) -> usize {
    let mut protected = true;
    for (at, c) in rest.char_indices() {
        if !protected && c == quote {
            return at + c.len_utf8();
        }
        // The opening quote is passed over as a protected one would be.
        protected = !protected && c == '\\';
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_literals_and_lifetimes_are_no_words() {
        let cases: [(&str, &[&str]); 9] = [
            ("a // b\nc", &["a", "c"]),
            ("a /* b /* c */ d */ e", &["a", "e"]),
            (r#"f("say \"x\" // y")"#, &["f", "(", LITERAL, ")"]),
            ("r#\"a \"quoted\" b\"# x", &[LITERAL, "x"]),
            (r"'a' '\'' '\u{1F600}' b'x'", &[LITERAL, LITERAL, LITERAL, LITERAL]),
            ("&'a str", &["&", "str"]),
            ("0x1f_u8 1.5 0..9", &[LITERAL, LITERAL, LITERAL, ".", ".", LITERAL]),
            ("crate::b", &["crate", "::", "b"]),
            ("b\"x\" bar", &[LITERAL, "bar"]),
        ];
        for (code, expected) in cases {
            let found: Vec<&str> = tokens(code).iter().map(|token| token.text).collect();
            assert_eq!(found, expected, "{code}");
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let found = tokens("a\n/*\n*/ \"\n\" b\n\nc");
        let lines: Vec<usize> =
            found.iter().filter(|token| token.is_word()).map(|token| token.line).collect();
        assert_eq!(lines, [1, 4, 6]);
    }
}
