//! The logins for one repository at one host: the one in use, and those that take its place when it is
//! refused, as with the kubelet.

use std::collections::VecDeque;

use tokio::sync::Mutex;

use super::access::Access;
use crate::config::Credential;
use crate::registry::http::wire::Wire;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    used: Used,
    /// Those that were not tried yet; looking for them may start programs, so they are looked for when
    /// they are needed.
    others: Option<VecDeque<Credential>>,
    /// The one before all others.
    first: Option<Credential>,
    /// Whether all of them were refused.
    is_spent: bool,
}

/// The login in use, and how many were refused before it.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) credential: Option<Credential>,
    pub(super) position: usize,
}

impl Logins {
    /// The login in use.
    pub(super) async fn used(&self, wire: &Wire, access: &Access) -> Used {
        let mut state = self.0.lock().await;
        if let Some(state) = &*state {
            return state.used.clone();
        }
        // Looking it up may start a credential helper, so once is enough.
        let found = wire.context().keychain.lookup(wire.settings(), &access.repository).await;
        let used = Used { credential: found.clone(), position: 0 };
        let begun = State { used: used.clone(), others: None, first: found, is_spent: false };
        *state = Some(begun);
        used
    }

    /// What is used in place of the login at `position`, which was refused; `None` where there is nothing
    /// better.
    pub(super) async fn after(
        &self,
        position: usize,
        wire: &Wire,
        access: &Access,
    ) -> Option<Used> {
        let mut state = self.0.lock().await;
        let State { used, others, first, is_spent } = state.as_mut()?;
        if *is_spent {
            return None;
        }
        // Somebody else has learnt it meanwhile.
        if used.position > position {
            return Some(used.clone());
        }
        let refused = used.credential.clone()?;
        if others.is_none() {
            let keychain = &wire.context().keychain;
            let found = keychain.others(wire.settings(), &access.repository, &refused).await;
            *others = Some(found.into_iter().map(|login| login.credential).collect());
        }
        let Some(next) = others.as_mut()?.pop_front() else {
            *is_spent = true;
            // The first may do other things than what was refused, and is the one that is meant. What it
            // was given before it gave way is not known any more.
            if used.position > 0 {
                *used = Used { credential: first.take(), position: used.position + 1 };
            }
            return None;
        };
        tracing::debug!(host = wire.settings().authority, "the login was refused, trying the next");
        *used = Used { credential: Some(next), position: used.position + 1 };
        Some(used.clone())
    }
}
