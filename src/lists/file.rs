//! One list, read whole, and which kind it is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::error::Error;
use super::listed::{List, Listed};
use super::{json, kubeadm, kubernetes, lock, plain, text, yaml};

/// Longest list that is read, in bytes (64 MiB): all pods of a cluster with some thousand nodes.
/// Something longer is no list.
const MAX_BYTES: u64 = 64 << 20;

/// What the name `-` stands for in `-f -`.
const STANDARD_INPUT: &str = "-";

/// Whether a list of this name is standard input.
pub fn is_standard_input(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

/// Reads the list `path`, all of it.
///
/// # Errors
/// [`Error`]; nothing of the list is to be used then.
pub fn read(path: &Path) -> Result<List, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let input: Box<dyn io::Read> = if is_standard_input(path) {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::TooLong { path: path.to_owned(), max_mib: MAX_BYTES >> 20 });
    }
    let text = decoded(path, bytes)?;
    let mut list = parse(path, &text)?;
    // Not before all of the list is known to be one.
    for cluster in std::mem::take(&mut list.clusters) {
        let path = std::env::var_os("PATH");
        list.images.extend(kubeadm::images(&cluster, &text, path.as_deref())?);
    }
    Ok(list)
}

fn decoded(path: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    text::decode(bytes).map_err(|what| Error::NoText { path: path.to_owned(), what })
}

/// Reads `text`, the content of `path`.
fn parse(path: &Path, text: &str) -> Result<List, Error> {
    match Form::of(text) {
        Form::Plain => plain::parse(path, text),
        Form::Yaml => parse_yaml(path, text),
        // What other programs write as JSON need not be YAML: several objects in a row, for one.
        Form::Json => parse_yaml(path, text).or_else(|error| match error {
            Error::Yaml { .. } | Error::Template { .. } => match json::documents(text) {
                Some(documents) => parse_json(path, text, &documents),
                None => Err(error),
            },
            _ => Err(error),
        }),
    }
}

fn parse_yaml(path: &Path, text: &str) -> Result<List, Error> {
    let mut documents = Documents::new(path, text);
    yaml::documents(path, text, &mut |document| documents.read(document))?;
    Ok(documents.finish())
}

fn parse_json(path: &Path, text: &str, documents: &[yaml::Node]) -> Result<List, Error> {
    let mut found = Documents::new(path, text);
    documents.iter().try_for_each(|document| found.read(document))?;
    Ok(found.finish())
}

/// What the documents of a file list.
struct Documents<'a> {
    path: &'a Path,
    manifests: kubernetes::Reader<'a>,
    locked: Vec<Listed>,
}

impl<'a> Documents<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, manifests: kubernetes::Reader::new(path, text), locked: Vec::new() }
    }

    fn read(&mut self, document: &yaml::Node) -> Result<(), Error> {
        if lock::is_lock(document) {
            self.locked.extend(lock::images(self.path, document)?);
            return Ok(());
        }
        self.manifests.document(document)
    }

    fn finish(self) -> List {
        let mut list = self.manifests.finish();
        list.images.extend(self.locked);
        list
    }
}

/// What a list is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A reference a line.
    Plain,
    /// Objects, or a sequence of references.
    Yaml,
    /// The same with brackets.
    Json,
}

impl Form {
    /// By the first line that is neither blank nor a comment: no reference holds a bracket or a blank,
    /// nor ends with a colon.
    fn of(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let Some(first) = lines.find(|line| !line.is_empty() && !line.starts_with('#')) else {
            return Self::Plain;
        };
        let key = first.split(": ").next().unwrap_or_default();
        let is_member = first.ends_with(':') || key.len() < first.len() && !key.contains(" #");
        match first {
            _ if first.starts_with("{{") => Self::Yaml,
            _ if first.starts_with(['{', '[']) => Self::Json,
            "-" => Self::Yaml,
            _ if first.starts_with("---") || first.starts_with("- ") => Self::Yaml,
            _ if first.starts_with("%YAML") || is_member => Self::Yaml,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests;
