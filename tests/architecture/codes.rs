//! The codes that JSON tells, beside the documents that list them and the tests that show them: findings
//! of `doctor` and of `check`, probes, warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{none, root, rust_files};

/// Codes of what is said to people alone, by a command that has no JSON.
const FOR_PEOPLE: [&str; 2] = ["pod-logins-left-out", "list-long-for-apply"];

/// The name that a line declares: of a function, or of a constant at the left margin.
fn declared(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("//") {
        return None;
    }
    let mut words = line.split_whitespace().skip_while(|word| *word != "fn");
    let function = words.next().and(words.next());
    let constant = line.strip_prefix("const ").or(line.strip_prefix("pub(crate) const "));
    function.or(constant)?.split(['(', '<', ':']).next()
}

/// Every function of the crate and of its tests by its name, with its text up to the next one, and with
/// the constants that it names.
fn functions() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in ["src", "tests/it"].iter().flat_map(|place| rust_files(&root().join(place))) {
        let text = fs::read_to_string(&file).unwrap();
        let mut own: BTreeMap<&str, String> = BTreeMap::new();
        let mut name = "";
        for line in text.lines() {
            name = declared(line).unwrap_or(name);
            own.entry(name).or_default().push_str(line);
        }
        let is_constant = |name: &str| name.bytes().all(|byte| !byte.is_ascii_lowercase());
        let constants: Vec<(&str, String)> = own
            .iter()
            .filter(|(name, _)| !name.is_empty() && is_constant(name))
            .map(|(name, text)| (*name, text.clone()))
            .collect();
        for (name, mut text) in own {
            let named = constants.iter().filter(|(constant, _)| text.contains(constant));
            let more: String = named.map(|(_, text)| text.as_str()).collect();
            text.push_str(&more);
            found.entry(name.to_owned()).or_insert_with(String::new).push_str(&text);
        }
    }
    found
}

/// A file's text without its unit tests.
fn own_text(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod").next().unwrap_or_default().to_owned()
}

/// Whether it is of the crate itself, and not of the tests below `src`.
fn is_own(path: &Path) -> bool {
    !path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "testing.rs")))
}

/// Every text in quotes that could be a code.
fn words(text: &str) -> BTreeSet<String> {
    let is_of_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_word = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(is_of_code)
    };
    // What is between the quotes of one text and the next has spaces or brackets.
    text.split('"').filter(is_word).map(str::to_owned).collect()
}

/// The texts in quotes that stand behind one of `begins`, whatever is broken into lines.
fn behind(text: &str, begins: &[&str]) -> BTreeSet<String> {
    let text: String = text.split_whitespace().collect();
    let after = begins.iter().flat_map(|begin| text.split(begin).skip(1));
    let quoted = after.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    quoted.map(str::to_owned).collect()
}

/// The codes of events of the kind `warning`, and of `warnings`.
fn warnings() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let probe = root().join("src/registry/probe");
    for file in rust_files(&root().join("src")) {
        if is_own(&file) && !file.starts_with(&probe) {
            found.extend(behind(&own_text(&file), &["Notice::new("]));
        }
    }
    // These come out of tables.
    for file in ["src/config/warning.rs", "src/transfer/sinks/containerd/witness.rs"] {
        let text = own_text(&root().join(file));
        found.extend(codes(&text).into_iter().map(str::to_owned));
    }
    found.retain(|code| !FOR_PEOPLE.contains(&code.as_str()));
    found
}

/// The codes of probes.
fn probes() -> BTreeSet<String> {
    let mut found = words(&own_text(&root().join("src/registry/probe/code.rs")));
    for file in rust_files(&root().join("src/registry/probe")) {
        let begins = ["Notice::new(", "code:Some(", "code:", "constWORKS:&str="];
        found.extend(behind(&own_text(&file), &begins));
    }
    found
}

/// The codes of checks.
fn checks() -> BTreeSet<String> {
    let mut found = words(&own_text(&root().join("src/unpack/difference.rs")));
    found.extend(behind(&own_text(&root().join("src/cli/check.rs")), &["code:"]));
    for file in rust_files(&root().join("src/check")) {
        let begins = ["Finding::new(", "add(report,", ".remark("];
        found.extend(behind(&own_text(&file), &begins));
    }
    found
}

/// Whether a test's text has the code. One of a single word may be any text's word.
fn meets(text: &str, code: &str) -> bool {
    text.contains(&format!("\"{code}\"")) || code.contains('-') && text.contains(code)
}

