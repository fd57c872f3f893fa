//! Kinds that nobody told us of: what in them looks like a pod, is called `image`, or lists images.

use super::found::{Found, Object};
use super::pod::{CONTAINERS, secret_names};
use super::written::{self, Explicit, Parts, Role};
use crate::lists::error::Error;
use crate::lists::listed::PodLogins;
use crate::lists::yaml::{Node, Value};
use crate::reference::Reference;

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
    walk.members(node, "", &NOT_WANTED)?;
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
            Value::Scalar { .. } => self.text(node, path),
            Value::Sequence(elements) => {
                elements.iter().try_for_each(|element| self.node(element, path))
            }
            Value::Mapping(_) => {
                self.members(node, path, &[])?;
                self.inherit(before, &secret_names(node));
                Ok(())
            }
        }
    }

    /// Takes `node`, a text at `path`, if images are listed there and it can be nothing else.
    fn text(&mut self, node: &Node, path: &str) -> Result<(), Error> {
        let (role, Some(text)) = (Role::at(path), node.text()) else { return Ok(()) };
        if role == Role::Other || node.is_boolean() {
            return Ok(());
        }
        let name = written::without_old_name(text.trim());
        let Explicit { version, host } = Explicit::of(name);
        let is_reference = name.parse::<Reference>().is_ok();
        let is_meant = version || host && role == Role::Listed;
        if is_reference && is_meant || self.found.is_template_of_helm(text) {
            let image = Node::scalar(node.line, name.to_owned(), false);
            return self.found.image(Some(&image), node, &self.object, path);
        }
        if role == Role::Listed || is_reference && name.contains('/') {
            let why = match is_reference {
                true => "it has no tag, so it may be something else",
                false => "it is no reference",
            };
            self.found.pass_over(&self.found.place(node), why, &self.object);
        }
        Ok(())
    }

    /// Looks at what the mapping `node`, at `path`, is itself, and at its members but for those that are
    /// `left_out`.
    fn members(&mut self, node: &Node, path: &str, left_out: &[&str]) -> Result<(), Error> {
        let parts = written::parts(node, path);
        let takes_image = parts.as_ref().is_some_and(|parts| parts.takes_image);
        if let Some(parts) = parts {
            self.parts(node, path, parts)?;
        }
        for (name, member) in node.members() {
            let is_taken = takes_image && name == "image";
            if !is_taken && !left_out.contains(&name.as_str()) {
                self.member(name, member, node, path)?;
            }
        }
        Ok(())
    }

    /// Takes the image that `node`, at `path`, has the parts of, if it can be nothing else.
    fn parts(&mut self, node: &Node, path: &str, parts: Parts) -> Result<(), Error> {
        let is_sure = parts.is_sure || written::is_image(path);
        match parts.image {
            Ok(image) if is_sure => self.found.image(Some(&image), node, &self.object, path)?,
            Ok(image) if image.text().is_some_and(|text| text.parse::<Reference>().is_ok()) => {
                let why = "`repository` and `tag` need not be those of an image";
                self.found.pass_over(&self.found.place(&image), why, &self.object);
            }
            Err(lacks) if is_sure => {
                let why = format!("{lacks}, and who reads it knows which is meant");
                self.found.pass_over(&self.found.place(node), &why, &self.object);
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
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
            // A volume.
            Value::Mapping(_) if member.get("reference").is_some() => {
                self.found.image(member.get("reference"), member, &self.object, &field)
            }
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
