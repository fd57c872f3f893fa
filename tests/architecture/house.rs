//! All modules of a crate, and which file really defines what a path names: through imports,
//! re-exports and `*`, whether it begins with `crate`, `super`, `self` or a name in scope.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::module::{Module, Tests};
use crate::table;

/// A module's path within the crate; the crate's root has none.
pub(crate) type Name = Vec<String>;

pub(crate) struct House {
    pub(crate) modules: BTreeMap<Name, Placed>,
}

pub(crate) struct Placed {
    pub(crate) file: PathBuf,
    pub(crate) said: Module,
}

/// Methods whose names tell nothing, since types of the libraries have them as well.
const FOREIGN: &str = "all any append as_mut as_ref as_str borrow bytes chain chars clear clone close cmp collect \
    connect consume contains count cycle drain enter entries entry eq extend extension fill \
    fill_buf filter find first flush fmt fold get get_mut hash host insert inspect into is_empty \
    is_null iter join keys kind last len lines lock map max min mode next or parse path peek \
    poll pop position push read read_exact read_to_end recv remove replace request reserve \
    resolve retain rev scheme seek send set shutdown skip sort source split status step_by sum \
    swap take then to_string truncate update values verify wait write write_all write_fmt \
    write_str zip";

/// What a path leads to. A name may stand for a module and for an item at once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) module: Option<Name>,
    /// The module that defines the item, and the item's name.
    pub(crate) item: Option<(Name, String)>,
}

/// One file needs what another defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) item: String,
    pub(crate) line: usize,
}

impl House {
    /// Reads the crate whose root `read` gives for `lib.rs`, or whichever `root` is.
    pub(crate) fn new(root: &str, tests: Tests, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut house = Self { modules: BTreeMap::new() };
        let file = PathBuf::from(root);
        let code = read(&file).unwrap_or_default();
        house.add(Vec::new(), file, Module::parse(&code, tests), tests, read);
        house
    }

    fn add(
        &mut self,
        name: Name,
        file: PathBuf,
        mut said: Module,
        tests: Tests,
        read: &dyn Fn(&Path) -> Option<String>,
    ) {
        for (child, inner) in std::mem::take(&mut said.inline) {
            let name = [name.as_slice(), &[child]].concat();
            self.add(name, file.clone(), inner, tests, read);
        }
        for child in &said.files {
            let name = [name.as_slice(), std::slice::from_ref(child)].concat();
            let stem: PathBuf = name.iter().collect();
            let found = [stem.with_extension("rs"), stem.join("mod.rs")]
                .into_iter()
                .find_map(|file| read(&file).map(|code| (file, code)));
            let (file, code) = found.unwrap_or_else(|| panic!("no file for {}", name.join("::")));
            self.add(name, file, Module::parse(&code, tests), tests, read);
        }
        self.modules.insert(name, Placed { file, said });
    }

    /// What `path` means in the module `from`.
    pub(crate) fn resolve(&self, from: &Name, path: &[String]) -> Meaning {
        self.follow(from, path, &mut BTreeSet::new())
    }

    fn follow(
        &self,
        from: &Name,
        path: &[String],
        asked: &mut BTreeSet<(Name, String)>,
    ) -> Meaning {
        let Some(mut rest) = path.get(1..) else { return Meaning::default() };
        let mut meaning = match path[0].as_str() {
            "crate" => Meaning { module: Some(Name::new()), item: None },
            "self" => Meaning { module: Some(from.clone()), item: None },
            "super" => Meaning { module: Some(parent(from)), item: None },
            // Before more of a path stands a module rather than an item that is called the same.
            name if !rest.is_empty() && self.child(from, name).is_some() => {
                Meaning { module: self.child(from, name), item: None }
            }
            name => self.name_in(from, name, asked),
        };
        while let [segment, after @ ..] = rest {
            // What stands behind a type is one of its own: a variant, a constant, a function.
            let Some(module) = meaning.module else { break };
            meaning = match segment.as_str() {
                "super" => Meaning { module: Some(parent(&module)), item: None },
                "*" => Meaning { module: Some(module), item: None },
                name => self.name_in(&module, name, asked),
            };
            rest = after;
        }
        // A path that goes on behind a module's name has left the crate.
        if !rest.is_empty() {
            meaning.module = None;
        }
        meaning
    }

