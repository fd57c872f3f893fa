//! The hosts of an image looked at one by one, in the order of a pull, all of them and step by step:
//! what a pull would find there, and where it would stop.
//!
//! | file | owns |
//! |---|---|
//! | `report` | what is told: steps, remarks, the verdict |
//! | `code` | the stable names of faults |
//! | `proxy` | by which proxy, and why |
//! | `connect` | names, addresses, connections |
//! | `handshake` | TLS, and what the host showed |
//! | `tunnel` | the way through a proxy: CONNECT, SOCKS |
//! | `asker` | requests as a pull makes them, with what their answers' heads say |
//! | `login` | what the host asks for, whose login it gets, what the token is good for |
//! | `content` | the manifest, that of the platform, one byte of the largest layer |
//! | `host` | all of it at one host |
//! | `verdict` | what a pull would do with hosts that are like that |

mod asker;
mod code;
mod connect;
mod content;
mod handshake;
mod host;
mod login;
mod proxy;
mod report;
mod tunnel;
mod verdict;

pub use content::Chooser;
pub use report::{HostReport, Probe, Step, StepKind, Verdict};

use crate::registry::error::Error;
use crate::registry::repository::Repository;

impl Repository {
    /// Asks every host of the repository for its image, and stops at nothing. `choose` says which entry
    /// of an index runs here.
    ///
    /// # Errors
    /// [`Error::Setup`], with which every request would end; [`Error::NoHost`].
    pub async fn probe(&self, choose: &Chooser<'_>) -> Result<Probe, Error> {
        let visits = host::visit_all(self, choose).await?;
        let verdict = verdict::reach(self.reference(), &visits);
        Ok(Probe { hosts: visits.into_iter().map(|visit| visit.report).collect(), verdict })
    }
}
