//! Logins out of Secrets of the two types that pods name as `imagePullSecrets`. No error shows
//! anything of their content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::found::{Found, Object};
use crate::lists::error::Error;
use crate::lists::listed::PullSecret;
use crate::lists::yaml::Node;

/// Member and type of a Secret with docker's `config.json`.
const CONFIG_JSON: (&str, &str) = (".dockerconfigjson", "kubernetes.io/dockerconfigjson");

/// Those of the older kind, which has the registries at its top.
const CONFIG: (&str, &str) = (".dockercfg", "kubernetes.io/dockercfg");

/// Takes the logins of the Secret `node`. Secrets of other types are nobody's business.
pub(super) fn read(found: &mut Found<'_>, node: &Node) -> Result<(), Error> {
    let object = Object::of(node, "Secret", true);
    let name = object.name.unwrap_or_default();
    let refused = |node: &Node, problem| {
        let (place, name) = (found.place(node), name.to_owned());
        Error::Secret { place, name, problem }
    };
    let of_type = node.text_of("type").unwrap_or_default();
    let Some((member, _)) = [CONFIG_JSON, CONFIG].into_iter().find(|(_, it)| *it == of_type) else {
        return Ok(());
    };
    // As in the cluster, stringData wins.
    let written = node.at(&["stringData", member]);
    let (value, bytes) = match (written, node.at(&["data", member])) {
        (Some(value), _) => (value, value.text().map(|text| text.as_bytes().to_vec())),
        (None, Some(value)) => {
            let compact: Option<String> =
                value.text().map(|text| text.split_whitespace().collect());
            let decoded = compact.map(|text| STANDARD.decode(text));
            let decoded = decoded.transpose();
            (value, decoded.map_err(|_| refused(value, "is not in base64"))?)
        }
        (None, None) => return Err(refused(node, "does not have the data of its type")),
    };
    let content: Option<Value> =
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).filter(Value::is_object);
    let Some(mut content) = content else {
        return Err(refused(value, "does not hold docker's configuration in JSON"));
    };
    if member == CONFIG.0 {
        content = json!({ "auths": content });
    }
    let secret = PullSecret {
        place: found.place(value),
        namespace: object.namespace.map(str::to_owned),
        name: name.to_owned(),
        content: content.to_string().into(),
    };
    found.list.secrets.push(secret);
    Ok(())
}
