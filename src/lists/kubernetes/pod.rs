//! The images of a pod's specification: containers of three kinds, and volumes.

use super::found::{Account, Found, Object};
use crate::lists::error::Error;
use crate::lists::listed::PodLogins;
use crate::lists::yaml::Node;

/// The members of a pod that hold containers, and what one is called.
pub(super) const CONTAINERS: [(&str, &str); 3] = [
    ("initContainers", "init container"),
    ("containers", "container"),
    ("ephemeralContainers", "ephemeral container"),
];

/// The account of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// `imagePullSecrets`, by name.
pub(super) fn secret_names(node: &Node) -> Vec<String> {
    let secrets = node.get("imagePullSecrets").map(Node::elements).unwrap_or_default();
    secrets.iter().filter_map(|it| it.text_of("name")).map(str::to_owned).collect()
}

/// The images of the pod `spec` of `object`.
pub(super) fn read(found: &mut Found<'_>, spec: &Node, object: &Object<'_>) -> Result<(), Error> {
    let before = found.list.images.len();
    for (member, what) in CONTAINERS {
        for container in spec.get(member).map(Node::elements).unwrap_or_default() {
            let name = container.text_of("name").unwrap_or_default();
            let field = format!("{what} {name}").trim_end().to_owned();
            found.image(container.get("image"), container, object, &field)?;
        }
    }
    for volume in spec.get("volumes").map(Node::elements).unwrap_or_default() {
        if let Some(image) = volume.get("image").filter(|image| !image.is_null()) {
            let field = format!("volume {}", volume.text_of("name").unwrap_or_default());
            found.image(image.get("reference"), volume, object, &field)?;
        }
    }
    grant_logins(found, spec, object, before);
    Ok(())
}

/// Lets the images from `before` on have the logins of their pod: its own, else its account's.
fn grant_logins(found: &mut Found<'_>, spec: &Node, object: &Object<'_>, before: usize) {
    let namespace = object.namespace.map(str::to_owned);
    let secrets = secret_names(spec);
    if secrets.is_empty() {
        let old_name = || spec.text_of("serviceAccount");
        let account = spec.text_of("serviceAccountName").or_else(old_name);
        let name = account.unwrap_or(DEFAULT_ACCOUNT).to_owned();
        let account = Account { namespace, name };
        let images = before..found.list.images.len();
        found.of_accounts.extend(images.map(|position| (position, account.clone())));
        return;
    }
    for image in found.list.images.iter_mut().skip(before) {
        image.logins = Some(PodLogins { namespace: namespace.clone(), secrets: secrets.clone() });
    }
}
