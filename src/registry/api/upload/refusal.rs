//! What an answer to a request of an upload means that is no success: told from its status, its code
//! and its words.

use http::StatusCode;

use crate::registry::ask::host::Host;
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::exchange::Answer;
use crate::registry::upload_fault::UploadFault;

/// Words by which registries tell of a limit: Harbor, Quay, GitLab, ECR.
const QUOTA: [&str; 3] = ["quota", "storage limit", "configured upper limit"];

/// Words by which registries tell of a tag that may not be moved: Harbor, ECR, Artifact Registry, ACR.
const IMMUTABLE: [&str; 3] = ["immutable", "cannot be overwritten", "locked"];

/// Words of Harbor's proxy cache projects, and of Nexus and Artifactory.
const PROXY_CACHE: [&str; 4] =
    ["proxy project", "proxy cache", "pull through", "remote repository"];

/// What `answer` means, to a request that sent so many bytes.
pub(super) async fn of(host: &Host, answer: Answer, sent_bytes: u64) -> Refusal {
    let context = host.endpoint().context();
    let status = answer.response.status();
    let (fault, codes) = body::refusal_and_codes(context, answer.response, answer.standing).await;
    Refusal { status, fault: read(fault, &codes, sent_bytes), codes }
}

/// A refusal, and what the registry calls it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) fault: Fault,
    codes: Vec<String>,
}

impl Refusal {
    /// Whether the registry calls it `code`.
    pub(super) fn is(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }
}

/// What `fault`, a registry's answer to a request of an upload with these error codes, means.
pub(super) fn read(fault: Fault, codes: &[String], sent_bytes: u64) -> Fault {
    let (status, reason, with_login) = match &fault {
        Fault::Status { status, reason, .. } => (*status, reason.clone(), false),
        Fault::Denied { status, reason, with_login } => (*status, reason.clone(), *with_login),
        Fault::NotFound { reason } => (StatusCode::NOT_FOUND, reason.clone(), false),
        _ => return fault,
    };
    let words = reason.as_deref().unwrap_or_default().to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    let has_code = |wanted: &[&str]| codes.iter().any(|code| wanted.contains(&code.as_str()));
    let is_refusal = status.is_client_error();
    let told = if is_refusal && says(&PROXY_CACHE) {
        UploadFault::ProxyCache { status, reason }
    } else if is_refusal && says(&QUOTA) {
        UploadFault::Quota { status, reason }
    } else if status == StatusCode::PRECONDITION_FAILED || is_refusal && says(&IMMUTABLE) {
        UploadFault::Immutable { status, reason }
    } else if has_code(&["MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNVERIFIED"])
        || has_code(&["BLOB_UNKNOWN"])
    {
        UploadFault::UnknownContent { status, reason }
    } else {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => UploadFault::TooLarge { sent_bytes, reason },
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                UploadFault::ReadOnly { status, reason }
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                UploadFault::Denied { status, with_login, reason }
            }
            _ => return fault,
        }
    };
    Fault::Upload(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, code: &str, reason: &str) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        let reason = Some(reason.to_owned());
        let fault = match status {
            StatusCode::NOT_FOUND => Fault::NotFound { reason },
            StatusCode::FORBIDDEN => Fault::Denied { status, with_login: true, reason },
            _ => Fault::Status { status, retry_after: None, reason },
        };
        read(fault, &[code.to_owned()], 7)
    }

    #[test]
    fn each_refusal_is_told_by_its_code_status_or_words() {
        let proxy = "can not push artifact to a proxy project: hub";
        let quota =
            "Quota exceeded when processing the request of adding 3.1 MiB of storage resource";
        let quota_too = "adding 2.1 MiB of storage resource, which when updated to current usage of \
                         8.3 MiB will exceed the configured upper limit of 10.0 MiB.";
        let tag = "Failed to process request due to 'a:v1' configured as immutable.";
        let ecr =
            "The image tag 'v1' already exists in the 'a' repository and cannot be overwritten";
        for (status, code, reason, start) in [
            (403, "DENIED", proxy, "a proxy cache takes no uploads (403): can not"),
            (405, "METHOD_NOT_ALLOWED", proxy, "a proxy cache takes no uploads (405)"),
            (403, "DENIED", quota, "quota exceeded (403): Quota"),
            (403, "DENIED", quota_too, "quota exceeded (403): adding"),
            (412, "PRECONDITION", tag, "the tag is immutable (412): Failed"),
            (400, "TAG_INVALID", ecr, "the tag is immutable (400): The image"),
            (400, "MANIFEST_BLOB_UNKNOWN", "blob unknown", "the registry misses"),
            (404, "BLOB_UNKNOWN", "blob unknown", "the registry misses"),
            (413, "", "x", "a request of 7 bytes is too large for it (413): x"),
            (405, "UNSUPPORTED", "The operation is unsupported.", "takes no uploads (405): The"),
            (501, "", "x", "takes no uploads (501)"),
            (403, "DENIED", "requested access is denied", "push denied (403): requested"),
            (400, "MANIFEST_INVALID", "manifest invalid", "400 Bad Request: manifest invalid"),
            (500, "UNKNOWN", "quota service is down", "500 Internal Server Error: quota"),
            (404, "NAME_UNKNOWN", "unknown", "not found (404): unknown"),
        ] {
            let fault = told(status, code, reason);
            assert!(fault.to_string().starts_with(start), "{status} {code}: {fault}");
        }
    }
}
