//! The daemon's configuration setting by setting, with the place of each: for whoever looks at more of
//! it than a pull goes by.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf, absolute};

use crate::config::document::{Document, Setting, Table};
use crate::config::error::Error;

use super::generation::{Generation, Section};
use super::merge::resolve_imports;

/// Tables deeper than this are not looked into; the daemon's own have eight levels.
const MAX_DEPTH: usize = 16;

/// Tables in which values may be secrets, which are left out.
const SECRET: [&str; 4] = ["auth", "auths", "header", "headers"];

/// A file and what it imports.
#[derive(Debug, Default)]
pub struct FlatFile {
    /// The first file.
    pub path: PathBuf,
    /// All files, that one first.
    pub files: Vec<PathBuf>,
    /// Whether the first one says what it imports, be it nothing.
    pub has_imports: bool,
    settings: Vec<FlatSetting>,
    tables: Vec<Vec<String>>,
}

/// One setting that the daemon reads.
#[derive(Debug)]
pub struct FlatSetting {
    /// The names of the tables around it, and its own.
    pub keys: Vec<String>,
    /// What it says.
    pub value: FlatValue,
    /// Where it stands.
    pub file: PathBuf,
    /// The line there, counted from 1.
    pub line: usize,
}

/// What a setting says.
#[derive(Debug, PartialEq, Eq)]
pub enum FlatValue {
    /// True or false.
    Flag(bool),
    /// A number that is not negative.
    Number(u64),
    /// A text.
    Text(String),
    /// Texts.
    List(Vec<String>),
    /// Anything else.
    Other,
}

impl FlatFile {
    /// Reads `path` and what it imports, as a daemon of `generation` does; `None` where there is no
    /// such file.
    ///
    /// # Errors
    /// [`Error`] for a file that is no TOML.
    pub fn read(path: &Path, generation: Generation) -> Result<Option<Self>, Error> {
        let path =
            absolute(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let mut flat = Self { path: path.clone(), ..Self::default() };
        let mut pending = VecDeque::from([path]);
        let mut seen = HashSet::new();
        while let Some(file) = pending.pop_front() {
            if !seen.insert(file.clone()) {
                continue;
            }
            let Some(document) = Document::read(&file)? else {
                if flat.files.is_empty() {
                    return Ok(None);
                }
                return Err(Error::not_found(&file));
            };
            let tree = document.parse()?;
            let root = Table::root(&document, &tree);
            let version = root.get("version").map(|version| version.number()).transpose()?;
            if let Some(imports) = root.get("imports") {
                flat.has_imports |= flat.files.is_empty();
                let directory = file.parent().unwrap_or(Path::new("/"));
                pending.extend(resolve_imports(&imports, directory)?);
            }
            flat.files.push(file);
            let mut reader = Reader { flat: &mut flat, generation, version };
            reader.table(&root, &mut Vec::new());
        }
        Ok(Some(flat))
    }

    /// The setting at the end of `keys`, of which the first may stand anywhere; of several the one that
    /// is read last.
    pub fn find(&self, keys: &[&str]) -> Option<&FlatSetting> {
        self.settings.iter().rev().find(|setting| {
            let names: Vec<&str> = setting.keys.iter().map(String::as_str).collect();
            names.ends_with(keys)
        })
    }

    /// The setting `key` outside of all tables.
    pub fn top(&self, key: &str) -> Option<&FlatSetting> {
        self.settings.iter().rev().find(|setting| setting.keys == [key])
    }

    /// The names of the tables in the table `key` outside of all others.
    pub fn tables<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.tables.iter().filter_map(move |names| match names.as_slice() {
            [first, name] if first == key => Some(name.as_str()),
            _ => None,
        })
    }

    /// Every setting with `key` among the tables around it, or as its name.
    pub fn below<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a FlatSetting> {
        self.settings.iter().filter(move |setting| setting.keys.iter().any(|name| name == key))
    }

    /// Every list called `key`, wherever it stands.
    pub fn lists<'a>(
        &'a self,
        key: &'a str,
    ) -> impl Iterator<Item = (&'a FlatSetting, &'a [String])> {
        self.settings.iter().filter_map(move |setting| match &setting.value {
            FlatValue::List(values) if setting.keys.last().is_some_and(|name| name == key) => {
                Some((setting, values.as_slice()))
            }
            _ => None,
        })
    }
}

impl FlatSetting {
    /// Its text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            FlatValue::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Whether it is a flag with this value.
    pub fn is(&self, flag: bool) -> bool {
        self.value == FlatValue::Flag(flag)
    }
}

struct Reader<'a> {
    flat: &'a mut FlatFile,
    generation: Generation,
    version: Option<u64>,
}

impl Reader<'_> {
    fn table(&mut self, table: &Table<'_>, names: &mut Vec<String>) {
        for setting in table.settings() {
            names.push(setting.name.to_owned());
            if self.is_read(names) && names.len() <= MAX_DEPTH {
                match setting.table() {
                    Ok(inner) => {
                        self.flat.tables.push(names.clone());
                        self.table(&inner, names);
                    }
                    Err(_) => self.value(&setting, names),
                }
            }
            names.pop();
        }
    }

    fn value(&mut self, setting: &Setting<'_>, names: &[String]) {
        let value = if let Ok(flag) = setting.boolean() {
            FlatValue::Flag(flag)
        } else if let Ok(number) = setting.number() {
            FlatValue::Number(number)
        } else if let Ok(text) = setting.string() {
            FlatValue::Text(text.to_owned())
        } else {
            let texts = setting.array().ok().and_then(|items| {
                items.iter().map(|item| item.string().ok().map(str::to_owned)).collect()
            });
            texts.map_or(FlatValue::Other, FlatValue::List)
        };
        let (file, line) = (setting.path().to_owned(), setting.line());
        self.flat.settings.push(FlatSetting { keys: names.to_vec(), value, file, line });
    }

    /// Whether the daemon reads what is called so, and whether it may be shown.
    fn is_read(&self, names: &[String]) -> bool {
        let Some(name) = names.last() else { return true };
        let is_plugin = names.len() == 2 && names.first().is_some_and(|first| first == "plugins");
        let section = Section::ALL.iter().find(|section| is_plugin && section.name() == name);
        let sections = self.generation.sections(self.version);
        section.is_none_or(|section| sections.contains(section)) && !SECRET.contains(&name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_the_end_of_their_path_and_the_last_file_wins() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let main = write(
            "config.toml",
            "version = 2\nimports = [\"more.toml\"]\ndisabled_plugins = [\"cri\", \"x\"]\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"a\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r\".auth]\npassword = \"p\"\n\
             [plugins.cri]\nsandbox_image = \"never read\"\n",
        );
        let more = write(
            "more.toml",
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"b\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndiscard_unpacked_layers = true\n",
        );
        let flat = FlatFile::read(&main, Generation::One).unwrap().unwrap();
        assert!(flat.has_imports);
        assert_eq!(flat.files, [main.clone(), more.clone()]);
        let sandbox = flat.find(&["sandbox_image"]).unwrap();
        assert_eq!((sandbox.text(), &sandbox.file, sandbox.line), (Some("b"), &more, 3));
        assert!(flat.find(&["containerd", "discard_unpacked_layers"]).unwrap().is(true));
        let (setting, values) = flat.lists("disabled_plugins").next().unwrap();
        assert_eq!((values.len(), setting.line), (2, 3));
        assert!(flat.find(&["password"]).is_none(), "a secret is not kept");
        assert!(FlatFile::read(&directory.path().join("none"), Generation::One).unwrap().is_none());
    }
}
