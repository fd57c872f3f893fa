//! Lists that come in pages: tags, referrers. See
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags> and RFC 8288.

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::oci::MAX_MANIFEST_BYTES;
use crate::registry::api::document;
use crate::registry::ask::host::Host;
use crate::registry::auth::Action;
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::exchange::Call;

/// Most pages of one list that are read; a hundred thousand tags fit in at the usual 1,000 a page.
const MAX_PAGES: usize = 256;

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
}

/// Reads the list at `path` of `host`, page by page, each handed to `take`.
///
/// # Errors
/// What `take` says; [`Fault::Malformed`] for a list without end, or one that goes on elsewhere.
pub(crate) async fn read(
    host: &Host,
    label: &str,
    path: String,
    mut take: impl FnMut(Page) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut path = path;
    for _ in 0..MAX_PAGES {
        let page = page(host, label, &path).await?;
        let next = next(&page.headers, host, &path)?;
        take(page)?;
        match next {
            None => return Ok(()),
            Some(next) if next == path => {
                return Err(Fault::Malformed("a list goes round in a circle".to_owned()));
            }
            Some(next) => path = next,
        }
    }
    Err(Fault::Malformed(format!("a list of more than {MAX_PAGES} pages")))
}

async fn page(host: &Host, label: &str, path: &str) -> Result<Page, Fault> {
    let endpoint = host.endpoint();
    let access = host.access(&Action::Pull);
    let call = Call { access: Some(&access), ..Call::new(Method::GET, path, label) };
    let answer = endpoint.send(&call).await?;
    if answer.response.status() != StatusCode::OK {
        return Err(document::refusal(host, answer).await);
    }
    if body::is_html(answer.response.headers()) {
        return Err(Fault::Html);
    }
    let headers = answer.response.headers().clone();
    let body = body::read_bounded(endpoint.context(), answer.response, MAX_MANIFEST_BYTES).await?;
    Ok(Page { body, headers })
}

/// Path and query of the next page. It is asked of the same host, whatever scheme the link has: a
/// registry behind a proxy that ends TLS writes http.
fn next(headers: &HeaderMap, host: &Host, path: &str) -> Result<Option<String>, Fault> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.flat_map(links_of).find_map(|link| link.next()) else {
        return Ok(None);
    };
    let malformed = || Fault::Malformed("the link to a list's next page is no URL".to_owned());
    let own = Url::parse(&format!("http://{}{path}", host.endpoint().name()));
    let own = own.map_err(|_| malformed())?;
    let mut url = own.join(&target).map_err(|_| malformed())?;
    if url.host_str() != own.host_str() {
        let elsewhere = url.host_str().unwrap_or_default().chars().take(100).collect::<String>();
        return Err(Fault::Malformed(format!("a list goes on at another host, {elsewhere:?}")));
    }
    // Of a mirror: some forget whose list it is.
    if let Some((_, namespace)) = own.query_pairs().find(|(name, _)| name == "ns")
        && url.query_pairs().all(|(name, _)| name != "ns")
    {
        url.query_pairs_mut().append_pair("ns", &namespace);
    }
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Some(format!("{}{query}", url.path())))
}

/// One link of a `Link` header.
#[derive(Debug, PartialEq)]
struct Link<'a> {
    target: &'a str,
    parameters: &'a str,
}

impl Link<'_> {
    /// The target, where the link is to the next page.
    fn next(&self) -> Option<String> {
        let is_next = self.parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        is_next.then(|| self.target.to_owned())
    }
}

/// The links of one header line. Targets may hold commas and semicolons, parameters of ours do not.
fn links_of(line: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    let mut rest = line;
    while let Some((_, opened)) = rest.split_once('<') {
        let Some((target, after)) = opened.split_once('>') else { break };
        let end = after.find(",<").or_else(|| after.find(", <")).unwrap_or(after.len());
        links.push(Link { target, parameters: after.get(..end).unwrap_or_default() });
        rest = after.get(end..).unwrap_or_default();
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_the_links() {
        for (line, expected) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            ("</x>;rel=next", Some("/x")),
            (r#"</x>; title="y"; REL="Next last""#, Some("/x")),
            (r#"</p>; rel="prev", </n,m;o>; rel="next""#, Some("/n,m;o")),
            (r#"</p>; rel="prev",</n>; rel="next""#, Some("/n")),
            (r#"</p>; rel="prev""#, None),
            ("</p>", None),
            ("</p", None),
            ("", None),
        ] {
            let found = links_of(line).iter().find_map(Link::next);
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }
}
