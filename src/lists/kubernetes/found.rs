//! What is found in a stream of objects, and the rules for one image.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::failure::Notice;
use crate::lists::error::{Error, Place};
use crate::lists::listed::{List, Listed, Origin, PodLogins};
use crate::lists::plain;
use crate::lists::yaml::{Node, Value};

/// What istio's injection puts another image in the place of.
const FILLED_IN: &str = "auto";

/// Most images that are not taken and are told one by one (50): a generated list may have thousands of
/// one kind.
const MAX_SAID: usize = 50;

/// What was found so far in one file.
pub(super) struct Found<'a> {
    path: &'a Path,
    text: &'a str,
    /// Images, logins and notices.
    pub(super) list: List,
    /// How many images were found in kinds that nobody told us of.
    pub(super) looked_through: BTreeMap<String, usize>,
    /// `imagePullSecrets` of service accounts.
    pub(super) accounts: HashMap<Account, Vec<String>>,
    /// What was called an image and is not taken for one.
    passed_over: usize,
    /// Images whose pod has no logins of its own: their places in the list, and the pod's account.
    pub(super) of_accounts: Vec<(usize, Account)>,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Account {
    /// Where it is said.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// An object as it is talked of.
pub(super) struct Object<'a> {
    pub(super) kind: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    /// Whether it is of a kind that we know, so that what is wrong in it is an error.
    pub(super) is_known: bool,
}

impl<'a> Object<'a> {
    pub(super) fn of(node: &'a Node, kind: &'a str, is_known: bool) -> Self {
        let metadata = |name| node.at(&["metadata", name]).and_then(Node::text);
        Self { kind, name: metadata("name"), namespace: metadata("namespace"), is_known }
    }

    pub(super) fn origin(&self, field: &str) -> Origin {
        let (kind, name) = (self.kind.to_owned(), self.name.map(str::to_owned));
        Origin { kind, name, field: Some(field.to_owned()) }
    }
}

impl<'a> Found<'a> {
    /// Nothing yet, in `text`, the content of `path`.
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            list: List::default(),
            looked_through: BTreeMap::new(),
            accounts: HashMap::new(),
            passed_over: 0,
            of_accounts: Vec::new(),
        }
    }

    /// What was found.
    pub(super) fn finish(mut self) -> List {
        for (position, account) in self.of_accounts {
            let secrets = self.accounts.get(&account).cloned();
            if let (Some(image), Some(secrets)) = (self.list.images.get_mut(position), secrets) {
                image.logins = Some(PodLogins { namespace: account.namespace, secrets });
            }
        }
        if let more @ 1.. = self.passed_over.saturating_sub(MAX_SAID) {
            let message = format!("{}: {more} more are passed over", self.path.display());
            self.list.notices.push(Notice::new("image-passed-over", message));
        }
        if !self.looked_through.is_empty() {
            let kinds = self.looked_through.iter().map(|(kind, images)| match images {
                0 => format!("{kind} (no image)"),
                1 => format!("{kind} (1 image)"),
                _ => format!("{kind} ({images} images)"),
            });
            let kinds: Vec<String> = kinds.collect();
            let message = format!(
                "{}: looked through by shape, being no kinds of Kubernetes itself: {}",
                self.path.display(),
                kinds.join(", ")
            );
            self.list.notices.push(
                Notice::new("unknown-kind", message)
                    .with_hint("pullctl refs -f FILE shows what was found in them"),
            );
        }
        self.list
    }

    /// Where `node` stands.
    pub(super) fn place(&self, node: &Node) -> Place {
        Place::new(self.path, node.line)
    }

    /// A text that is a reference itself.
    pub(super) fn reference(&mut self, node: &Node) -> Result<(), Error> {
        let Some(written) = node.text() else { return Ok(()) };
        let place = self.place(node);
        if written.contains("{{") {
            return Err(Error::Template { place });
        }
        let reference = plain::reference(&place, written)?;
        self.list.images.push(Listed::new(reference, place, Origin::line()));
        Ok(())
    }

    /// The image that `image` names in `holder`, a part of `object`. In a kind that we know each must be
    /// one; elsewhere what is none is passed over.
    pub(super) fn image(
        &mut self,
        image: Option<&Node>,
        holder: &Node,
        object: &Object<'_>,
        field: &str,
    ) -> Result<(), Error> {
        let place = self.place(image.unwrap_or(holder));
        let text = image.and_then(Node::text).map(str::trim).filter(|text| !text.is_empty());
        let Some(written) = text else {
            if self.is_template(image.unwrap_or(holder)) {
                return Err(Error::Template { place });
            }
            return match object.is_known {
                true => Err(Error::NoImage {
                    place,
                    field: field.to_owned(),
                    object: object.origin(field).to_string(),
                }),
                false => {
                    self.pass_over(&place, "it is empty", object);
                    Ok(())
                }
            };
        };
        if written.contains("{{") && (object.is_known || is_of_helm(written)) {
            return Err(Error::Template { place });
        }
        if written == FILLED_IN {
            self.pass_over(&place, "`auto` is filled in by istio when the pod starts", object);
            return Ok(());
        }
        match plain::reference(&place, written) {
            Ok(reference) => {
                let listed = Listed::new(reference, place, object.origin(field));
                self.list.images.push(listed);
                Ok(())
            }
            Err(error) if object.is_known => Err(error),
            Err(_) => {
                self.pass_over(&place, "it is no reference", object);
                Ok(())
            }
        }
    }

    /// Says that an image is not one that can be pulled, or that it can't be told which it is.
    pub(super) fn pass_over(&mut self, place: &Place, why: &str, object: &Object<'_>) {
        self.passed_over += 1;
        if self.passed_over > MAX_SAID {
            return;
        }
        let origin = object.origin("").to_string();
        let message = format!("an image of {origin} is passed over: {why}");
        let notice = Notice::new("image-passed-over", message);
        let hint = "if it is wanted, give its whole name in a line of a list, or beside the list";
        self.list.notices.push(notice.at(place.path.clone(), place.line).with_hint(hint));
    }

    /// Whether `text` is to be filled in by Helm.
    pub(super) fn is_template_of_helm(&self, text: &str) -> bool {
        text.contains("{{") && is_of_helm(text)
    }

    /// Whether a template stands where `node` does: YAML reads `{{ .Values.image }}` as a mapping.
    pub(super) fn is_template(&self, node: &Node) -> bool {
        let is_collection = !matches!(node.value, Value::Scalar { .. });
        let line = || self.text.lines().nth(node.line.saturating_sub(1)).unwrap_or_default();
        is_collection && line().contains("{{")
    }
}

/// Whether the braces of `written` are those of Helm: Argo's and others' are filled in by the cluster.
fn is_of_helm(written: &str) -> bool {
    const WORDS: [&str; 8] =
        ["include ", "template ", "tpl ", "printf ", "default ", "quote ", "if ", "with "];
    let inside = written.split("{{").nth(1).unwrap_or_default();
    let inside = inside.trim_start_matches('-').trim_start();
    inside.starts_with(['.', '$', '(']) || WORDS.iter().any(|word| inside.starts_with(word))
}