    fn child(&self, module: &Name, name: &str) -> Option<Name> {
        let child = [module.as_slice(), &[name.to_owned()]].concat();
        self.modules.contains_key(&child).then_some(child)
    }

    fn name_in(&self, module: &Name, name: &str, asked: &mut BTreeSet<(Name, String)>) -> Meaning {
        let mut meaning = Meaning::default();
        let Some(placed) = self.modules.get(module) else { return meaning };
        if !asked.insert((module.clone(), name.to_owned())) {
            return meaning;
        }
        if placed.said.items.contains_key(name) {
            meaning.item = Some((module.clone(), name.to_owned()));
        }
        meaning.module = self.child(module, name);
        for import in &placed.said.imports {
            let found = match import.name.as_str() {
                "*" => match self.follow(module, &import.path, &mut asked.clone()).module {
                    Some(opened) => self.name_in(&opened, name, asked),
                    None => continue,
                },
                imported if imported == name => self.follow(module, &import.path, asked),
                _ => continue,
            };
            meaning.module = meaning.module.or(found.module);
            meaning.item = meaning.item.or(found.item);
        }
        asked.remove(&(module.clone(), name.to_owned()));
        meaning
    }

    /// Which file needs which, by the items that its code names, by the traits that it imports for
    /// their methods, and by the methods that it calls on what it never names. To hand an item on
    /// (`pub use`) is not to need it.
    pub(crate) fn needs(&self) -> BTreeSet<Need> {
        let mut needs = self.calls();
        for (name, placed) in &self.modules {
            let mentions = placed.said.mentions.iter().map(|m| (&m.path, m.line, false));
            let imports = placed.said.imports.iter().filter(|import| !import.exported);
            // Variants brought in by `*` are used without their type's name.
            let imports = imports.map(|import| (&import.path, import.line, import.name != "*"));
            for (path, line, is_one) in mentions.chain(imports) {
                let Some((owner, item)) = self.resolve(name, path).item else { continue };
                let owner = &self.modules[&owner];
                let is_trait = owner.said.items[&item] == "trait";
                if owner.file == placed.file || (is_one && !is_trait) {
                    continue;
                }
                let (from, to) = (placed.file.clone(), owner.file.clone());
                needs.insert(Need { from, to, item, line });
            }
        }
        needs
    }

    /// Which file calls methods of which other one, whose types it may never name. A method's name tells
    /// where it is defined when one file alone has it, of those that the caller may know, and no type
    /// of the libraries that is used here.
    fn calls(&self) -> BTreeSet<Need> {
        let mut owners: BTreeMap<&str, BTreeSet<(&Name, &PathBuf)>> = BTreeMap::new();
        for (name, placed) in &self.modules {
            for method in placed.said.functions.iter().filter(|function| function.is_method) {
                owners.entry(&method.name).or_default().insert((name, &placed.file));
            }
        }
        let mut needs = BTreeSet::new();
        for (name, Placed { file, said }) in &self.modules {
            for call in said.calls.iter().filter(|call| !is_foreign(&call.method)) {
                let owners = owners.get(call.method.as_str()).into_iter().flatten();
                let known = owners.filter(|(owner, _)| may_know(name.first(), owner.first()));
                let known: BTreeSet<&PathBuf> = known.map(|(_, file)| *file).collect();
                if let [owner] = known.into_iter().collect::<Vec<_>>()[..]
                    && owner != file
                {
                    let (from, to, item) = (file.clone(), owner.clone(), call.method.clone());
                    needs.insert(Need { from, to, item, line: call.line });
                }
            }
        }
        needs
    }

