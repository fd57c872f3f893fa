//! A stream of objects, one after the other: what is to be done with each.

use std::path::Path;

use super::found::{Account, Found, Object};
use super::kinds::Kind;
use super::{pod, secret, shape};
use crate::failure::Notice;
use crate::lists::error::Error;
use crate::lists::listed::{Cluster, List};
use crate::lists::yaml::{Node, Value};

/// Most lists inside lists.
const MAX_LIST_DEPTH: usize = 8;

/// Reads the objects of one file.
pub(in crate::lists) struct Reader<'a> {
    found: Found<'a>,
}

impl<'a> Reader<'a> {
    /// A reader of `text`, the content of `path`.
    pub(in crate::lists) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { found: Found::new(path, text) }
    }

    /// What was found.
    pub(in crate::lists) fn finish(self) -> List {
        self.found.finish()
    }

    /// Reads one document: an object, several of them, or a sequence of references.
    ///
    /// # Errors
    /// What in it can't be meant.
    pub(in crate::lists) fn document(&mut self, node: &Node) -> Result<(), Error> {
        match &node.value {
            _ if node.is_null() => Ok(()),
            Value::Scalar { .. } => self.found.reference(node),
            Value::Sequence(elements) => {
                elements.iter().try_for_each(|element| match &element.value {
                    Value::Scalar { .. } => self.found.reference(element),
                    Value::Mapping(_) => self.object(element, 0),
                    Value::Sequence(_) => Ok(()),
                })
            }
            Value::Mapping(_) => self.object(node, 0),
        }
    }

    fn object(&mut self, node: &Node, depth: usize) -> Result<(), Error> {
        let (kind, version) = (node.text_of("kind"), node.text_of("apiVersion"));
        match Kind::of(version.unwrap_or_default(), kind.unwrap_or_default()) {
            Kind::List => self.items(node, depth),
            Kind::Pod(path) => {
                let object = Object::of(node, kind.unwrap_or_default(), true);
                let templates = node.at(path);
                templates.map_or(Ok(()), |spec| pod::read(&mut self.found, spec, &object))
            }
            Kind::Images => {
                let images = node.get("images").map(Node::elements).unwrap_or_default();
                images.iter().try_for_each(|image| self.found.reference(image))
            }
            Kind::Secret => secret::read(&mut self.found, node),
            Kind::Account => {
                self.account(node);
                Ok(())
            }
            Kind::Cluster => {
                let member = |name: &str| node.text_of(name).unwrap_or("kubeadm's own").to_owned();
                let (repository, version) =
                    (member("imageRepository"), member("kubernetesVersion"));
                let place = self.found.place(node);
                self.found.list.clusters.push(Cluster { place, repository, version });
                Ok(())
            }
            Kind::Kustomization => {
                let place = self.found.place(node);
                let message = "a kustomization names no images until it is built";
                self.found.list.notices.push(
                    Notice::new("kustomization", message)
                        .at(place.path, place.line)
                        .with_hint("kubectl kustomize DIRECTORY | pullctl pull -f -"),
                );
                Ok(())
            }
            Kind::WithoutImages => Ok(()),
            Kind::Unknown => shape::look_through(&mut self.found, node, kind),
        }
    }

    /// The objects of a list. Those of a `PodList` need not say what they are.
    fn items(&mut self, node: &Node, depth: usize) -> Result<(), Error> {
        if depth >= MAX_LIST_DEPTH {
            let problem = format!("lists are nested more than {MAX_LIST_DEPTH} levels deep");
            return Err(Error::TooMuch { place: self.found.place(node), problem });
        }
        let of_list = node.text_of("kind").unwrap_or_default();
        let implied = of_list.strip_suffix("List").filter(|kind| !kind.is_empty());
        let version = node.text_of("apiVersion").unwrap_or_default();
        for item in node.get("items").map(Node::elements).unwrap_or_default() {
            match (item.get("kind"), implied) {
                (None, Some(kind)) => match Kind::of(version, kind) {
                    Kind::Pod(path) => {
                        let object = Object::of(item, kind, true);
                        item.at(path)
                            .map_or(Ok(()), |spec| pod::read(&mut self.found, spec, &object))?;
                    }
                    Kind::Secret => secret::read(&mut self.found, item)?,
                    Kind::Account => self.account(item),
                    Kind::Unknown => shape::look_through(&mut self.found, item, Some(kind))?,
                    _ => {}
                },
                _ => self.object(item, depth + 1)?,
            }
        }
        Ok(())
    }

    fn account(&mut self, node: &Node) {
        let object = Object::of(node, "ServiceAccount", true);
        let secrets = pod::secret_names(node);
        if let (Some(name), false) = (object.name, secrets.is_empty()) {
            let namespace = object.namespace.map(str::to_owned);
            let account = Account { namespace, name: name.to_owned() };
            self.found.accounts.insert(account, secrets);
        }
    }
}
