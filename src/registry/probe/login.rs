//! What a host asks for, whose login it gets, and what the token is good for.

use serde_json::json;
use tokio::time::Instant;

use super::asker::Asker;
use super::report::{Step, StepKind};
use crate::config::{Credential, Login};
use crate::registry::auth::{Bearer, Challenge, Grant, token_once};
use crate::registry::fault::Fault;
use crate::registry::http::authority::authority;

/// Answers `challenges` with `login`, as a pull does; what comes out is sent from then on. `None` when
/// there is nothing to answer with.
pub(super) async fn log_in(
    asker: &mut Asker<'_>,
    challenges: Vec<Challenge>,
    login: Option<&Login>,
    steps: &mut Vec<Step>,
) -> Result<bool, Fault> {
    let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer(_));
    let wanted = challenges.iter().find(is_bearer).or(challenges.first());
    match wanted {
        None => Ok(false),
        Some(Challenge::Basic) => {
            let text = format!("the host wants a user name and a password; {}", whose(login));
            steps.push(Step::good(StepKind::Challenge, None, text).with(json!({
                "scheme": "basic", "login": login.map(shown),
            })));
            asker.grant = Grant::of_basic(login.map(|login| &login.credential));
            Ok(asker.grant.header.is_some())
        }
        Some(Challenge::Bearer(bearer)) => {
            let service = bearer.service.as_ref().map(|name| format!(", service {name}"));
            let text = format!(
                "the host wants a token of {}{}; {}",
                authority(&bearer.realm),
                service.unwrap_or_default(),
                whose(login)
            );
            steps.push(Step::good(StepKind::Challenge, None, text).with(json!({
                "scheme": "bearer",
                "realm": format!("{}{}", bearer.realm.origin().ascii_serialization(), bearer.realm.path()),
                "service": bearer.service,
                "scope": bearer.scope,
                "login": login.map(shown),
            })));
            asker.grant = token(asker, bearer, login, steps).await?;
            Ok(true)
        }
    }
}

async fn token(
    asker: &Asker<'_>,
    bearer: &Bearer,
    login: Option<&Login>,
    steps: &mut Vec<Step>,
) -> Result<Grant, Fault> {
    let started = Instant::now();
    let scopes = asker.access.scopes(bearer.scope.as_deref());
    let credential = login.map(|login| &login.credential);
    let fetched = token_once(asker.host.endpoint().wire(), bearer, &scopes, credential).await;
    let took = Some(started.elapsed());
    let realm = authority(&bearer.realm);
    match fetched {
        Ok((grant, allows)) => {
            let good_for = match &allows {
                None => "it does not say what it is good for".to_owned(),
                Some(allows) if allows.is_empty() => "it is good for nothing".to_owned(),
                Some(allows) => format!("it is good for {}", allows.join(" ")),
            };
            let text = format!("{realm} gives one; {good_for}");
            steps.push(Step::good(StepKind::Token, took, text).with(json!({
                "asked": scopes, "granted": allows,
            })));
            Ok(grant)
        }
        Err(fault) => {
            let fault = match fault {
                Fault::Challenge(_) => fault,
                fault => Fault::Token { realm, fault: Box::new(fault) },
            };
            steps.push(Step::bad(StepKind::Token, took, &fault).with(json!({"asked": scopes})));
            Err(fault)
        }
    }
}

fn whose(login: Option<&Login>) -> String {
    let Some(login) = login else { return "no login here is for it".to_owned() };
    match login.credential.username() {
        Some(name) => format!("the login is {name}, from {}", login.source),
        None => format!("the login is a token from {}", login.source),
    }
}

fn shown(login: &Login) -> serde_json::Value {
    json!({"username": login.credential.username(), "source": login.source})
}

/// What is sent from the first request on: a token that is a login itself.
pub(super) fn at_once(login: Option<&Login>) -> Grant {
    match login.map(|login| &login.credential) {
        Some(Credential::RegistryToken(token)) => Grant::of_token(token),
        _ => Grant::default(),
    }
}
