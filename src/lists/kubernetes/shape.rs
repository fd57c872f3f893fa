//! Kinds that nobody told us of: what in them looks like a pod, or is called `image`.

use super::found::{Found, Object};
use super::pod::{CONTAINERS, secret_names};
use crate::lists::error::Error;
use crate::lists::listed::PodLogins;
use crate::lists::yaml::{Node, Value};

/// Most values that are looked at in one object (4 million): aliases may stand for billions.
const MAX_STEPS: usize = 4_000_000;

/// Members of an object that tell of it and do not say what is wanted: a status names images by other
/// names.
const NOT_WANTED: [&str; 2] = ["metadata", "status"];

/// Looks for images in an object of an unknown `kind`.
pub(super) fn look_through(
    found: &mut Found<'_>,
    node: &Node,
    kind: Option<&str>,
) -> Result<(), Error> {
    let object = Object::of(node, kind.unwrap_or("document"), false);
    let (before, kind) = (found.list.images.len(), object.kind.to_owned());
    let mut walk = Walk { found, object, steps: 0 };
    for (name, member) in node.members() {
        if !NOT_WANTED.contains(&name.as_str()) {
            walk.member(name, member, node, "")?;
        }
    }
    walk.inherit(before, &secret_names(node));
    *found.looked_through.entry(kind).or_default() += found.list.images.len() - before;
    Ok(())
}

/// A walk through one object.
struct Walk<'w, 'f> {
    found: &'w mut Found<'f>,
    object: Object<'w>,
    steps: usize,
}

impl Walk<'_, '_> {
    /// Looks at `node`, which stands at `path`.
    fn node(&mut self, node: &Node, path: &str) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            let problem =
                format!("the aliases of an object stand for more than {MAX_STEPS} values");
            return Err(Error::TooMuch { place: self.found.place(node), problem });
        }
        let before = self.found.list.images.len();
        match &node.value {
            Value::Scalar { .. } => Ok(()),
            Value::Sequence(elements) => {
                elements.iter().try_for_each(|element| self.node(element, path))
            }
            Value::Mapping(members) => {
                for (name, member) in members {
                    self.member(name, member, node, path)?;
                }
                self.inherit(before, &secret_names(node));
                Ok(())
            }
        }
    }

    /// Looks at the member `name` of `holder`, which stands at `path`.
    fn member(
        &mut self,
        name: &str,
        member: &Node,
        holder: &Node,
        path: &str,
    ) -> Result<(), Error> {
        let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if name != "image" {
            return self.node(member, &field);
        }
        match &member.value {
            // A switch, or nothing: what is in force elsewhere counts.
            Value::Scalar { .. } if member.is_boolean() || member.is_null() => Ok(()),
            Value::Scalar { .. } => {
                let last = path.rsplit('.').next().unwrap_or_default();
                let what = CONTAINERS.iter().find(|(list, _)| *list == last);
                let field = match (what, holder.text_of("name")) {
                    (Some((_, what)), Some(name)) => format!("{what} {name}"),
                    _ => field,
                };
                self.found.image(Some(member), holder, &self.object, &field)
            }
            Value::Mapping(_) if self.found.is_template(member) => {
                Err(Error::Template { place: self.found.place(member) })
            }
            // A volume, or a chart's way to write one.
            Value::Mapping(_) if member.get("reference").is_some() => {
                self.found.image(member.get("reference"), member, &self.object, &field)
            }
            Value::Mapping(_) if member.get("repository").is_some() => match composed(member) {
                Some(image) => self.found.image(Some(&image), member, &self.object, &field),
                None => self.node(member, &field),
            },
            Value::Mapping(_) | Value::Sequence(_) => self.node(member, &field),
        }
    }

    /// Lets the images from `before` on that have no logins yet have those of the Secrets `names`.
    fn inherit(&mut self, before: usize, names: &[String]) {
        if names.is_empty() {
            return;
        }
        for image in self.found.list.images.iter_mut().skip(before) {
            let namespace = self.object.namespace.map(str::to_owned);
            let logins = PodLogins { namespace, secrets: names.to_vec() };
            image.logins.get_or_insert(logins);
        }
    }
}

/// `registry`, `repository` and `tag` or `digest` as one text.
fn composed(image: &Node) -> Option<Node> {
    let member = |name| image.text_of(name).filter(|text| !text.is_empty());
    let repository = image.get("repository")?;
    let registry = member("registry").map(|host| format!("{host}/")).unwrap_or_default();
    let tag = member("tag").or(member("version")).map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = member("digest").or(member("sha"));
    let digest = digest.map(|digest| match digest.contains(':') {
        true => format!("@{digest}"),
        false => format!("@sha256:{digest}"),
    });
    let name = repository.text().filter(|text| !text.is_empty())?;
    // Without either it is a default's rest, which the operator fills in.
    if tag.is_empty() && digest.is_none() {
        return None;
    }
    let text = format!("{registry}{name}{tag}{}", digest.unwrap_or_default());
    Some(Node::scalar(repository.line, text, false))
}
