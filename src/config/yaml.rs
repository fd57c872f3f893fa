//! A file of YAML, or of JSON as a form of it, as one tree. Knows no setting by name.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{Error, Location};

/// Longest file, in bytes (4 MiB): a node's settings are a hundredth of it.
const MAX_BYTES: u64 = 4 << 20;

/// A file's tree, and its text to find places in.
#[derive(Debug)]
pub(super) struct YamlFile {
    path: PathBuf,
    content: String,
    value: Value,
}

impl YamlFile {
    /// Reads `path`; `None` where no such file exists. `expected` says what it should be.
    ///
    /// # Errors
    /// [`Error::Unreadable`], or [`Error::Invalid`] with the place where it stops to be YAML.
    pub(super) fn read(path: &Path, expected: &str) -> Result<Option<Self>, Error> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                return Ok(None);
            }
            Err(source) => return Err(unreadable(source)),
        };
        let mut content = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut content).map_err(unreadable)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(unreadable(io::Error::other("it is longer than 4 MiB")));
        }
        Self::parse(path, content, expected).map(Some)
    }

    fn parse(path: &Path, content: String, expected: &str) -> Result<Self, Error> {
        let text = content.trim_start_matches('\u{feff}');
        let value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(text).map_err(|error| {
                let number = |number: u64| usize::try_from(number).unwrap_or_default();
                let place = error.location();
                let (line, column) =
                    place.map_or((1, 1), |place| (number(place.line()), number(place.column())));
                Error::Invalid {
                    location: Box::new(Location::unquoted(path, line, column)),
                    // What the parser says of it may quote a secret.
                    problem: "the file is not valid YAML".to_owned(),
                    expected: expected.to_owned(),
                }
            })?
        };
        Ok(Self { path: path.to_owned(), content, value })
    }

    /// Where it was read from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole of it; null for an empty file.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// The value of its member `name`; null is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    /// The line on which `text` first stands, counted from 1.
    pub(super) fn line_of(&self, text: &str) -> usize {
        Location::unquoted_of(&self.path, &self.content, text).line
    }

    /// What is said near `text` cannot be meant. The line is not quoted: it may hold a secret.
    pub(super) fn invalid(
        &self,
        text: &str,
        problem: impl Into<String>,
        expected: impl Into<String>,
    ) -> Error {
        Error::Invalid {
            location: Box::new(Location::unquoted_of(&self.path, &self.content, text)),
            problem: problem.into(),
            expected: expected.into(),
        }
    }

    /// The file at `path`, which `setting` names, cannot be read.
    pub(super) fn missing(&self, setting: &'static str, path: PathBuf, source: io::Error) -> Error {
        let location = Box::new(Location::unquoted_of(&self.path, &self.content, setting));
        Error::MissingFile { location, setting, path, source }
    }
}

/// A scalar as it would be written, `None` for what is no scalar.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Option<YamlFile>, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.yaml");
        std::fs::write(&path, content).unwrap();
        YamlFile::read(&path, "settings")
    }

    #[test]
    fn yaml_and_json_are_read_and_what_is_neither_has_a_place() {
        for (content, expected) in [
            ("a: {b: 1}\n", serde_json::json!({"a": {"b": 1}})),
            ("{\"a\": [\"x\"]}", serde_json::json!({"a": ["x"]})),
            ("\u{feff}a: 1\n", serde_json::json!({"a": 1})),
            ("", Value::Null),
        ] {
            assert_eq!(*read(content).unwrap().unwrap().value(), expected, "{content}");
        }
        let error = read("a: 1\nb: [password\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the file is not valid YAML"), "{text}");
        assert!(!text.contains("password"), "{text}");
        assert!(error.location().unwrap().line >= 2, "{text}");
        assert!(YamlFile::read(Path::new("/nowhere/file"), "settings").unwrap().is_none());
    }

    #[test]
    fn a_file_of_any_length_is_read_in_part_only() {
        let error = read(&"a".repeat(5 << 20)).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
    }

    #[test]
    fn aliases_that_multiply_are_an_error() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, before) in ('b'..='j').zip('a'..) {
            let aliases = vec![format!("*{before}"); 10].join(", ");
            bomb += &format!("{name}: &{name} [{aliases}]\n");
        }
        assert!(read(&bomb).is_err());
    }
}
