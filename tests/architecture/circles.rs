//! Files that need each other, directly or around: the strongly connected components of a graph, by
//! Tarjan's algorithm (<https://en.wikipedia.org/wiki/Tarjan%27s_strongly_connected_components_algorithm>).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::house::Need;

/// The circles among `needs`, each with the needs that close it, as text.
pub(crate) fn circles(needs: &BTreeSet<Need>) -> Vec<String> {
    let mut graph: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for need in needs {
        graph.entry(&need.from).or_default().insert(&need.to);
        graph.entry(&need.to).or_default();
    }
    components(&graph).iter().filter(|files| files.len() > 1).map(|f| told(f, needs)).collect()
}

/// One line for each pair of files, with the first item that the one needs of the other.
fn told(files: &BTreeSet<&Path>, needs: &BTreeSet<Need>) -> String {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let mut text = format!("{} need each other:", names.join(", "));
    let mut pairs = BTreeSet::new();
    for need in needs {
        let Need { from, to, item, line } = need;
        let is_inside = files.contains(from.as_path()) && files.contains(to.as_path());
        if is_inside && pairs.insert((from, to)) {
            text += &format!("\n  src/{}:{line} needs {item} of {}", from.display(), to.display());
        }
    }
    text
}

fn components<'a>(graph: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> Vec<BTreeSet<&'a Path>> {
    let mut search =
        Search { graph, numbers: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for &file in graph.keys() {
        if !search.numbers.contains_key(file) {
            search.visit(file);
        }
    }
    search.found
}

struct Search<'g, 'a> {
    graph: &'g BTreeMap<&'a Path, BTreeSet<&'a Path>>,
    /// In which order files were met.
    numbers: BTreeMap<&'a Path, usize>,
    /// Files met whose component isn't complete.
    stack: Vec<&'a Path>,
    found: Vec<BTreeSet<&'a Path>>,
}

impl<'a> Search<'_, 'a> {
    /// Visits what `file` needs, and returns the earliest file on the stack that this leads to.
    fn visit(&mut self, file: &'a Path) -> usize {
        let number = self.numbers.len();
        self.numbers.insert(file, number);
        self.stack.push(file);
        let mut earliest = number;
        for &other in &self.graph[file] {
            if !self.numbers.contains_key(other) {
                earliest = earliest.min(self.visit(other));
            } else if self.stack.contains(&other) {
                earliest = earliest.min(self.numbers[other]);
            }
        }
        if earliest == number {
            let at = self.stack.iter().rposition(|&met| met == file).unwrap_or(0);
            self.found.push(self.stack.split_off(at).into_iter().collect());
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files, and files that they need.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn found(pairs: Pairs<'_>) -> Vec<String> {
        let need = |(from, to): &(&str, &str)| Need {
            from: from.into(),
            to: to.into(),
            item: "X".into(),
            line: 1,
        };
        let told = circles(&pairs.iter().map(need).collect());
        told.iter().map(|text| text.split(" need").next().unwrap_or_default().into()).collect()
    }

    #[test]
    fn circles_are_found_however_long_and_told_apart() {
        let cases: [(Pairs<'_>, &[&str]); 5] = [
            (&[("a", "b"), ("b", "c"), ("a", "c")], &[]),
            (&[("a", "b"), ("b", "a")], &["a, b"]),
            (&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")], &["a, b, c"]),
            (&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c")], &["c, d", "a, b"]),
            (&[("a", "c"), ("b", "c"), ("c", "d"), ("d", "b")], &["b, c, d"]),
        ];
        for (pairs, expected) in cases {
            assert_eq!(found(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_circle_is_told_with_what_closes_it() {
        let house = crate::house::tests::house(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B;\npub struct A(B);"),
            ("b.rs", "pub struct B; fn f(_: crate::a::A) {}"),
        ]);
        assert_eq!(
            circles(&house.needs()),
            [
                "a.rs, b.rs need each other:\n  src/a.rs:2 needs B of b.rs\n  src/b.rs:1 needs A of a.rs"
            ]
        );
    }

    #[test]
    fn a_room_that_uses_a_child_which_uses_the_room_is_a_circle() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; pub use b::B; pub struct A; fn f(_: B) {}"),
            ("a/b.rs", "pub struct B; fn f(_: super::A) {}"),
        ];
        assert_eq!(circles(&crate::house::tests::house(&files).needs()).len(), 1);
        let handed_on = ("a/mod.rs", "mod b; pub use b::B; pub struct A;");
        let files = [files[0], handed_on, files[2]];
        assert_eq!(circles(&crate::house::tests::house(&files).needs()).len(), 0);
    }
}