    /// Paths that begin in the crate and lead nowhere: what is not understood of them is not held.
    pub(crate) fn lost(&self) -> Vec<String> {
        let mut lost = Vec::new();
        for (name, placed) in &self.modules {
            let mentions = placed.said.mentions.iter().map(|m| (&m.path, m.line));
            let imports = placed.said.imports.iter().map(|import| (&import.path, import.line));
            for (path, line) in mentions.chain(imports) {
                let is_ours = ["crate", "super", "self"].contains(&path[0].as_str());
                if is_ours && path.len() > 1 && self.resolve(name, path) == Meaning::default() {
                    lost.push(format!("src/{}:{line}: {}", placed.file.display(), path.join("::")));
                }
            }
        }
        lost
    }

    /// The modules at the crate's root that each of them names, by a path that begins there, with the
    /// file and line where it does so first.
    pub(crate) fn rooms(&self) -> BTreeMap<(String, String), String> {
        let mut rooms = BTreeMap::new();
        for (name, placed) in &self.modules {
            let Some(room) = name.first() else { continue };
            let mentions = placed.said.mentions.iter().map(|m| (&m.path, m.line));
            let imports = placed.said.imports.iter().map(|import| (&import.path, import.line));
            for (path, line) in mentions.chain(imports) {
                let Some(other) = room_of(name, path) else { continue };
                if other != room && self.modules.contains_key(&vec![other.clone()]) {
                    let place = format!("src/{}:{line}", placed.file.display());
                    rooms.entry((room.clone(), other.clone())).or_insert(place);
                }
            }
        }
        rooms
    }
}

fn is_foreign(method: &str) -> bool {
    FOREIGN.split_whitespace().any(|foreign| foreign == method)
}

/// Whether a file of the room `from` may have to do with the types of the room `to`.
fn may_know(from: Option<&String>, to: Option<&String>) -> bool {
    from == to || to.is_none_or(|to| from.is_none_or(|from| table::may_import(from, to)))
}

fn parent(name: &Name) -> Name {
    name.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default()
}

