//! Reading JSON as Go's clients do, who write most of it: what is not UTF-8 and half surrogates are
//! replaced, `null` is an absent member, and a list may be no longer than is bearable.
//!
//! Members that nobody asks for are skipped unread, so a number such as `1e400` in them does no harm.
//! No type read here may be flattened into another: serde would then read what is skipped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::ManifestError;

/// Most entries of a list and most annotations of one descriptor that are kept. overlayfs stops
/// mounting far below this; it bounds what a hostile document can make us hold.
pub(super) const MAX_ENTRIES: usize = 4096;

/// How long the escape of one UTF-16 unit is: `\ud800`.
const ESCAPE_BYTES: usize = 6;

/// Reads `bytes`, the `what` of an image.
pub(super) fn read<T>(what: &'static str, bytes: &[u8]) -> Result<T, ManifestError>
where
    T: serde::de::DeserializeOwned,
{
    serde_json::from_slice(&readable(bytes)).map_err(|source| {
        if bytes.trim_ascii_start().starts_with(b"<") {
            ManifestError::Html { what }
        } else {
            ManifestError::Json { what, source }
        }
    })
}

/// `bytes` with U+FFFD in place of what is no Unicode text.
fn readable(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(bytes);
    match without_half_surrogates(text.as_bytes()) {
        Some(repaired) => Cow::Owned(repaired),
        None => match text {
            Cow::Borrowed(_) => Cow::Borrowed(bytes),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
    }
}

/// `text` with `\ufffd` in place of surrogates without their other half; `None` if it has none.
fn without_half_surrogates(text: &[u8]) -> Option<Vec<u8>> {
    let mut repaired: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\\')) {
        at += found;
        let high = matches!(unit(text, at), Some(0xd800..=0xdbff));
        let low = matches!(unit(text, at), Some(0xdc00..=0xdfff));
        if high && matches!(unit(text, at + ESCAPE_BYTES), Some(0xdc00..=0xdfff)) {
            at += 2 * ESCAPE_BYTES;
        } else if high || low {
            let repaired = repaired.get_or_insert_with(|| text.to_vec());
            if let Some(escape) = repaired.get_mut(at..at + ESCAPE_BYTES) {
                escape.copy_from_slice(b"\\ufffd");
            }
            at += ESCAPE_BYTES;
        } else {
            // What is escaped may be a backslash, which then escapes nothing itself.
            at += 2;
        }
    }
    repaired
}

/// The UTF-16 unit whose `\uXXXX` begins at `at`.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// A list of which at most [`MAX_ENTRIES`] are held, with its length as written. `null` is the empty
/// list, as Go writes it.
#[derive(Debug)]
pub(super) struct List<T> {
    /// The first of its entries.
    pub(super) entries: Vec<T>,
    /// How many there are.
    pub(super) length: usize,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), length: 0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<List<T>, E> {
        Ok(List::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let mut list = List::default();
        while list.length < MAX_ENTRIES {
            let Some(entry) = seq.next_element()? else { return Ok(list) };
            list.entries.push(entry);
            list.length += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            list.length += 1;
        }
        Ok(list)
    }
}

/// Names and texts: annotations and labels. `null` is none, a value that is no text is left out,
/// and so is what is beyond [`MAX_ENTRIES`].
pub(super) fn texts<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(TextsVisitor)
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names and texts")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, MaybeText>()? {
            if let Some(value) = value.0
                && texts.len() < MAX_ENTRIES
            {
                texts.insert(name, value);
            }
        }
        Ok(texts)
    }
}

/// The names of a set that is written as an object of empty objects, in order; at most
/// `MAX_ENTRIES` are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = BTreeMap::<(), ()>::new();
        serializer.collect_map(self.0.iter().map(|name| (name, &empty)))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names of empty objects")
    }

    fn visit_unit<E>(self) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            if names.len() < MAX_ENTRIES {
                names.insert(name);
            }
        }
        Ok(Names(names))
    }
}

/// A text, or something else that is not kept.
struct MaybeText(Option<String>);

impl<'de> Deserialize<'de> for MaybeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeTextVisitor).map(Self)
    }
}

struct MaybeTextVisitor;

impl<'de> Visitor<'de> for MaybeTextVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Some(String::new()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A member that is there, `null` as well: its presence alone says what a document is.
pub(super) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_is_no_text_as_go_does() {
        for (written, read) in [
            (&br#"{"a":"b"}"#[..], r#"{"a":"b"}"#),
            (br#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (br#""\ud83d""#, r#""\ufffd""#),
            (br#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (br#""\uD83D\uD83D\uDE00""#, r#""\ufffd\uD83D\uDE00""#),
            (br#""\\ud83d""#, r#""\\ud83d""#),
            (br#""\\\ud83d""#, r#""\\\ufffd""#),
            (br#""\ud83"#, r#""\ud83"#),
            (b"\"caf\xe9\"", "\"caf\u{fffd}\""),
            (b"\"\xff\\udc00\"", "\"\u{fffd}\\ufffd\""),
            (b"\\", "\\"),
        ] {
            assert_eq!(String::from_utf8_lossy(&readable(written)), read);
        }
    }

    #[test]
    fn counts_what_it_does_not_hold() {
        let many = format!("[{}]", vec!["7"; MAX_ENTRIES + 5].join(","));
        let list: List<u8> = serde_json::from_str(&many).unwrap();
        assert_eq!((list.entries.len(), list.length), (MAX_ENTRIES, MAX_ENTRIES + 5));
        let none: List<u8> = serde_json::from_str("null").unwrap();
        assert_eq!(none.length, 0);
        assert!(serde_json::from_str::<List<u8>>("{}").is_err());
    }

    #[test]
    fn leaves_out_annotations_that_are_no_texts() {
        let json = r#"{"a":"b","n":null,"i":-1,"f":1.5,"t":true,"l":[1],"m":{"x":1}}"#;
        let texts = texts(&mut serde_json::Deserializer::from_str(json)).unwrap();
        let texts: Vec<_> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(texts, [("a", "b"), ("n", "")]);
    }
}
