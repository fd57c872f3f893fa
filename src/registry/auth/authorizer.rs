//! The logins and tokens in use at one host. Each token is fetched by one task, whatever the number
//! that wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use tokio::sync::Mutex as AsyncMutex;

use super::access::Access;
use super::challenge::{Bearer, Challenge};
use super::grant::{Grant, Standing};
use super::logins::{Logins, Used};
use super::token::{self, Form, Token};
use crate::config::Credential;
use crate::registry::Fault;
use crate::registry::http::authority::authority;
use crate::registry::http::wire::Wire;
use crate::sync::lock;

type Slot = Arc<AsyncMutex<Option<HeldToken>>>;

/// A token, and how many logins were refused before the one that it was had by.
#[derive(Debug)]
struct HeldToken {
    token: Token,
    position: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    /// By repository.
    logins: Mutex<HashMap<String, Arc<Logins>>>,
    /// By the scope in [`Access`].
    tokens: Mutex<HashMap<String, Slot>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The host's last challenge for each scope; `None` is any scope.
    challenges: HashMap<Option<String>, Challenge>,
    refuses_post: bool,
}

impl Authorizer {
    /// What to send with a first request: what the host is known to ask for, nothing otherwise.
    pub(crate) async fn grant(&self, wire: &Wire, access: &Access) -> Result<Grant, Fault> {
        let logins = self.logins(access);
        let mut login = logins.used(wire, access).await;
        loop {
            match self.foreseen(wire, access, &login).await {
                Err(fault) if is_refusal(&fault) => {
                    match logins.after(login.position, wire, access).await {
                        Some(next) => login = next,
                        None => return Err(fault),
                    }
                }
                granted => return Ok(granted?.at(login.position)),
            }
        }
    }

    /// The same with one login.
    async fn foreseen(&self, wire: &Wire, access: &Access, login: &Used) -> Result<Grant, Fault> {
        if let Some(Credential::RegistryToken(token)) = &login.credential {
            return Ok(Grant::of_token(token));
        }
        let (challenge, certain) = {
            let known = lock(&self.known);
            let own = known.challenges.get(&Some(access.scope().to_owned())).cloned();
            let certain = own.is_some();
            (own.or_else(|| known.challenges.get(&None).cloned()), certain)
        };
        match challenge {
            None => Ok(Grant::default()),
            Some(Challenge::Basic) => Ok(Grant::of_basic(login.credential.as_ref())),
            Some(Challenge::Bearer(bearer)) => {
                match self.token(wire, access, &bearer, login, None).await {
                    Err(fault) if !certain && !fault.is_retryable() => Ok(Grant::default()),
                    granted => granted,
                }
            }
        }
    }

    /// What to send instead of `refused`, which the host answered with `challenges`; `None` when we
    /// have nothing better. With `is_spent`, the login behind it is of no use, and not only what it was
    /// given: that was given anew already, or the host knows the login and lets it do nothing.
    pub(crate) async fn answer(
        &self,
        wire: &Wire,
        access: &Access,
        challenges: Vec<Challenge>,
        refused: &Grant,
        is_spent: bool,
    ) -> Result<Option<Grant>, Fault> {
        let logins = self.logins(access);
        let mut login = logins.used(wire, access).await;
        if is_spent && login.position == refused.position {
            match logins.after(login.position, wire, access).await {
                Some(next) => login = next,
                None => return Ok(None),
            }
        }
        let Some(challenge) = self.challenge(access, challenges) else { return Ok(None) };
        loop {
            let fault = match self.better(wire, access, &challenge, &login, refused).await {
                Ok(None) => None,
                Err(fault) if is_refusal(&fault) => Some(fault),
                granted => return granted,
            };
            match logins.after(login.position, wire, access).await {
                Some(next) => login = next,
                None => return fault.map_or(Ok(None), Err),
            }
        }
    }

    /// What the host asks for: by `challenges`, or where it sent none, by those before.
    fn challenge(&self, access: &Access, challenges: Vec<Challenge>) -> Option<Challenge> {
        let wanted = challenges
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer(_)))
            .or(challenges.first());
        match wanted {
            Some(challenge) => {
                self.remember(access, challenge);
                Some(challenge.clone())
            }
            None => lock(&self.known).challenges.get(&Some(access.scope().to_owned())).cloned(),
        }
    }

    /// What `login` has to say to `challenge` beside `refused`.
    async fn better(
        &self,
        wire: &Wire,
        access: &Access,
        challenge: &Challenge,
        login: &Used,
        refused: &Grant,
    ) -> Result<Option<Grant>, Fault> {
        let grant = match (challenge, &login.credential) {
            (_, Some(Credential::RegistryToken(token))) => Grant::of_token(token),
            (Challenge::Basic, credential) => Grant::of_basic(credential.as_ref()),
            (Challenge::Bearer(bearer), _) => {
                self.token(wire, access, bearer, login, refused.header.as_ref()).await?
            }
        };
        let grant = grant.at(login.position);
        Ok(Some(grant).filter(|grant| grant.header.is_some() && grant.header != refused.header))
    }

    fn remember(&self, access: &Access, challenge: &Challenge) {
        let mut known = lock(&self.known);
        known.challenges.insert(Some(access.scope().to_owned()), challenge.clone());
        let general = match challenge.clone() {
            Challenge::Bearer(bearer) => Challenge::Bearer(Bearer { scope: None, ..bearer }),
            Challenge::Basic => Challenge::Basic,
        };
        known.challenges.insert(None, general);
    }

    fn logins(&self, access: &Access) -> Arc<Logins> {
        Arc::clone(lock(&self.logins).entry(access.repository.clone()).or_default())
    }

    /// The token for `access`, other than `refused`.
    async fn token(
        &self,
        wire: &Wire,
        access: &Access,
        bearer: &Bearer,
        login: &Used,
        refused: Option<&HeaderValue>,
    ) -> Result<Grant, Fault> {
        let Used { credential, position } = login;
        let credential = credential.as_ref();
        let slot = Arc::clone(lock(&self.tokens).entry(access.scope().to_owned()).or_default());
        // Held while the token is fetched: whoever comes meanwhile waits for it and takes it.
        let mut slot = slot.lock().await;
        let standing = if credential.is_some() { Standing::Proved } else { Standing::Anonymous };
        let current = slot.as_ref().filter(|held| held.position == *position);
        let current = current.and_then(|held| held.token.header());
        if let Some(header) = current.filter(|header| Some(*header) != refused) {
            return Ok(Grant { header: Some(header.clone()), standing, position: *position });
        }
        let form = if lock(&self.known).refuses_post { Form::Get } else { Form::Post };
        let scopes = access.scopes(bearer.scope.as_deref());
        let fetched = token::fetch(wire, bearer, &scopes, credential, form).await;
        let fetched = fetched.map_err(|fault| match fault {
            Fault::Challenge(_) => fault,
            fault => Fault::Token { realm: authority(&bearer.realm), fault: Box::new(fault) },
        })?;
        if credential.is_some() && fetched.form == Form::Get {
            lock(&self.known).refuses_post = true;
        }
        let held = HeldToken { token: fetched.token, position: *position };
        let header = slot.insert(held).token.header().cloned();
        Ok(Grant { header, standing, position: *position })
    }
}

/// Whether `fault` says that a login is not good, or not good for this.
fn is_refusal(fault: &Fault) -> bool {
    match fault {
        Fault::Token { fault, .. } => is_refusal(fault),
        Fault::Unauthorized { .. } | Fault::Denied { .. } => true,
        _ => false,
    }
}
