//! How other kinds and the values of charts write images apart from `image: NAME`: in parts, and in lists
//! below `images`. What may mean something else is told, and not taken.

use crate::lists::yaml::Node;

/// Members that are a part of an image's name, or of an entry of a list of images.
const PARTS: [&str; 11] = [
    "registry",
    "repository",
    "image",
    "tag",
    "version",
    "digest",
    "sha",
    "name",
    "newName",
    "newTag",
    "url",
];

/// Members by which one with `repository` and `tag` is known to be an image: charts write them beside.
const BESIDE_IMAGES: [&str; 4] = ["registry", "pullPolicy", "imagePullPolicy", "pullSecrets"];

/// What a text is, by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of a list: `images: [a, b]`.
    Listed,
    /// Somewhere below such a list, under a name of its own; or what is called `sidecarImage`.
    Named,
    /// Nothing of ours.
    Other,
}

impl Role {
    /// That of a text at `path`.
    pub(super) fn at(path: &str) -> Self {
        let mut names = path.rsplit('.');
        let last = names.next().unwrap_or_default();
        if is_list(last) {
            return Self::Listed;
        }
        let is_part = PARTS.contains(&last);
        match !is_part && (ends_in(last, "image") || names.any(is_list)) {
            true => Self::Named,
            false => Self::Other,
        }
    }
}

/// Whether a mapping at `path` is an image, if it has the parts of one.
pub(super) fn is_image(path: &str) -> bool {
    let mut names = path.rsplit('.');
    let last = names.next().unwrap_or_default();
    ends_in(last, "image") || is_list(last) || names.any(is_list)
}

/// Whether a member called so holds images: `images`, `additionalImages`, `imageList`.
fn is_list(name: &str) -> bool {
    ends_in(name, "images") || ends_in(name, "imagelist") || ends_in(name, "image_list")
}

/// Whether `name` is `word`, or ends with it as a word of its own.
fn ends_in(name: &str, word: &str) -> bool {
    let Some(begin) = name.len().checked_sub(word.len()) else { return false };
    let (Some(before), Some(end)) = (name.get(..begin), name.get(begin..)) else { return false };
    let is_whole = before.is_empty() || before.ends_with(['_', '-']);
    end.eq_ignore_ascii_case(word) && (is_whole || end.starts_with(char::is_uppercase))
}

/// What a text says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Explicit {
    /// Whether it has a tag or a digest.
    pub(super) version: bool,
    /// Whether it begins with a registry's host.
    pub(super) host: bool,
}

impl Explicit {
    /// Of what should be a reference.
    pub(super) fn of(text: &str) -> Self {
        let (first, rest) = text.split_once('/').unwrap_or(("", text));
        let last = rest.rsplit('/').next().unwrap_or_default();
        let host = first.contains(['.', ':']) || first == "localhost";
        Self { version: last.contains([':', '@']), host }
    }
}

/// Argo's `NAME=NEWNAME:TAG` without the former.
pub(super) fn without_old_name(text: &str) -> &str {
    text.split_once('=').map_or(text, |(_, new)| new)
}

/// An image in parts.
#[derive(Debug)]
pub(super) struct Parts {
    /// All of them, put together; or what its version is lacking.
    pub(super) image: Result<Node, &'static str>,
    /// Whether it can be nothing else.
    pub(super) is_sure: bool,
    /// Whether `image` is one of them.
    pub(super) takes_image: bool,
}

/// The image that the members of `node`, at `path`, are the parts of: `registry`, `repository` or `image`,
/// and `tag` or `digest`, as charts have them; `repository`, `image` and `version`, as NVIDIA's operators
/// have them; or `name`, `newName` and `newTag`, as kustomize has them.
pub(super) fn parts(node: &Node, path: &str) -> Option<Parts> {
    let text = |name| node.text_of(name).map(str::trim).filter(|text| !text.is_empty());
    let has = |name: &str| node.get(name).is_some();
    if let Some(tag) = text("newTag") {
        let name = node.get("newName").or_else(|| node.get("name"))?;
        let image = Ok(Node::scalar(name.line, format!("{}:{tag}", name.text()?), false));
        return Some(Parts { image, is_sure: true, takes_image: false });
    }
    let base = text("repository");
    let short = text("image").filter(|image| !Explicit::of(image).version);
    let named = text("name").filter(|_| ends_in(last_of(path), "image"));
    let (name, key) = match (base, short, named) {
        (Some(base), Some(short), _) => (format!("{base}/{short}"), "image"),
        (Some(base), None, _) => (base.to_owned(), "repository"),
        (None, Some(short), _) if has("tag") => (short.to_owned(), "image"),
        (None, None, Some(named)) if has("tag") => (named.to_owned(), "name"),
        _ => return None,
    };
    let line = node.get(key)?.line;
    let takes_image = key == "image";
    let is_sure = key != "repository" || BESIDE_IMAGES.into_iter().any(has);
    let registry = text("registry").filter(|_| !Explicit::of(&name).host);
    let registry = registry.map(|host| format!("{host}/")).unwrap_or_default();
    let version = || text("version").filter(|_| base.is_some());
    let tag = text("tag").or_else(version).map(|tag| format!(":{tag}"));
    let digest = text("digest").or_else(|| text("sha")).map(|digest| match digest.contains(':') {
        true => format!("@{digest}"),
        false => format!("@sha256:{digest}"),
    });
    if tag.is_none() && digest.is_none() && !Explicit::of(&name).version {
        let lacks = if has("tag") { "its `tag` is empty" } else { "it says no version" };
        return Some(Parts { image: Err(lacks), is_sure: has("tag") || takes_image, takes_image });
    }
    let [tag, digest] = [tag, digest].map(Option::unwrap_or_default);
    let image = Ok(Node::scalar(line, format!("{registry}{name}{tag}{digest}"), false));
    Some(Parts { image, is_sure, takes_image })
}

fn last_of(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_members_tell_what_is_below() {
        for (path, role) in [
            ("spec.images", Role::Listed),
            ("additionalImages", Role::Listed),
            ("spec.image_list", Role::Listed),
            ("spec.images.proxy", Role::Named),
            ("images.tags.nova_api", Role::Named),
            ("spec.sidecarImage", Role::Named),
            ("defaults.init-image", Role::Named),
            ("images.proxy.tag", Role::Other),
            ("spec.imagePullPolicy", Role::Other),
            ("spec.pilgrimage", Role::Other),
            ("spec.template", Role::Other),
        ] {
            assert_eq!(Role::at(path), role, "{path}");
        }
    }

    #[test]
    fn texts_tell_whether_they_can_be_nothing_but_an_image() {
        for (text, version, host) in [
            ("nginx", false, false),
            ("nginx:1", true, false),
            ("team/app", false, false),
            ("quay.io/team/app", false, true),
            ("localhost/app", false, true),
            ("reg:5000/app", false, true),
            ("reg:5000/app:1", true, true),
            ("app@sha256:aa", true, false),
        ] {
            assert_eq!(Explicit::of(text), Explicit { version, host }, "{text}");
        }
    }
}
