//! The logins and tokens in use at one host. Each token is fetched by one task, whatever the number
//! that wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use super::access::Access;
use super::challenge::{Bearer, Challenge};
use super::grant::{Grant, Standing};
use super::token::{self, Form, Token};
use crate::config::{Credential, RegistryHost};
use crate::registry::Fault;
use crate::registry::http::authority::authority;
use crate::registry::http::wire::Wire;
use crate::sync::lock;

type Slot = Arc<AsyncMutex<Option<Token>>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    /// By repository. Looking a login up may start a credential helper, so once is enough.
    logins: Mutex<HashMap<String, Arc<OnceCell<Option<Credential>>>>>,
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
        let login = self.login(wire, access).await;
        if let Some(Credential::RegistryToken(token)) = &login {
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
            Some(Challenge::Basic) => Ok(Grant::of_basic(login.as_ref())),
            Some(Challenge::Bearer(bearer)) => {
                match self.token(wire, access, &bearer, login.as_ref(), None).await {
                    Err(fault) if !certain && !fault.is_retryable() => Ok(Grant::default()),
                    granted => granted,
                }
            }
        }
    }

    /// What to send instead of `refused`, which the host answered with `challenges`; `None` when we
    /// have nothing better.
    pub(crate) async fn answer(
        &self,
        wire: &Wire,
        access: &Access,
        challenges: Vec<Challenge>,
        refused: &Grant,
    ) -> Result<Option<Grant>, Fault> {
        let login = self.login(wire, access).await;
        if matches!(login, Some(Credential::RegistryToken(_))) {
            return Ok(None);
        }
        let wanted = challenges
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer(_)))
            .or(challenges.first())
            .cloned();
        let Some(challenge) = wanted else { return Ok(None) };
        self.remember(access, &challenge);
        let grant = match &challenge {
            Challenge::Basic => Grant::of_basic(login.as_ref()),
            Challenge::Bearer(bearer) => {
                let refused = refused.header.as_ref();
                self.token(wire, access, bearer, login.as_ref(), refused).await?
            }
        };
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

    async fn login(&self, wire: &Wire, access: &Access) -> Option<Credential> {
        let cell = {
            let mut logins = lock(&self.logins);
            Arc::clone(logins.entry(access.repository.clone()).or_default())
        };
        let host: &RegistryHost = wire.settings();
        let keychain = &wire.context().keychain;
        cell.get_or_init(|| keychain.lookup(host, &access.repository)).await.clone()
    }

    /// The token for `access`, other than `refused`.
    async fn token(
        &self,
        wire: &Wire,
        access: &Access,
        bearer: &Bearer,
        login: Option<&Credential>,
        refused: Option<&HeaderValue>,
    ) -> Result<Grant, Fault> {
        let slot = Arc::clone(lock(&self.tokens).entry(access.scope().to_owned()).or_default());
        // Held while the token is fetched: whoever comes meanwhile waits for it and takes it.
        let mut slot = slot.lock().await;
        let standing = if login.is_some() { Standing::Proved } else { Standing::Anonymous };
        let current =
            slot.as_ref().and_then(Token::header).filter(|header| Some(*header) != refused);
        if let Some(header) = current {
            return Ok(Grant { header: Some(header.clone()), standing });
        }
        let form = if lock(&self.known).refuses_post { Form::Get } else { Form::Post };
        let scopes = access.scopes(bearer.scope.as_deref());
        let fetched = token::fetch(wire, bearer, &scopes, login, form).await;
        let fetched = fetched.map_err(|fault| match fault {
            Fault::Challenge(_) => fault,
            fault => Fault::Token { realm: authority(&bearer.realm), fault: Box::new(fault) },
        })?;
        if login.is_some() && fetched.form == Form::Get {
            lock(&self.known).refuses_post = true;
        }
        let header = slot.insert(fetched.token).header().cloned();
        Ok(Grant { header, standing })
    }
}