/// The module at the root that `path` names in the module `from`, if it climbs up to the root.
fn room_of<'a>(from: &Name, path: &'a [String]) -> Option<&'a String> {
    let steps = path.iter().skip_while(|step| *step == "self").collect::<Vec<_>>();
    let ups = steps.iter().take_while(|step| **step == "super").count();
    match steps.as_slice() {
        [root, room, ..] if *root == "crate" => Some(room),
        _ if ups > 0 && ups == from.len() => steps.get(ups).copied(),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A crate whose files are given as `(path, code)`.
    pub(crate) fn house(files: &[(&str, &str)]) -> House {
        House::new("lib.rs", Tests::LeftOut, &|path| {
            files.iter().find(|(file, _)| Path::new(file) == path).map(|(_, code)| (*code).into())
        })
    }

    fn needs(files: &[(&str, &str)]) -> Vec<String> {
        let needs = house(files).needs();
        let told = needs
            .iter()
            .map(|need| format!("{} {} {}", need.from.display(), need.to.display(), need.item));
        told.collect()
    }

    #[test]
    fn items_are_found_where_they_are_defined() {
        let root = ("lib.rs", "mod a; mod b;");
        let room = ("b/mod.rs", "mod c; pub use c::{Thing, make as build}; pub(crate) fn own() {}");
        let deep = ("b/c.rs", "pub struct Thing; pub fn make() {}");
        let cases = [
            ("use crate::b::Thing; fn f(_: Thing) {}", "a.rs b/c.rs Thing"),
            ("fn f() { crate::b::build() }", "a.rs b/c.rs make"),
            ("fn f() { super::b::own() }", "a.rs b/mod.rs own"),
            ("use crate::b; fn f() { b::c::make() }", "a.rs b/c.rs make"),
            ("use crate::b::{self as d}; fn f() { d::own() }", "a.rs b/mod.rs own"),
            ("use crate::b::*; fn f() { let _ = Thing::new(); }", "a.rs b/c.rs Thing"),
            ("mod inner { use super::super::b::own; fn f() { own() } }", "a.rs b/mod.rs own"),
        ];
        for (code, expected) in cases {
            assert_eq!(needs(&[root, room, deep, ("a.rs", code)]), [expected], "{code}");
        }
    }

    #[test]
    fn to_hand_on_is_not_to_need_but_to_use_is() {
        let child = ("b.rs", "pub struct Thing; pub trait Does {}");
        let cases: [(&str, &[&str]); 5] = [
            ("mod b; pub use b::Thing;", &[]),
            ("mod b; pub use b::Thing; fn f(_: Thing) {}", &["lib.rs b.rs Thing"]),
            ("mod b; use b::Thing;", &[]),
            ("mod b; use b::Does as _;", &["lib.rs b.rs Does"]),
            ("mod b; pub use b::Does;", &[]),
        ];
        for (code, expected) in cases {
            assert_eq!(needs(&[("lib.rs", code), child]), expected, "{code}");
        }
    }

    #[test]
    fn a_name_may_be_a_module_and_an_item_at_once() {
        let files = [
            ("lib.rs", "mod pull; use pull::pull; fn f() { pull(); pull::other() }"),
            ("pull.rs", "pub fn pull() {} pub fn other() {}"),
        ];
        assert_eq!(needs(&files), ["lib.rs pull.rs other", "lib.rs pull.rs pull"]);
    }

    #[test]
    fn methods_of_types_that_are_never_named_are_needed_too() {
        let files = |calls: &'static str, more: &'static str| {
            let root = ("lib.rs", "mod config; mod registry; mod output;");
            let own = ("registry.rs", "pub struct A; impl A { pub fn own(&self) {} }");
            [root, own, ("config.rs", calls), ("output.rs", more)]
        };
        let none = "";
        let cases: [(_, _, &[&str]); 6] = [
            // `config` may not know of `registry`, so this is another type's.
            ("fn f() { g().own() }", none, &[]),
            (none, "fn f() { g().own() }", &[]),
            ("impl B { fn own(&self) {} }", "fn f() { g().own() }", &[]),
            ("impl B { fn other(&self) { self.own() } fn own(&self) {} }", none, &[]),
            ("impl B { fn own(s: u8) {} }", none, &[]),
            ("impl B { fn its(self) {} }", none, &["registry.rs config.rs its"]),
        ];
        for (config, output, expected) in cases {
            let [root, own, config, output] = files(config, output);
            let own = (own.0, "fn h() { i().its() } pub struct A; impl A { pub fn own(&self) {} }");
            assert_eq!(needs(&[root, own, config, output]), expected, "{} {}", config.1, output.1);
        }
    }

    #[test]
    fn circles_of_imports_and_foreign_paths_lead_nowhere() {
        let files = [
            ("lib.rs", "mod a; mod b; use std::fmt; fn f(_: url::Url) { fmt::Debug::fmt() }"),
            ("a.rs", "pub use crate::b::*; fn f() { g() }"),
            ("b.rs", "pub use crate::a::*; fn f() { h() }"),
        ];
        assert!(needs(&files).is_empty());
    }

    #[test]
    fn rooms_are_named_from_the_root() {
        let house = house(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "mod d; use crate::b::X;"),
            ("a/d.rs", "fn f() { super::super::c::g(); super::e(); crate::a::h(); std::fs::b() }"),
            ("b.rs", ""),
            ("c.rs", ""),
        ]);
        let rooms: Vec<String> =
            house.rooms().keys().map(|(room, other)| format!("{room} {other}")).collect();
        assert_eq!(rooms, ["a b", "a c"]);
    }
}
