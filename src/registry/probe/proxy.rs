//! By which proxy a host is asked, and why.

use serde_json::json;
use url::Url;

use super::report::{Step, StepKind};
use crate::registry::context::Context;
use crate::registry::http::proxy::{ProxyChoice, Reason};

/// The step that tells it.
pub(super) fn step(context: &Context, url: &Url) -> (Option<ProxyChoice>, Step) {
    let (choice, reason) = context.proxies.explained(url);
    let step = match (&choice, reason) {
        (Some(ProxyChoice { url, variable }), _) => {
            Step::good(StepKind::Proxy, None, format!("{url}, because of ${variable}"))
                .with(json!({"proxy": url, "variable": variable}))
        }
        (None, Reason::Excluded) => {
            Step::good(StepKind::Proxy, None, "none: $NO_PROXY excludes it")
                .with(json!({"excluded": true}))
        }
        (None, Reason::Here) => Step::good(StepKind::Proxy, None, "none: it is this machine"),
        (None, Reason::Unset | Reason::Set) => {
            Step::good(StepKind::Proxy, None, "none: no variable names one")
        }
    };
    (choice, step)
}
