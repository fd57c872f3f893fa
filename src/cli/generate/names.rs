//! What Kubernetes takes as a name, a label, a variable and a path, so that a mistake is told here and
//! not by the cluster, or by a pod that does not start.
//!
//! The rules are those of
//! [its API](https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).

use std::path::{Component, Path, PathBuf};

/// Longest DNS label, and longest part of a label's key or value, in bytes (RFC 1123).
const MAX_LABEL_BYTES: usize = 63;
/// Longest DNS name, in bytes (RFC 1123).
const MAX_NAME_BYTES: usize = 253;

/// A name of an object and of a namespace.
///
/// # Errors
/// What such a name is made of.
pub(super) fn dns_label(text: &str) -> Result<String, String> {
    match text.len() <= MAX_LABEL_BYTES && is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a name in Kubernetes has lower case letters, digits and dashes between them, {MAX_LABEL_BYTES} at most"
        )),
    }
}

/// A name of a Secret or of a node, which may have dots.
///
/// # Errors
/// What such a name is made of.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    match is_dns_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "such a name in Kubernetes has lower case letters, digits, and dashes and dots between them, \
             {MAX_NAME_BYTES} at most"
        )),
    }
}

/// `KEY=VALUE` of a node's label.
///
/// # Errors
/// What a label is made of.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is written KEY=VALUE")?;
    let (prefix, name) =
        key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !prefix.is_none_or(is_dns_name) || !is_label_part(name) {
        return Err(format!(
            "a label's key is NAME or DOMAIN/NAME, where NAME has letters, digits, and dashes, dots and \
             underscores between them, {MAX_LABEL_BYTES} at most"
        ));
    }
    if !value.is_empty() && !is_label_part(value) {
        return Err(format!(
            "a label's value has letters, digits, and dashes, dots and underscores between them, \
             {MAX_LABEL_BYTES} at most"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `NAME=VALUE` of a container's environment.
///
/// # Errors
/// What its name is made of.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is written NAME=VALUE")?;
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let begins = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    match begins && name.bytes().all(is_inner) && !name.starts_with("..") && name != "." {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err(
            "a variable's name has letters, digits, dashes, dots and underscores, and no digit \
                      at its beginning"
                .to_owned(),
        ),
    }
}

/// A path of the nodes that can be mounted at the same path in a pod, without what is superfluous in it.
///
/// # Errors
/// What Kubernetes has against it.
pub(super) fn node_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("the path must be absolute".to_owned());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("Kubernetes takes no path with ..".to_owned());
    }
    if text.contains(':') {
        return Err("Kubernetes mounts no path with a colon".to_owned());
    }
    let path: PathBuf = path.components().collect();
    match path.parent() {
        Some(_) => Ok(path),
        None => Err("a pod's own / can't be the node's".to_owned()),
    }
}

fn is_dns_label(text: &str) -> bool {
    is_between(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), b"-")
}

fn is_dns_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_dns_label)
}

/// A part of a label's key, or its value.
fn is_label_part(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && is_between(text, |byte| byte.is_ascii_alphanumeric(), b"-._")
}

/// Whether `text` begins and ends with what `is_end` takes, and has nothing else but `inner` between them.
fn is_between(text: &str, is_end: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.into_iter().all(|end| end.is_some_and(|&end| is_end(end)))
        && bytes.iter().all(|byte| is_end(*byte) || inner.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        let long = "a".repeat(64);
        for (text, is_label, is_name) in [
            ("seed", true, true),
            ("7", true, true),
            ("a-b", true, true),
            (&long[..63], true, true),
            (&long[..], false, true),
            (&"a.".repeat(127)[..253], false, true),
            (&"a.".repeat(128)[..255], false, false),
            ("worker-7.example.net", false, true),
            ("", false, false),
            ("Seed", false, false),
            ("kube_system", false, false),
            ("-seed", false, false),
            ("seed-", false, false),
            ("a..b", false, false),
            ("a.-b", false, false),
            ("münchen", false, false),
            ("a\nb", false, false),
        ] {
            assert_eq!(dns_label(text).is_ok(), is_label, "{text}");
            assert_eq!(dns_name(text).is_ok(), is_name, "{text}");
        }
    }

    #[test]
    fn labels_are_those_that_kubernetes_takes() {
        let long = format!("a={}", "b".repeat(64));
        for (text, is_one) in [
            ("gpu=true", true),
            ("node-role.kubernetes.io/control-plane=", true),
            ("Tier=A_b.c-d", true),
            (&long[..65], true),
            (&long[..], false),
            ("gpu", false),
            ("=true", false),
            ("/gpu=true", false),
            ("Example.net/gpu=true", false),
            ("a/b/c=true", false),
            ("gpu=-true", false),
            ("gpu=a=b", false),
            ("gpu=a b", false),
        ] {
            assert_eq!(label(text).is_ok(), is_one, "{text}");
        }
        assert_eq!(label("a.io/b=c").unwrap(), ("a.io/b".to_owned(), "c".to_owned()));
    }

    #[test]
    fn variables_have_names_and_any_value() {
        for (text, is_one) in [
            ("HTTPS_PROXY=http://a:b@c=d", true),
            ("empty=", true),
            ("a.b-c=1", true),
            ("=1", false),
            ("A", false),
            ("1A=1", false),
            ("A B=1", false),
            ("..=1", false),
        ] {
            assert_eq!(variable(text).is_ok(), is_one, "{text}");
        }
    }

    #[test]
    fn paths_are_absolute_and_can_be_mounted() {
        for (text, expected) in [
            ("/etc/pki", Some("/etc/pki")),
            ("/etc//pki/./ca/", Some("/etc/pki/ca")),
            ("etc/pki", None),
            ("", None),
            ("/", None),
            ("//.", None),
            ("/etc/../root", None),
            ("/etc/a:b", None),
        ] {
            assert_eq!(node_path(text).ok().as_deref(), expected.map(Path::new), "{text}");
        }
    }
}
