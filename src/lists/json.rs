//! JSON that the parser of YAML does not take, as the same tree: several values in a row, or letters
//! written as two escapes. JSON's own parser tells no lines, so they are looked up.

use std::rc::Rc;

use serde_json::{Deserializer, Value as Json};

use super::yaml::{Node, Value};

/// Most commas in what is read so (4 million), which bounds the values.
const MAX_COMMAS: usize = 4_000_000;

/// How far ahead a text is looked for, in bytes (64 KiB). One with escapes in it is not found.
const LOOK_AHEAD: usize = 64 << 10;

/// The values of `text`; `None` where it is no JSON.
pub(super) fn documents(text: &str) -> Option<Vec<Node>> {
    if text.bytes().filter(|byte| *byte == b',').count() > MAX_COMMAS {
        return None;
    }
    let values: Result<Vec<Json>, _> = Deserializer::from_str(text).into_iter().collect();
    let mut cursor = Cursor { text, position: 0, line: 1 };
    Some(values.ok()?.iter().map(|value| cursor.node(value)).collect())
}

/// Where in the text the values before the next one end.
struct Cursor<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl Cursor<'_> {
    fn node(&mut self, json: &Json) -> Node {
        match json {
            Json::Null => Node::scalar(self.line, String::new(), true),
            Json::Bool(value) => Node::scalar(self.line, value.to_string(), true),
            Json::Number(number) => Node::scalar(self.line, number.to_string(), true),
            Json::String(text) => {
                let line = self.pass(text);
                Node::scalar(line, text.clone(), false)
            }
            Json::Array(elements) => {
                let line = self.line;
                let elements = elements.iter().map(|element| Rc::new(self.node(element)));
                Node::of(line, Value::Sequence(elements.collect()))
            }
            Json::Object(members) => {
                let line = self.line;
                let member = |(key, value): (&String, &Json)| {
                    self.pass(key);
                    (key.clone(), Rc::new(self.node(value)))
                };
                let members = members.iter().map(member).collect();
                Node::of(line, Value::Mapping(members))
            }
        }
    }

    /// Goes behind `text`, and tells its line.
    fn pass(&mut self, text: &str) -> usize {
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        let near = rest.get(..LOOK_AHEAD).unwrap_or(rest);
        let quoted = format!("\"{text}\"").into_bytes();
        if let Some(found) = near.windows(quoted.len()).position(|window| window == quoted) {
            let passed = near.get(..found).unwrap_or_default();
            self.line += passed.iter().filter(|byte| **byte == b'\n').count();
            self.position += found + quoted.len();
        }
        self.line
    }
}
