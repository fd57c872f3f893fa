//! Docker's configuration inside a Kubernetes Secret.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::config::error::{Error, Location};

/// The member of a Secret that holds docker's configuration.
const MEMBER: &str = ".dockerconfigjson";

/// The configurations in `content`: itself, or that of each Secret it holds, alone, in a list, or
/// one YAML document after the other.
///
/// # Errors
/// [`Error::Invalid`] if it is neither, or if a Secret is of another type.
pub(super) fn docker_configurations(path: &Path, content: &str) -> Result<Vec<Value>, Error> {
    let documents = match serde_json::from_str(content) {
        Ok(document) => vec![document],
        Err(error) => yaml_documents(path, content, &error)?,
    };
    let configurations = documents
        .into_iter()
        .flat_map(objects)
        .map(|object| match object.get("kind").and_then(Value::as_str) {
            Some(kind) => secret_content(&object, kind).map_err(|problem| Error::Invalid {
                location: Box::new(Location::unquoted_of(path, content, MEMBER)),
                problem,
                expected: "a Secret of type kubernetes.io/dockerconfigjson".to_owned(),
            }),
            None => Ok(object),
        })
        .collect::<Result<Vec<Value>, Error>>()?;
    if configurations.is_empty() {
        return Err(neither(Location::unquoted(path, 1, 1)));
    }
    Ok(configurations)
}

/// YAML says where it breaks; so does JSON, which is believed for a file that begins as JSON does.
fn yaml_documents(
    path: &Path,
    content: &str,
    as_json: &serde_json::Error,
) -> Result<Vec<Value>, Error> {
    let documents = serde_saphyr::from_multiple::<Value>(content);
    if let Ok(documents) = documents
        && documents.iter().all(Value::is_object)
    {
        return Ok(documents);
    }
    Err(neither(Location::unquoted(path, as_json.line(), as_json.column())))
}

fn neither(location: Location) -> Error {
    Error::Invalid {
        location: Box::new(location),
        problem: "the file holds no logins".to_owned(),
        expected: "docker's config.json, or a Secret of type kubernetes.io/dockerconfigjson as \
                   JSON or YAML"
            .to_owned(),
    }
}

/// The objects of a `kind: List`, or `document` itself.
fn objects(mut document: Value) -> Vec<Value> {
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![document],
    }
}

/// Docker's configuration in `secret`: `stringData` as written, or `data` in base64. As in the
/// cluster, `stringData` wins.
fn secret_content(secret: &Value, kind: &str) -> Result<Value, String> {
    let member = |table: &str| secret.get(table)?.get(MEMBER)?.as_str();
    let text = if kind != "Secret" {
        return Err(format!("the object is a {kind}"));
    } else if let Some(text) = member("stringData") {
        text.as_bytes().to_vec()
    } else if let Some(data) = member("data") {
        let compact: String = data.split_whitespace().collect();
        STANDARD.decode(compact).map_err(|_| format!("`{MEMBER}` is not base64"))?
    } else {
        return Err(format!("the Secret has no `{MEMBER}`"));
    };
    serde_json::from_slice(&text).map_err(|_| format!("`{MEMBER}` does not hold JSON"))
}
