//! A TOML file whose every setting knows its place, so that an error can show it.
//!
//! Serde would lose what this keeps: the order of tables, and the line of a key that nobody asked
//! for. Knows no setting by name.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Location};
use super::warning::WarningKind;
use crate::failure::Notice;

/// The text of a TOML file.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    content: String,
}

impl Document {
    /// Reads `path`; `None` where no such file exists.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it exists and cannot be read, a dangling symbolic link included:
    /// somebody meant it to be obeyed.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        match fs::read_to_string(path) {
            Ok(content) => Ok(Some(Self { path: path.to_owned(), content })),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Ok(None),
            Err(source) => Err(Error::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Where it was read from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its first line.
    pub(super) fn first_line(&self) -> &str {
        self.content.lines().next().unwrap_or_default()
    }

    /// Whether the file holds no byte at all.
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// The file's tree; [`Table::root`] looks at it.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place where it stops to be TOML.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'_>>, Error> {
        DeTable::parse(&self.content).map_err(|error| {
            let message = error.message().trim().replace('\n', ", ");
            let (problem, expected) =
                message.split_once(", expected ").unwrap_or((&message, "TOML (https://toml.io)"));
            Error::Invalid {
                location: Box::new(self.location(error.span().unwrap_or_default())),
                problem: problem.to_owned(),
                expected: expected.to_owned(),
            }
        })
    }

    fn location(&self, span: Range<usize>) -> Location {
        Location::of(&self.path, &self.content, span.start)
    }
}

/// One table of a [`Document`].
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    document: &'a Document,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// The document's outermost table.
    pub(super) fn root(document: &'a Document, tree: &'a Spanned<DeTable<'a>>) -> Self {
        Self { document, entries: tree.get_ref() }
    }

    /// The setting called `name`.
    pub(super) fn get(&self, name: &str) -> Option<Setting<'a>> {
        self.settings().find(|setting| setting.name == name)
    }

    /// The table at the end of `names`, each a table in the one before.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one of them is no table.
    pub(super) fn descend(&self, names: &[&str]) -> Result<Option<Self>, Error> {
        let mut table = *self;
        for name in names {
            match table.get(name) {
                Some(setting) => table = setting.table()?,
                None => return Ok(None),
            }
        }
        Ok(Some(table))
    }

    /// The text called `name`; one that is empty says nothing, as in Go.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let text = self.get(name).map(|setting| setting.string()).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Every setting, in the order of the file.
    pub(super) fn settings(&self) -> impl Iterator<Item = Setting<'a>> + use<'a> {
        let document = self.document;
        self.entries.iter().map(move |(key, value)| Setting {
            document,
            name: key.get_ref(),
            key: key.span(),
            value,
        })
    }

    /// One warning for each setting that is not in `known`.
    pub(super) fn unknown_settings(&self, known: &[&str]) -> Vec<Notice> {
        let unknown = |setting: &Setting<'_>| !known.contains(&setting.name);
        let warning = |setting: Setting<'_>| {
            setting
                .warning(
                    WarningKind::UnknownSetting,
                    format!("unknown setting `{}` has no effect", setting.name),
                )
                .with_hint(format!("known here: {}", known.join(", ")))
        };
        self.settings().filter(unknown).map(warning).collect()
    }
}

/// A name and its value, or one element of an array, which has its array's name.
#[derive(Clone)]
pub(super) struct Setting<'a> {
    document: &'a Document,
    /// The key, unquoted.
    pub(super) name: &'a str,
    key: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Setting<'a> {
    /// The value as a string.
    pub(super) fn string(&self) -> Result<&'a str, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.mismatch("a string in quotes")),
        }
    }

    /// The value as a boolean.
    pub(super) fn boolean(&self) -> Result<bool, Error> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.mismatch("true or false")),
        }
    }

    /// The value as a number that is not negative.
    pub(super) fn number(&self) -> Result<u64, Error> {
        match self.value.get_ref() {
            DeValue::Integer(value) => u64::from_str_radix(value.as_str(), value.radix())
                .map_err(|_| self.mismatch("a number that is not negative")),
            _ => Err(self.mismatch("a number")),
        }
    }

    /// The value as a number that may be negative.
    pub(super) fn integer(&self) -> Result<i64, Error> {
        match self.value.get_ref() {
            DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
                .map_err(|_| self.mismatch("a number")),
            _ => Err(self.mismatch("a number")),
        }
    }

    /// The value as a table.
    pub(super) fn table(&self) -> Result<Table<'a>, Error> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Ok(Table { document: self.document, entries }),
            _ => Err(self.mismatch("a table")),
        }
    }

    /// The value's elements.
    pub(super) fn array(&self) -> Result<Vec<Self>, Error> {
        self.elements().ok_or_else(|| self.mismatch("an array"))
    }

    /// The value's elements, or the value itself where it is no array.
    pub(super) fn one_or_many(&self) -> Vec<Self> {
        self.elements().unwrap_or_else(|| vec![self.clone()])
    }

    /// Whether the value is an array.
    pub(super) fn is_array(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Array(_))
    }

    fn elements(&self) -> Option<Vec<Self>> {
        let DeValue::Array(elements) = self.value.get_ref() else { return None };
        Some(elements.iter().map(|value| Self { value, ..self.clone() }).collect())
    }

    /// Where the file first speaks of this setting or of something in it, in bytes. The parser puts
    /// `[a]` behind what was written between `[a.b]` and it.
    pub(super) fn first_mention(&self) -> usize {
        let inner = self
            .table()
            .ok()
            .and_then(|table| table.settings().map(|setting| setting.first_mention()).min());
        inner.map_or(self.key.start, |inner| inner.min(self.key.start))
    }

    /// The line of the name, counted from 1.
    pub(super) fn line(&self) -> usize {
        self.document.location(self.key.clone()).line
    }

    /// The line of the value, counted from 1.
    pub(super) fn value_line(&self) -> usize {
        self.location().line
    }

    /// The file.
    pub(super) fn path(&self) -> &'a Path {
        &self.document.path
    }

    /// The place of the value.
    pub(super) fn location(&self) -> Location {
        self.document.location(self.value.span())
    }

    /// The value cannot be meant.
    pub(super) fn invalid(&self, problem: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Invalid {
            location: Box::new(self.location()),
            problem: problem.into(),
            expected: expected.into(),
        }
    }

    /// The name cannot be meant.
    pub(super) fn invalid_name(
        &self,
        problem: impl Into<String>,
        expected: impl Into<String>,
    ) -> Error {
        Error::Invalid {
            location: Box::new(self.document.location(self.key.clone())),
            problem: problem.into(),
            expected: expected.into(),
        }
    }

    /// A warning at the name's line.
    pub(super) fn warning(&self, kind: WarningKind, message: impl Into<String>) -> Notice {
        Notice::new(kind, message).at(self.document.path.clone(), self.line())
    }

    /// The value is of another type than `expected`. Says nothing of the value, which may be secret.
    pub(super) fn mismatch(&self, expected: &str) -> Error {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.invalid(format!("`{}` is {found}", self.name), expected)
    }
}
