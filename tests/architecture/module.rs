//! A module of `src` as its file says it: what it defines, what it imports, which paths it names, and
//! how long its functions are. Code that is compiled for tests alone can be left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::{Token, tokens};

/// What one module says, the root of a file or one within braces.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// What is defined here, and by which word: `struct`, `trait`, `fn`.
    pub(crate) items: BTreeMap<String, String>,
    pub(crate) imports: Vec<Import>,
    /// Paths in the code outside of `use`.
    pub(crate) mentions: Vec<Mention>,
    /// Modules in files of their own.
    pub(crate) files: BTreeSet<String>,
    /// Modules within braces.
    pub(crate) inline: BTreeMap<String, Module>,
    pub(crate) functions: Vec<Function>,
    /// Methods called on whatever stands before the dot.
    pub(crate) calls: Vec<Call>,
    /// How many lines tests take which were left out.
    pub(crate) test_lines: usize,
}

/// One name that `use` brings in; `*` for all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) path: Vec<String>,
    /// Whether it is handed on by `pub use`, to whomever.
    pub(crate) exported: bool,
    pub(crate) line: usize,
}

#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From its `fn` to its last brace.
    pub(crate) lines: usize,
    /// Whether it is called on a value, and where a trait of others wants it, by them.
    pub(crate) is_method: bool,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) line: usize,
}

/// What becomes of code under `#[cfg(test)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    LeftOut,
    Read,
}

impl Module {
    pub(crate) fn parse(code: &str, tests: Tests) -> Self {
        let tokens = tokens(code);
        let mut module = Self::default();
        Reader { tokens: &tokens, at: 0, tests }.items(&mut module);
        module
    }
}

/// Reads tokens from front to back.
struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    tests: Tests,
}

/// Words before the one that tells what an item is.
const MODIFIERS: [&str; 4] = ["async", "unsafe", "extern", "default"];

