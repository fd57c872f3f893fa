//! Rules by which a repository has another name at a host: `rewrite` of k3s's and RKE2's hosts.toml.
//!
//! Upstream containerd passes over them; the nodes that have them are of a fork that obeys. See
//! <https://docs.k3s.io/installation/private-registry#rewrites>.

use std::fmt;

use regex::Regex;

/// A pattern and what takes the place of what it fits, by Go's syntax for both.
#[derive(Clone)]
pub struct Rewrite {
    pattern: Regex,
    replacement: String,
}

impl Rewrite {
    /// A rule.
    ///
    /// # Errors
    /// Why `pattern` is none, or that `replacement` has what no URL's path has as it is.
    pub(crate) fn new(pattern: &str, replacement: &str) -> Result<Self, RewriteError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/${}".contains(c);
        match replacement.chars().find(|c| !fits(*c)) {
            Some(character) => Err(RewriteError::Character(character)),
            None => Ok(Self { pattern: Regex::new(pattern)?, replacement: replacement.to_owned() }),
        }
    }

    /// What `repository` is called instead; `None` where the rule changes nothing, so that the next
    /// one is asked.
    pub(crate) fn apply(&self, repository: &str) -> Option<String> {
        let changed = self.pattern.replace_all(repository, self.replacement.as_str());
        if changed == repository {
            return None;
        }
        // It becomes part of a URL's path, which the fork cleans as well.
        let segments = changed.split('/').filter(|segment| !matches!(*segment, "" | "." | ".."));
        Some(segments.collect::<Vec<_>>().join("/"))
    }
}

/// Why a text is no rule.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    #[error("is no regular expression")]
    Pattern(#[from] regex::Error),
    #[error("is replaced by what has {0:?} in it")]
    Character(char),
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} = {:?}", self.pattern.as_str(), self.replacement)
    }
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.replacement == other.replacement
    }
}

impl Eq for Rewrite {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_replaces_what_it_fits_as_in_go() {
        for (pattern, replacement, repository, expected) in [
            ("^library/(.*)", "hub/$1", "library/busybox", Some("hub/busybox")),
            ("^library/(.*)", "hub/${1}", "library/busybox", Some("hub/busybox")),
            // `$1x` is the group `1x`, which there is not.
            ("^library/(.*)", "hub/$1x", "library/busybox", Some("hub")),
            ("^library/(.*)", "hub/${1}x", "library/busybox", Some("hub/busyboxx")),
            ("(?P<org>[^/]+)/(.+)", "mirror/$org-$2", "team/app", Some("mirror/team-app")),
            ("a", "b", "a/banana", Some("b/bbnbnb")),
            ("^rancher/", "", "rancher/pause", Some("pause")),
            ("/", "/../", "team/app", Some("team/app")),
            ("^other/", "x/", "team/app", None),
            ("(.*)", "$1", "team/app", None),
        ] {
            let rewrite = Rewrite::new(pattern, replacement).unwrap();
            assert_eq!(rewrite.apply(repository).as_deref(), expected, "{rewrite:?} {repository}");
        }
        for (pattern, replacement) in [("(", ""), ("a(?=b)", ""), ("a", "b?c"), ("a", "b%2fc")] {
            assert!(Rewrite::new(pattern, replacement).is_err(), "{pattern} {replacement}");
        }
    }
}
