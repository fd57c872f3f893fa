//! One host, from its name to a byte of a layer.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::asker::{Asker, spoken};
use super::connect::{self, Place};
use super::content::{self, Chooser, Led};
use super::handshake::{self, Peer};
use super::login;
use super::proxy;
use super::report::{HostReport, Step, StepKind};
use crate::config::{Capability, Login};
use crate::failure::Notice;
use crate::oci::Digest;
use crate::reference::Reference;
use crate::registry::api::resolver;
use crate::registry::ask::host::Host;
use crate::registry::auth;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::exchange::Call;
use crate::registry::repository::Repository;

/// Where every registry answers. See `api/login.rs`.
const ROOT: &str = "/v2/";

/// What one host came to.
pub(super) struct Visit {
    pub(super) host: Host,
    pub(super) report: HostReport,
    /// The digest of what the reference names, or why there is none.
    pub(super) manifest: Result<Digest, Fault>,
    /// Whether it gives layers, as far as is known.
    pub(super) layers: Result<(), Fault>,
    /// Why there is no image for the platform.
    pub(super) no_platform: Option<String>,
    pub(super) took: Duration,
}

/// Visits every host of `repository` that may be pulled from, in their order. Those that may not
/// resolve are asked for what another one has resolved, as in a pull.
pub(super) async fn visit_all(
    repository: &Repository,
    choose: &Chooser<'_>,
) -> Result<Vec<Visit>, Error> {
    let reference = repository.reference();
    let hosts = repository.hosts()?.with(Capability::Pull);
    if hosts.is_empty() {
        return Err(Error::NoHost { what: format!("resolve {reference}") });
    }
    let needed = resolver::needed(reference);
    let (resolving, others): (Vec<_>, Vec<_>) =
        hosts.into_iter().enumerate().partition(|(_, host)| host.may(needed));
    let mut visits = Vec::new();
    for (position, host) in resolving {
        visits.push((position, visit(host, reference, reference.digest(), choose).await));
    }
    let known = visits.iter().find_map(|(_, visit)| visit.manifest.as_ref().ok().copied());
    for (position, host) in others {
        visits.push((position, visit(host, reference, known, choose).await));
    }
    visits.sort_by_key(|(position, _)| *position);
    Ok(visits.into_iter().map(|(_, visit)| visit).collect())
}

async fn visit(
    host: Host,
    reference: &Reference,
    digest: Option<Digest>,
    choose: &Chooser<'_>,
) -> Visit {
    let started = Instant::now();
    let mut notes = Notes::default();
    let reached = match reach(&host, &mut notes).await {
        Ok(()) => ask(&host, reference, digest, choose, &mut notes).await,
        Err(fault) => {
            Reached { manifest: Err(fault.clone()), layers: Err(fault), no_platform: None }
        }
    };
    let Reached { manifest, layers, no_platform } = reached;
    let fault = manifest.as_ref().err().or(layers.as_ref().err());
    let name = host.endpoint().name();
    let wire = host.endpoint().wire();
    let settings = wire.settings();
    let report = HostReport {
        url: format!("{}://{}{}", wire.scheme(), settings.authority, settings.path),
        ok: fault.is_none() && no_platform.is_none(),
        steps: notes.steps,
        remarks: notes.remarks,
        code: fault.map(super::code::of).or(no_platform.as_ref().map(|_| "no-platform")),
        problem: fault.map(ToString::to_string).or_else(|| no_platform.clone()),
        fix: fault.map(|fault| match manifest.is_ok() {
            true => fault.hint_within(name, host.place()),
            false => fault.hint(name, host.place()),
        }),
    };
    Visit { report, manifest, layers, no_platform, took: started.elapsed(), host }
}

#[derive(Default)]
struct Notes {
    steps: Vec<Step>,
    remarks: Vec<Notice>,
}

struct Reached {
    manifest: Result<Digest, Fault>,
    layers: Result<(), Fault>,
    no_platform: Option<String>,
}

/// The way there: proxy, name, connection, handshake.
async fn reach(host: &Host, notes: &mut Notes) -> Result<(), Fault> {
    let wire = host.endpoint().wire();
    let url = wire.url(ROOT)?;
    match connection(host, &url, notes).await {
        Err(fault) if !wire.is_plain() && wire.falls_back(&fault) => {
            wire.fall_back();
            let name = host.endpoint().name();
            let message = format!("{name} speaks no https: a pull goes on over plain HTTP");
            notes.remarks.push(Notice::new("plain-http", message));
            connection(host, &wire.url(ROOT)?, notes).await
        }
        outcome => outcome,
    }
}

