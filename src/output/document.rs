//! Results that are both lines for people and JSON, or YAML, for scripts.

use std::fmt::Display;

use serde::Serialize;

use crate::failure::{harmless, json_escaped};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By its `Display`.
    Text,
    /// As JSON on one line.
    JsonLine,
    /// As JSON, indented.
    Json,
    /// As YAML.
    Yaml,
}

/// `document` in `form`, with nothing in it that steers a terminal.
pub fn document(document: &(impl Display + Serialize), form: Form) -> String {
    let json = match form {
        Form::Text => return harmless(document.to_string().trim_end()).into_owned(),
        Form::Yaml => {
            let yaml = serde_saphyr::to_string(document).unwrap_or_default();
            return harmless(yaml.trim_end()).into_owned();
        }
        Form::JsonLine => serde_json::to_string(document),
        Form::Json => serde_json::to_string_pretty(document),
    };
    // What is written here has no member that JSON has not.
    json_escaped(&json.unwrap_or_default()).into_owned()
}
