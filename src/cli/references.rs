//! References to images, as typed and as listed in files.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::Error;
use crate::reference::Reference;

/// Longest list of images that is read, in bytes (1 MiB): a few thousand references. Something
/// longer is no list.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// What the name `-` stands for in `-f -`.
const STANDARD_INPUT: &str = "-";

/// Every image named by `typed` and in the lists `files`, each once, in order.
///
/// # Errors
/// The first that is no reference, or a list that can't be read.
pub(super) fn read(typed: &[String], files: &[PathBuf]) -> Result<Vec<Reference>, Error> {
    let mut references = Vec::new();
    for text in typed {
        references.push(text.parse::<Reference>()?);
    }
    for path in files {
        references.extend(read_list(path)?);
    }
    let mut seen = HashSet::new();
    references.retain(|reference| seen.insert(reference.clone()));
    if references.is_empty() { Err(Error::NoImages) } else { Ok(references) }
}

/// Whether a list of this name is standard input.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

fn read_list(path: &Path) -> Result<Vec<Reference>, Error> {
    let failed = |source| Error::List { path: path.to_owned(), source };
    let mut text = String::new();
    let input: Box<dyn io::Read> = if is_standard_input(path) {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    input.take(MAX_LIST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_LIST_BYTES {
        return Err(failed(io::Error::other("longer than 1 MiB")));
    }
    parse_list(path, &text)
}

fn parse_list(path: &Path, text: &str) -> Result<Vec<Reference>, Error> {
    // Editors of another system begin a file with a byte order mark.
    text.trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        // No reference holds a space, so what follows ` #` is a comment too.
        .map(|(position, line)| (position + 1, line.split(" #").next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| {
            text.parse().map_err(|source| Error::ListLine { path: path.to_owned(), line, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Diagnose as _, Failure};

    #[test]
    fn a_list_may_have_blank_lines_and_comments() {
        let text = "\u{feff}\n# for kubeadm\nregistry.k8s.io/pause:3.6  # sandbox\n\tbusybox\n";
        let names: Vec<_> =
            parse_list(Path::new("list"), text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["registry.k8s.io/pause:3.6", "docker.io/library/busybox:latest"]);
    }

    #[test]
    fn a_bad_line_of_a_list_is_named() {
        let error = parse_list(Path::new("list"), "busybox\nBad/Name:x y\n").unwrap_err();
        assert!(error.to_string().starts_with("list:2: "), "{error}");
        assert_eq!(error.failure(), Failure::Usage);
    }
}
