//! Docker's configuration inside a Kubernetes Secret.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::config::error::{Error, Location};

/// The member of a Secret that holds docker's configuration.
const MEMBER: &str = ".dockerconfigjson";

/// That of the older kind, `kubernetes.io/dockercfg`, which has the registries at its top.
const OLD_MEMBER: &str = ".dockercfg";

/// Most YAML documents in a file: all that a cluster has of something is still less.
const MAX_DOCUMENTS: usize = 100_000;

/// Most values in a file of YAML, which bounds what a strange one makes us hold.
const MAX_NODES: usize = 2_000_000;

/// The configurations in `content`: itself, or that of each Secret it holds, alone, in a list, or
/// one YAML document after the other. Other objects beside a Secret are passed over.
///
/// # Errors
/// [`Error::Invalid`] if it is neither, or if no Secret is of the type.
pub(super) fn docker_configurations(path: &Path, content: &str) -> Result<Vec<Value>, Error> {
    let documents = match serde_json::from_str(content) {
        Ok(document) => vec![document],
        Err(error) => yaml_documents(path, content, &error)?,
    };
    let mut configurations = Vec::new();
    let mut passed_over = None;
    for object in documents.into_iter().flat_map(objects) {
        let Some(kind) = object.get("kind").and_then(Value::as_str) else {
            configurations.push(object);
            continue;
        };
        match secret_content(&object, kind) {
            Ok(configuration) => configurations.push(configuration),
            Err(Problem::OtherObject(problem)) => {
                passed_over.get_or_insert(problem);
            }
            Err(Problem::Broken(problem)) => return Err(invalid(path, content, problem)),
        }
    }
    match (configurations.is_empty(), passed_over) {
        (false, _) => Ok(configurations),
        (true, Some(problem)) => Err(invalid(path, content, problem)),
        (true, None) => Err(neither(Location::unquoted(path, 1, 1))),
    }
}

fn invalid(path: &Path, content: &str, problem: String) -> Error {
    Error::Invalid {
        location: Box::new(Location::unquoted_of(path, content, MEMBER)),
        problem,
        expected: "a Secret of type kubernetes.io/dockerconfigjson".to_owned(),
    }
}

/// YAML says where it breaks; so does JSON, which is believed for a file that begins as JSON does.
fn yaml_documents(
    path: &Path,
    content: &str,
    as_json: &serde_json::Error,
) -> Result<Vec<Value>, Error> {
    let mut options = serde_saphyr::Options::default();
    if let Some(budget) = &mut options.budget {
        budget.max_documents = MAX_DOCUMENTS;
        budget.max_nodes = MAX_NODES;
        budget.max_events = 4 * MAX_NODES;
    }
    match serde_saphyr::from_multiple_with_options::<Value>(content, options) {
        Ok(mut documents) => {
            // Templates that come to nothing leave empty documents.
            documents.retain(|document| !document.is_null());
            if documents.iter().all(Value::is_object) {
                return Ok(documents);
            }
        }
        Err(error) if !content.trim_start().starts_with(['{', '[']) => {
            let number = |number: u64| usize::try_from(number).unwrap_or_default();
            let place = error.location();
            let (line, column) =
                place.map_or((1, 1), |place| (number(place.line()), number(place.column())));
            return Err(Error::Invalid {
                location: Box::new(Location::unquoted(path, line, column)),
                // What the parser says of it may quote a secret.
                problem: "the file is not valid YAML".to_owned(),
                expected: EXPECTED.to_owned(),
            });
        }
        Err(_) => {}
    }
    Err(neither(Location::unquoted(path, as_json.line(), as_json.column())))
}

/// What a file of logins may be.
const EXPECTED: &str =
    "docker's config.json, or a Secret of type kubernetes.io/dockerconfigjson as JSON or YAML";

fn neither(location: Location) -> Error {
    Error::Invalid {
        location: Box::new(location),
        problem: "the file holds no logins".to_owned(),
        expected: EXPECTED.to_owned(),
    }
}

/// The objects of a `kind: List`, or `document` itself.
fn objects(mut document: Value) -> Vec<Value> {
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![document],
    }
}

/// Why an object has no configuration.
enum Problem {
    /// It is not meant to have one.
    OtherObject(String),
    /// It is meant to.
    Broken(String),
}

/// Docker's configuration in `secret`: `stringData` as written, or `data` in base64. As in the
/// cluster, `stringData` wins.
fn secret_content(secret: &Value, kind: &str) -> Result<Value, Problem> {
    if kind != "Secret" {
        return Err(Problem::OtherObject(format!("the object is a {kind}")));
    }
    if let Some(content) = member_content(secret, MEMBER)? {
        return Ok(content);
    }
    match member_content(secret, OLD_MEMBER)? {
        Some(registries) => Ok(json!({ "auths": registries })),
        None => Err(Problem::OtherObject(format!("the Secret has no `{MEMBER}`"))),
    }
}

fn member_content(secret: &Value, name: &str) -> Result<Option<Value>, Problem> {
    let member = |table: &str| secret.get(table)?.get(name)?.as_str();
    let broken = |what: &str| Problem::Broken(format!("`{name}` {what}"));
    let text = if let Some(text) = member("stringData") {
        text.as_bytes().to_vec()
    } else if let Some(data) = member("data") {
        let compact: String = data.split_whitespace().collect();
        STANDARD.decode(compact).map_err(|_| broken("is not base64"))?
    } else {
        return Ok(None);
    };
    serde_json::from_slice(&text).map(Some).map_err(|_| broken("does not hold JSON"))
}