async fn connection(host: &Host, url: &Url, notes: &mut Notes) -> Result<(), Fault> {
    let endpoint = host.endpoint();
    let context = endpoint.context();
    let (choice, step) = proxy::step(context, url);
    notes.steps.push(step);
    let proxy = context.proxies.url(url).cloned();
    let blamed = |fault: Fault| match &choice {
        Some(_) => {
            let name = context.proxies.authority(url).unwrap_or_default();
            crate::registry::http::proxy::blamed(name, endpoint.name(), fault)
        }
        None => fault,
    };
    let place = place_of(url).ok_or_else(|| Fault::Connect("the URL has no host".to_owned()))?;
    let next = proxy.as_ref().and_then(place_of).unwrap_or_else(|| place.clone());
    let (step, found) = connect::look_up(&next, &context.policy).await;
    notes.steps.push(step);
    let addresses = found.map_err(blamed)?;
    let patience = endpoint.wire().dial_timeout();
    let (step, connected) = connect::connect(&addresses, patience).await;
    notes.steps.push(step);
    let address = connected.map_err(blamed)?;
    if url.scheme() != "https" {
        return Ok(());
    }
    let settings = endpoint.settings().clone();
    let peer = Peer { settings, place, address, proxy, patience };
    let shown = handshake::look(peer, host.place()).await;
    notes.steps.push(shown.step);
    notes.remarks.extend(shown.remarks);
    shown.outcome.map_err(|fault| match fault {
        // A handshake is with the host, whoever carries it.
        fault @ (Fault::Tls(_) | Fault::Proxy { .. }) => fault,
        fault => blamed(fault),
    })
}

fn place_of(url: &Url) -> Option<Place> {
    let name = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let usual = match url.scheme() {
        "socks5" | "socks5h" | "socks4" | "socks4a" => Some(1080),
        _ => None,
    };
    Some(Place { name, port: url.port_or_known_default().or(usual)? })
}

/// What is asked of a host that is reached.
async fn ask(
    host: &Host,
    reference: &Reference,
    digest: Option<Digest>,
    choose: &Chooser<'_>,
    notes: &mut Notes,
) -> Reached {
    let endpoint = host.endpoint();
    let keychain = &endpoint.context().keychain;
    let login = keychain.find(endpoint.settings(), host.repository()).await;
    let mut asker = Asker::new(host, login::at_once(login.as_ref()));
    let reached =
        content_of(&mut asker, reference, digest, choose, login.as_ref(), &mut notes.steps);
    let reached = reached.await.unwrap_or_else(|fault| Reached {
        manifest: Err(fault.clone()),
        layers: Err(fault),
        no_platform: None,
    });
    if !asker.limits.is_empty() {
        let message = format!("limits of {}: {}", endpoint.name(), asker.limits.join(", "));
        asker.remark(Notice::new("rate-limit", message));
    }
    notes.remarks.append(&mut asker.remarks);
    reached
}

async fn content_of(
    asker: &mut Asker<'_>,
    reference: &Reference,
    digest: Option<Digest>,
    choose: &Chooser<'_>,
    login: Option<&Login>,
    steps: &mut Vec<Step>,
) -> Result<Reached, Fault> {
    root(asker, login, steps).await?;
    let name = match digest {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    let (mut step, mut headed) = content::head(asker, &name).await;
    if let Err(Ok(answer)) = &headed
        && answer.response.status() == http::StatusCode::UNAUTHORIZED
        && !asker.grant.standing.is_login()
    {
        // What the root did not ask for, or not for this repository.
        let challenges = auth::challenges(answer.response.headers())?;
        if asker.grant.header.is_none() && login::log_in(asker, challenges, login, steps).await? {
            (step, headed) = content::head(asker, &name).await;
        }
    }
    steps.push(step);
    if let Err(Err(fault)) = headed {
        return Err(fault);
    }
    let (step, read) = content::read(asker, StepKind::Manifest, &name, digest).await;
    steps.push(step);
    let document = read?;
    if headed.is_err() {
        // The manifest is there: it is HEAD that the host, or a proxy before it, gets wrong.
        for step in steps.iter_mut().filter(|step| step.step == StepKind::Head) {
            step.ok = true;
        }
        let message = format!("{} refuses HEAD and answers GET", asker.host.endpoint().name());
        asker.remark(Notice::new("head-refused", message));
    }
    let manifest = Ok(document.digest);
    let (layers, no_platform) = match content::follow(asker, document, choose, steps).await {
        Led::Nothing => (Ok(()), None),
        Led::NoPlatform(why) => (Ok(()), Some(why)),
        Led::Fault(fault) => (Err(fault), None),
        Led::Layer(layer) => {
            let (step, outcome) = content::layer(asker, &layer).await;
            steps.push(step);
            (outcome, None)
        }
    };
    Ok(Reached { manifest, layers, no_platform })
}

/// `/v2/`: what is there, and what it asks for. A pull does not need it, so that nothing but a broken
/// connection, or a token that is refused, ends here.
async fn root(
    asker: &mut Asker<'_>,
    login: Option<&Login>,
    steps: &mut Vec<Step>,
) -> Result<(), Fault> {
    let (took, answer) = asker.ask(&Call::new(http::Method::GET, ROOT, ROOT)).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => {
            steps.push(Step::bad(StepKind::Api, Some(took), &fault));
            return Err(fault);
        }
    };
    let (status, http) = (answer.response.status(), spoken(&answer));
    let is_page = body::is_html(answer.response.headers());
    let page = if is_page { ", a web page" } else { "" };
    let text = format!("{status}, {http}{page}");
    let details = json!({"status": status.as_u16(), "http": http, "is_web_page": is_page});
    let code = is_page.then_some("web-page");
    steps.push(Step { code, ..Step::good(StepKind::Api, Some(took), text) }.with(details));
    if status == http::StatusCode::UNAUTHORIZED && asker.grant.header.is_none() {
        let challenges = auth::challenges(answer.response.headers())?;
        login::log_in(asker, challenges, login, steps).await?;
    }
    Ok(())
}
