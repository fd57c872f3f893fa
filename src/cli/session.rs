//! What a command works with: the two streams, the daemon, registries, progress, and the signals
//! that end it. Wired here once, for all commands.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};

use super::Error;
use super::budget::Budget;
use super::groups::GlobalArgs;
use crate::config::Keychain;
use crate::containerd::{self, Client};
use crate::output::{Options, Printer, Progress};
use crate::progress::Sink;
use crate::registry::{self, Policy, Registry};

/// How long somebody is left to wonder what is waited for.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// One run of one command.
pub(super) struct Session<'a> {
    /// The flags of every command.
    pub(super) global: &'a GlobalArgs,
    /// Standard output and standard error.
    pub(super) printer: &'a Printer,
    /// Who takes the run's events beside what shows them.
    pub(super) observer: Option<Arc<dyn Sink>>,
    /// Whether the work is a guest on a busy node: `--background`.
    pub(super) is_background: bool,
    /// What it may hold in memory: `--memory`.
    pub(super) budget: Budget,
}

impl Session<'_> {
    /// The daemon and the namespace that the flags of every command name.
    ///
    /// # Errors
    /// When there is no daemon, or it does not answer.
    pub(super) async fn connect(&self) -> Result<Client, containerd::Error> {
        self.connect_to(None).await
    }

    /// The same daemon and another namespace.
    ///
    /// # Errors
    /// When there is no daemon, or it does not answer.
    pub(super) async fn connect_to(
        &self,
        namespace: Option<&str>,
    ) -> Result<Client, containerd::Error> {
        let address = containerd::find_address(self.global.address())?;
        let client =
            Client::connect(&address, namespace.unwrap_or(self.global.namespace())).await?;
        Ok(if self.is_background { client.sparing() } else { client })
    }

    /// What `work` comes to; when that takes long, says that `whom` is waited for.
    pub(super) async fn patiently<T>(&self, whom: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let mut work = Box::pin(work);
        loop {
            match timeout(TOLD_AFTER, &mut work).await {
                Ok(outcome) => return outcome,
                Err(_) => {
                    let seconds = started.elapsed().as_secs();
                    self.printer.err(&format!("waiting for {whom}, {seconds} s"));
                }
            }
        }
    }

    /// The snapshotter that containers of the kubelet are started from, unless another was typed;
    /// the daemon's configuration names `configured`.
    ///
    /// # Errors
    /// When the daemon has to be asked and refuses.
    pub(super) async fn snapshotter(
        &self,
        client: &Client,
        configured: Option<String>,
    ) -> Result<String, containerd::Error> {
        Ok(self.global.snapshotter_or(self.daemons_snapshotter(client).await?, configured))
    }

    /// The one that containers of the kubelet are started from, as far as the daemon tells and need be
    /// asked.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub(super) async fn daemons_snapshotter(
        &self,
        client: &Client,
    ) -> Result<Option<String>, containerd::Error> {
        if self.global.snapshotter().is_some() {
            return Ok(None);
        }
        let cri = client.cri();
        self.patiently("the daemon's CRI plugin", cri.snapshotter()).await
    }

    /// Starts to show a run.
    pub(super) fn progress(&self, options: Options) -> Arc<Progress> {
        let options = Options { verbosity: self.global.verbose, ..options };
        Progress::start(self.printer, &options, self.observer.clone())
    }

    /// Access to registries, within `policy` and the run's memory, as whom `keychain` says.
    ///
    /// # Errors
    /// When the system's certificates can't be used.
    pub(super) fn registry(
        &self,
        policy: Policy,
        keychain: Keychain,
        progress: &Arc<Progress>,
    ) -> Result<Registry, registry::Error> {
        let policy = self.budget.policy(policy);
        Registry::new(policy, Arc::new(keychain), Arc::clone(progress) as Arc<dyn Sink>)
    }

    /// From here on Ctrl-C and SIGTERM are caught. Until a command calls this they end the process.
    /// `hint` says how to go on after them.
    pub(super) fn catch_signals(&self, hint: Option<&'static str>) -> Signals {
        let caught = signal(SignalKind::interrupt())
            .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
        // Without a handler the signals end the process by themselves.
        Signals { caught: caught.ok(), hint }
    }
}

/// Ctrl-C and SIGTERM, caught.
pub(super) struct Signals {
    caught: Option<(Signal, Signal)>,
    hint: Option<&'static str>,
}

impl Signals {
    /// What `work` comes to, unless a signal comes first.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn or<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Error>> {
        // A future has room for what it was given besides what it awaits: each of these around another
        // would make it twice as large, and it is moved.
        let work = Box::pin(work);
        async move {
            let hint = self.hint;
            tokio::select! {
                // A signal that is there already counts before work is begun.
                biased;
                () = self.arrived() => Err(Error::Interrupted { hint }),
                outcome = work => Ok(outcome),
            }
        }
    }

    async fn arrived(&mut self) {
        let Some((interrupt, terminate)) = &mut self.caught else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
