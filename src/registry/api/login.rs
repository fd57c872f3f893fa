//! Proving a login before it is kept.

use http::{Method, StatusCode};

use crate::config::RegistryHost;
use crate::registry::auth::{Access, Standing};
use crate::registry::error::{Error, HostFailure};
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::exchange::Call;
use crate::registry::place::SettingsPlace;
use crate::registry::repository::Registry;

/// Every registry answers here, and asks for a login if it knows logins. See
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#determining-support>.
const PROBE: &str = "/v2/";

impl Registry {
    /// Logs in at `host` with what the keychain has for it, its token endpoint included. Returns
    /// whether the host asked for a login at all; if not, nothing is proved.
    ///
    /// # Errors
    /// [`Error::AllHostsFailed`] with the host's refusal, or why it could not be asked.
    pub async fn check_login(&self, host: &RegistryHost) -> Result<bool, Error> {
        let endpoint = self.endpoint(host)?;
        let access = Access::login();
        let started = tokio::time::Instant::now();
        let call = Call { access: Some(&access), ..Call::new(Method::GET, PROBE, PROBE) };
        let outcome = match endpoint.send(&call).await {
            // A portal that answers for everybody proves nothing.
            Ok(answer) if body::is_html(answer.response.headers()) => Err(Fault::Html),
            Ok(answer) if answer.response.status() == StatusCode::OK => {
                Ok(answer.standing.is_login())
            }
            Ok(answer) => {
                // Nothing but the login itself is asked about here, so that it is what was refused.
                let standing = match answer.standing {
                    Standing::Proved => Standing::Claimed,
                    standing => standing,
                };
                let context = endpoint.context();
                Err(body::refusal(context, answer.response, standing).await)
            }
            Err(fault) => Err(fault),
        };
        outcome.map_err(|fault: Fault| {
            let failure = HostFailure {
                host: endpoint.name().to_owned(),
                place: SettingsPlace::of(host, endpoint.name()),
                fault,
                tries: 1,
                duration: started.elapsed(),
            };
            let what = format!("log in to {}", endpoint.name());
            Error::all_hosts_failed(what, PROBE, vec![failure])
        })
    }
}
