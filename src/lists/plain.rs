//! Lists of one reference a line: `REF [platform=PLATFORM] [pin] [as=NAME]`.

use std::path::Path;

use super::error::{Error, Place};
use super::listed::{List, Listed, Origin};

/// The images of `text`, the content of `path`.
///
/// # Errors
/// The first line that is none.
pub(super) fn parse(path: &Path, text: &str) -> Result<List, Error> {
    let mut list = List::default();
    for (position, line) in text.lines().enumerate() {
        let words = without_comment(line);
        if !words.is_empty() {
            list.images.push(listed(Place::new(path, position + 1), words)?);
        }
    }
    Ok(list)
}

/// No reference holds a blank, so what follows one and a `#` is a comment too.
fn without_comment(line: &str) -> &str {
    let begins = |(position, _): &(usize, &str)| {
        line.get(..*position)
            .is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
    };
    let line = line.trim();
    let end = line.match_indices('#').find(begins).map_or(line.len(), |(position, _)| position);
    line.get(..end).unwrap_or_default().trim_end()
}

fn listed(place: Place, line: &str) -> Result<Listed, Error> {
    if line.contains("{{") {
        return Err(Error::Template { place });
    }
    let mut words = line.split_whitespace();
    let written = words.next().unwrap_or_default();
    let reference = reference(&place, written)?;
    let mut listed = Listed::new(reference, place.clone(), Origin::line());
    for word in words {
        match word.split_once('=') {
            None if word == "pin" => listed.pin = true,
            Some(("platform", platform)) => {
                let source = |source| Error::Platform { place: place.clone(), source };
                listed.platforms.push(platform.parse().map_err(source)?);
            }
            Some(("as", name)) if listed.name.is_none() => {
                listed.name = Some(self::reference(&place, name)?);
            }
            _ => return Err(Error::Option { place, word: shortened(word) }),
        }
    }
    Ok(listed)
}

/// Reads `written`, which stands at `place`.
///
/// # Errors
/// [`Error::Reference`].
pub(super) fn reference(
    place: &Place,
    written: &str,
) -> Result<crate::reference::Reference, Error> {
    written.parse().map_err(|source| Error::Reference {
        place: place.clone(),
        written: shortened(written),
        source,
    })
}

fn shortened(word: &str) -> String {
    word.chars().take(80).collect()
}
