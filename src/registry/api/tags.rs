//! The tags of a repository.

use std::sync::Arc;

use serde::Deserialize;

use crate::config::Capability;
use crate::reference::Reference;
use crate::registry::api::pages;
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;

/// Tags that are asked for at once; registries may give fewer.
const PAGE: &str = "1000";

/// Longest tag, by the distribution specification.
const MAX_TAG: usize = 128;

#[derive(Deserialize)]
struct List {
    // Go writes an empty list as `null`.
    tags: Option<Vec<String>>,
}

/// Lists the tags of the repository of `reference`, at the first host that may resolve and has them.
/// They are sorted here: docker-registry 2.8 gives them in no order.
///
/// # Errors
/// [`Error::NoHost`] if none may be asked; otherwise [`Error::AllHostsFailed`].
pub(crate) async fn tags(
    context: &Arc<Context>,
    hosts: &Hosts,
    reference: &Reference,
) -> Result<Vec<String>, Error> {
    let hosts = hosts.with(Capability::Resolve);
    let question = Question {
        what: format!("list the tags of {}", reference.name()),
        request: "tags/list".to_owned(),
        hedges: true,
    };
    let mut tries = Tries::of(context, &hosts);
    let asking = in_turn(&mut tries, &hosts, &question, |_, host| tags_at(host));
    Ok(asking.await?.1)
}

async fn tags_at(host: &Host) -> Result<Vec<String>, Fault> {
    let mut tags = Vec::new();
    let path = host.path_with("tags/list", &[("n", PAGE)]);
    pages::read(host, "tags/list", path, |page| {
        let list: List = serde_json::from_slice(&page.body)
            .map_err(|error| Fault::Malformed(format!("no list of tags: {error}")))?;
        tags.extend(list.tags.unwrap_or_default().into_iter().filter(|tag| is_tag(tag)));
        Ok(())
    })
    .await?;
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

/// Whether `text` can be asked for as a tag; what cannot is nobody's use, and could steer a terminal.
fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= MAX_TAG
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || c == '.' || c == '-')
}