/// What is wrong with the rows of a document: each names a test that has its code, what is `emitted` has
/// one, and no other.
fn compare(document: &str, text: &str, emitted: &BTreeSet<String>) -> Vec<String> {
    let functions = functions();
    let mut wrong = Vec::new();
    let mut told = BTreeSet::new();
    for row in rows(text) {
        let [code, .., test] = row.as_slice() else { continue };
        let (code, test) = (code.trim_matches('`'), test.trim_matches('`'));
        told.insert(code.to_owned());
        match functions.get(test.rsplit("::").next().unwrap_or_default()) {
            None => wrong.push(format!("{document}: there is no test {test}")),
            Some(text) if !meets(text, code) => {
                wrong.push(format!("{document}: {test} does not meet {code}"));
            }
            Some(_) => {}
        }
    }
    let missing = emitted.difference(&told).map(|code| format!("{document} has no {code}"));
    let stale = told.difference(emitted).map(|code| format!("{document}: nobody tells {code}"));
    wrong.extend(missing.chain(stale));
    wrong
}

/// What a document has below this heading, up to the next one of its kind.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_default();
    below.split("\n## ").next().unwrap_or_default()
}

/// The texts in quotes that are codes: two words or more in small letters, with dashes, and whatever a
/// finding begins with.
fn codes(text: &str) -> BTreeSet<&str> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let is_code = |quoted: &&str| quoted.contains('-') && quoted.split('-').all(is_word);
    let begins = ["Finding::error(", "Finding::warning(", "Finding::note("];
    let of_finding = |begin: &'static str| {
        let quoted = |rest: &'_ str| rest.trim_start().starts_with('"');
        let after = text.split(begin).skip(1).filter(move |rest| quoted(rest));
        after.filter_map(|rest| rest.split('"').nth(1))
    };
    text.split('"').filter(is_code).chain(begins.into_iter().flat_map(of_finding)).collect()
}

/// The columns of a table's rows, without backticks.
fn rows(text: &str) -> Vec<Vec<String>> {
    let is_row = |line: &&str| line.starts_with("| `");
    let column = |column: &str| column.trim().to_owned();
    let columns = |line: &str| line.trim_matches('|').split('|').map(column).collect();
    text.lines().filter(is_row).map(columns).collect()
}

#[test]
fn each_code_of_doctor_has_a_line_and_a_test_that_meets_it() {
    let mut emitted = BTreeSet::new();
    for file in rust_files(&root().join("src/doctor")) {
        // What the network answers has the codes of a probe, and `serde` a word of its own.
        if !file.ends_with("network.rs") && !file.ends_with("finding.rs") {
            let text = fs::read_to_string(&file).unwrap();
            let own = text.split("#[cfg(test)]").next().unwrap_or_default();
            emitted.extend(codes(own).into_iter().map(str::to_owned));
        }
    }
    let document = fs::read_to_string(root().join("docs/doctor.md")).unwrap();
    none(&compare("docs/doctor.md", &document, &emitted));
}

#[test]
fn each_code_of_warnings_probes_and_checks_has_a_line_and_a_test_that_meets_it() {
    let document = fs::read_to_string(root().join("docs/codes.md")).unwrap();
    let mut wrong = Vec::new();
    for (heading, emitted) in [("Warnings", warnings()), ("Probes", probes()), ("Checks", checks())]
    {
        assert!(emitted.len() > 20, "{heading}: {emitted:?}");
        let place = format!("docs/codes.md, {heading}");
        wrong.extend(compare(&place, section(&document, heading), &emitted));
    }
    none(&wrong);
}

#[test]
fn each_entry_of_troubleshooting_names_a_test() {
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let functions = functions();
    let mut wrong = Vec::new();
    for entry in text.split("\n### ").skip(1) {
        let (title, body) = entry.split_once('\n').unwrap_or((entry, ""));
        let body = body.split("\n## ").next().unwrap_or_default();
        let shown = body.split_once("Shown by").map_or("", |(_, tests)| tests);
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            wrong.push(format!("docs/troubleshooting.md: {title}: no test shows it"));
        }
        for test in tests {
            if !functions.contains_key(test.rsplit("::").next().unwrap_or_default()) {
                wrong.push(format!("docs/troubleshooting.md: {title}: there is no test {test}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn codes_are_known_from_other_texts() {
    let text = "Finding::note(\n\"left\", what, \"a why\"); (\"a-b\"); arg(\"--version\"); \"cri\"; \
                Finding::error(code, \"no\")";
    assert_eq!(codes(text), BTreeSet::from(["left", "a-b"]));
    assert_eq!(words(text), ["left", "a-b", "cri", "no"].map(str::to_owned).into());
    let begins = ["Finding::note(", "error("];
    assert_eq!(behind(text, &begins), BTreeSet::from(["left".to_owned()]));
    assert_eq!(declared("    fn a<'b>(c: D)"), Some("a"));
    assert_eq!(declared("const E: F = G;"), Some("E"));
    assert_eq!(declared("// fn h()"), None);
    let table = "| code | test |\n|---|---|\n| `a-b` | x | `c::d` |\n";
    assert_eq!(rows(table), [["`a-b`", "x", "`c::d`"].map(str::to_owned)]);
}