/// Items that end with a semicolon, braces or not.
const STATEMENTS: [&str; 4] = ["use", "const", "static", "type"];

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &'a str {
        self.tokens.get(self.at + by).map_or("", |token| token.text)
    }

    fn line(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].line
    }

    fn within(&self, tokens: &'a [Token<'a>]) -> Self {
        Self { tokens, at: 0, tests: self.tests }
    }

    fn is_over(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn items(&mut self, module: &mut Module) {
        while !self.is_over() {
            let start = self.line();
            let is_left_out = self.attributes(module);
            if self.is_over() {
                return;
            }
            if is_left_out {
                self.leave_out(start, module);
            } else {
                self.item(module);
            }
        }
    }

    /// Passes over attributes, and tells whether one of them leaves out what follows.
    fn attributes(&mut self, module: &mut Module) -> bool {
        let mut is_left_out = false;
        while self.peek() == "#" {
            self.at += 1;
            if self.peek() == "!" {
                self.at += 1;
            }
            let group = self.group();
            let words: Vec<&str> = group.iter().map(|token| token.text).collect();
            if words.starts_with(&["[", "cfg", "(", "test", ")"]) {
                is_left_out |= self.tests == Tests::LeftOut;
            } else {
                self.within(group).body(module);
            }
        }
        is_left_out
    }

    /// Passes over what an attribute leaves out: an item, a field or a statement.
    fn leave_out(&mut self, start: usize, module: &mut Module) {
        let end = self.visibility();
        let extent = self.extent(&self.tokens[end..]);
        self.at = end + extent;
        let last = self.tokens[self.at - 1].line;
        module.test_lines += last + 1 - start;
    }

    /// Where the item goes on behind `pub` or `pub(in …)`.
    fn visibility(&self) -> usize {
        if self.peek() != "pub" {
            return self.at;
        }
        let mut reader = self.within(self.tokens);
        reader.at = self.at + 1;
        if reader.peek() == "(" {
            reader.group();
        }
        reader.at
    }

    fn item(&mut self, module: &mut Module) {
        let exported = self.peek() == "pub";
        self.at = self.visibility();
        while MODIFIERS.contains(&self.peek())
            || (self.peek() == "const" && ["fn", "unsafe", "async"].contains(&self.ahead(1)))
            || (self.peek() == crate::tokens::LITERAL)
        {
            self.at += 1;
        }
        let word = self.peek();
        let name = self.ahead(if self.ahead(1) == "mut" { 2 } else { 1 });
        match word {
            "use" => return self.import(exported, module),
            "mod" => return self.module(module),
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => {
                module.items.insert(name.to_owned(), word.to_owned());
            }
            "macro_rules" => {
                module.items.insert(self.ahead(2).to_owned(), word.to_owned());
            }
            _ => {}
        }
        let extent = self.extent(&self.tokens[self.at..]);
        let item = &self.tokens[self.at..self.at + extent];
        self.at += extent;
        self.within(item).body(module);
    }

    fn module(&mut self, module: &mut Module) {
        let name = self.ahead(1).to_owned();
        self.at += 2;
        if self.peek() == ";" {
            self.at += 1;
            module.files.insert(name);
            return;
        }
        let group = self.group();
        let mut inner = Module::default();
        self.within(&group[1..group.len() - 1]).items(&mut inner);
        module.inline.insert(name, inner);
    }

    fn import(&mut self, exported: bool, module: &mut Module) {
        self.at += 1;
        self.tree(&[], exported, module);
        self.at += 1;
    }

    /// One branch of a `use`, up to the comma, brace or semicolon behind it.
    fn tree(&mut self, prefix: &[&'a str], exported: bool, module: &mut Module) {
        let line = self.line();
        let mut path = prefix.to_vec();
        loop {
            match self.peek() {
                "{" => {
                    self.at += 1;
                    while self.peek() != "}" {
                        self.tree(&path, exported, module);
                        if self.peek() == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "::" if path.is_empty() => path.push(""),
                "::" => {}
                "," | "}" | ";" => break,
                "as" => {
                    self.at += 1;
                    let name = self.peek();
                    self.at += 1;
                    return module.add_import(name, &path, exported, line);
                }
                segment => path.push(segment),
            }
            self.at += 1;
        }
        if let Some(name) = path.last() {
            module.add_import(name, &path, exported, line);
        }
    }

    /// Code within an item: its paths, imports and functions.
    fn body(&mut self, module: &mut Module) {
        while !self.is_over() {
            let start = self.line();
            match self.peek() {
                "#" if ["[", "!"].contains(&self.ahead(1)) => {
                    if self.attributes(module) {
                        self.leave_out(start, module);
                    }
                }
                "use" if self.ahead(1) != "<" => self.import(false, module),
                "fn" if self.tokens.get(self.at + 1).is_some_and(Token::is_word) => {
                    module.functions.push(self.function());
                    self.at += 2;
                }
                _ if self.tokens[self.at].is_word() => self.mention(module),
                _ => self.at += 1,
            }
        }
    }

    fn function(&self) -> Function {
        let extent = self.extent(&self.tokens[self.at..]);
        let last = self.tokens[self.at + extent - 1].line;
        let line = self.line();
        let name = self.ahead(1).to_owned();
        Function { name, line, lines: last + 1 - line, is_method: self.takes_self() }
    }

    /// Whether the function's first parameter is `self`, in whichever form.
    fn takes_self(&self) -> bool {
        let mut generics = 0;
        let mut before = "";
        let parameters = self.tokens[self.at..].iter().map(|token| token.text).skip_while(|text| {
            match *text {
                "<" => generics += 1,
                ">" if before != "-" => generics -= 1,
                _ => {}
            }
            before = text;
            *text != "(" || generics > 0
        });
        parameters.skip(1).find(|text| !["&", "mut"].contains(text)) == Some("self")
    }

    /// A path such as `crate::oci::Digest`, or a word that may be one. What follows a dot is a field
    /// or a method, and what follows a type's generics belongs to that type.
    fn mention(&mut self, module: &mut Module) {
        let line = self.line();
        let before = self.at.checked_sub(1).map_or("", |at| self.tokens[at].text);
        let mut path = vec![self.peek().to_owned()];
        self.at += 1;
        while self.peek() == "::" && self.tokens.get(self.at + 1).is_some_and(Token::is_word) {
            path.push(self.ahead(1).to_owned());
            self.at += 2;
        }
        match before {
            "." if self.is_call() => module.calls.push(Call { method: path.swap_remove(0), line }),
            "." | "::" => {}
            _ => module.mentions.push(Mention { path, line }),
        }
    }

    /// Whether parentheses follow, or the generics of a call.
    fn is_call(&self) -> bool {
        self.peek() == "(" || (self.peek() == "::" && self.ahead(1) == "<")
    }

    /// Reads a group in brackets of any kind, the brackets with it.
    fn group(&mut self) -> &'a [Token<'a>] {
        let start = self.at;
        let mut depth = 0;
        loop {
            depth += depth_of(self.peek());
            self.at += 1;
            if depth == 0 || self.is_over() {
                return &self.tokens[start..self.at];
            }
        }
    }

    /// How many of `tokens` belong to the item, statement or field that they begin with.
    fn extent(&self, tokens: &[Token<'_>]) -> usize {
        let first = tokens.first().map_or("", |token| token.text);
        let is_constant_function =
            first == "const" && tokens.get(1).is_some_and(|token| token.text == "fn");
        let is_statement = STATEMENTS.contains(&first) && !is_constant_function;
        let is_field = tokens.get(1).is_some_and(|token| token.text == ":");
        let mut depth = 0;
        for (at, token) in tokens.iter().enumerate() {
            depth += depth_of(token.text);
            let is_end = match token.text {
                ";" => depth == 0,
                "," => depth == 0 && is_field,
                "}" => depth == 0 && !is_statement,
                _ => false,
            };
            if is_end {
                return at + 1;
            }
            // The bracket around all of it.
            if depth < 0 {
                return at;
            }
        }
        tokens.len()
    }
}

impl Module {
    fn add_import(&mut self, name: &str, path: &[&str], exported: bool, line: usize) {
        // `a::{self}` is `a`.
        let path = match path {
            [rest @ .., "self"] if !rest.is_empty() => rest,
            path => path,
        };
        let name = if name == "self" { path.last().unwrap_or(&name) } else { name };
        let path = path.iter().map(|&segment| segment.to_owned()).collect();
        self.imports.push(Import { name: name.to_owned(), path, exported, line });
    }
}

fn depth_of(text: &str) -> i32 {
    match text {
        "(" | "[" | "{" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(code: &str) -> Vec<String> {
        let module = Module::parse(code, Tests::LeftOut);
        module
            .imports
            .iter()
            .map(|import| format!("{} = {}", import.name, import.path.join("::")))
            .collect()
    }

    fn mentioned(code: &str) -> Vec<String> {
        let module = Module::parse(code, Tests::LeftOut);
        module.mentions.iter().map(|mention| mention.path.join("::")).collect()
    }

    #[test]
    fn imports_are_read_in_each_form() {
        let cases: [(&str, &[&str]); 8] = [
            ("use crate::oci::Digest;", &["Digest = crate::oci::Digest"]),
            ("use super::a as b;", &["b = super::a"]),
            ("use a::{self as b};", &["b = a"]),
            (
                "pub(crate) use a::{self, b::{C, D as E}, F};",
                &["a = a", "C = a::b::C", "E = a::b::D", "F = a::F"],
            ),
            ("use super::*;", &["* = super::*"]),
            ("use ::url::Url;", &["Url = ::url::Url"]),
            ("fn f() { use crate::x::Y; }", &["Y = crate::x::Y"]),
            ("#[cfg(test)] use a::B; use c::D;", &["D = c::D"]),
        ];
        for (code, expected) in cases {
            assert_eq!(imported(code), expected, "{code}");
        }
    }

    #[test]
    fn paths_are_read_wherever_code_stands_but_not_in_tests() {
        let code = "#[arg(value_parser = values::parse)]\n\
             struct S { a: crate::x::Y, #[cfg(test)] b: crate::test::Z, c: Vec<W> }\n\
             impl S { #[cfg(test)] fn t<A, B>() { crate::test::f() } fn own() { g.h().i::<J>() } }\n\
             #[cfg(test)] mod tests { use crate::test::K; }\n\
             #[cfg(test)] const L: [u8; 2] = { crate::test::M };\n\
             const N: [u8; 2] = { crate::n::O };";
        let found = mentioned(code);
        for path in ["values::parse", "crate::x::Y", "W", "g", "J", "crate::n::O"] {
            assert!(found.iter().any(|found| found == path), "{path} in {found:?}");
        }
        assert!(!found.iter().any(|path| path.starts_with("crate::test") || path == "h"));
    }

    #[test]
    fn tests_can_be_read_as_well() {
        let code = "#[cfg(test)] mod tests { use crate::test::K; }\n#[cfg(test)] mod more;";
        assert_eq!(Module::parse(code, Tests::LeftOut).files.len(), 0);
        let module = Module::parse(code, Tests::Read);
        assert_eq!(module.files.len(), 1);
        assert_eq!(module.inline["tests"].imports[0].name, "K");
    }

    #[test]
    fn items_are_known_by_name_and_kind() {
        let code = "pub struct A; pub(super) const fn b() {} pub async fn c() {} trait D {}\n\
             static mut E: u8 = 0; const F: u8 = { 1 }; impl A { fn g() {} } mod h; mod i { fn j() {} }\n\
             enum K { L }";
        let module = Module::parse(code, Tests::LeftOut);
        let items: Vec<&str> = module.items.keys().map(String::as_str).collect();
        assert_eq!(items, ["A", "D", "E", "F", "K", "b", "c"]);
        assert_eq!(module.items["D"], "trait");
        assert!(module.files.contains("h"));
        assert!(module.inline["i"].items.contains_key("j"));
    }

    #[test]
    fn functions_are_measured_from_their_name_to_their_brace() {
        let code = "/// Says.\n#[a]\nfn f(\n  a: [u8; 2],\n) {\n  ;\n}\nimpl A {\n  fn g() {}\n}\n\
             trait T { fn h(); }";
        let module = Module::parse(code, Tests::LeftOut);
        let found: Vec<(&str, usize, usize)> =
            module.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("f", 3, 5), ("g", 9, 1), ("h", 11, 1)]);
    }

    #[test]
    fn methods_and_their_calls_are_told_from_functions_and_fields() {
        let code = "impl A { fn a(&self) {} fn b<F: Fn(u8)>(mut self, f: F) {} fn c(s: u8) {} }\n\
             fn d() { x.e().f::<Y>(); x.g.h(); C::i(x); x.await; j(); self\n.k() }";
        let module = Module::parse(code, Tests::LeftOut);
        let methods: Vec<&str> =
            module.functions.iter().filter(|f| f.is_method).map(|f| f.name.as_str()).collect();
        assert_eq!(methods, ["a", "b"]);
        let calls: Vec<(&str, usize)> =
            module.calls.iter().map(|call| (call.method.as_str(), call.line)).collect();
        assert_eq!(calls, [("e", 2), ("f", 2), ("h", 2), ("k", 3)]);
    }

    #[test]
    fn the_lines_of_tests_are_told_apart() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n";
        assert_eq!(Module::parse(code, Tests::LeftOut).test_lines, 4);
    }
}
