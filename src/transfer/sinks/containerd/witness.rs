//! Whether the kubelet finds what was brought: it asks the CRI, which learns of images by the daemon's
//! events, and has rules of its own about images that it did not pull.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::config::kubelet::{Admission, Verification};
use crate::containerd::{self, Client, KUBERNETES, labels};
use crate::failure::{Diagnostic, Notice};
use crate::platform::{Matcher, Platform};
use crate::progress::{self, Event, Seen};
use crate::transfer::plan::Plan;
use crate::transfer::request::Names;

/// How long the CRI is given to take note of an image (3 s): a few milliseconds after its event, more on
/// a node in trouble.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long it is left alone after it was asked for the first time.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);

fn for_another(platform: &Platform, host: &Platform) -> String {
    format!("the image is for {platform}, and this node is {host}")
}

/// Asks the CRI about images.
pub(super) struct Witness {
    client: Client,
    /// What the kubelet of this node wants to see before a pod may use an image.
    verification: Option<Verification>,
    has_cri: OnceCell<bool>,
    progress: Arc<dyn progress::Sink>,
}

impl Witness {
    pub(super) fn new(
        client: Client,
        verification: Option<Verification>,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        Self { client, verification, has_cri: OnceCell::new(), progress }
    }

    /// Whether the kubelet finds the image under the name that people ask for; `None` where there is no
    /// CRI, or the namespace is none of its.
    pub(super) async fn seen(&self, names: &Names, plan: &Plan) -> Option<Seen> {
        if self.client.namespace() != KUBERNETES || !self.has_cri().await {
            return None;
        }
        let image = plan.images.first()?;
        let (target, id) = (&plan.target.digest, image.config.digest.to_string());
        let name = labels::image_name(&names.reference, target);
        let host = Platform::host();
        let runs_here = Matcher::default_for(&host).best([&image.platform]).is_some();
        // Of an index without this machine's platform the CRI takes nothing.
        let patience = if runs_here { PATIENCE } else { PATIENCE / 6 };
        match self.find(&name, &id, patience).await {
            Ok(found) if found.as_ref() == Some(&id) => {
                let elsewhere = (!runs_here).then(|| for_another(&image.platform, &host));
                let reason = self.admission(names, &id).or(elsewhere);
                Some(Seen { seen: true, reason })
            }
            Ok(_) if !runs_here => {
                let reason = Some(for_another(&image.platform, &host));
                Some(Seen { seen: false, reason })
            }
            Ok(Some(other)) => {
                let reason = format!("containerd's CRI still has {other} under this name");
                Some(Seen { seen: false, reason: Some(reason) })
            }
            Ok(None) => {
                let reason = "containerd's CRI has not taken note of it yet".to_owned();
                Some(Seen { seen: false, reason: Some(reason) })
            }
            Err(error) => {
                let reason = Some(Diagnostic::of(&error).headline().to_owned());
                Some(Seen { seen: false, reason })
            }
        }
    }

    async fn has_cri(&self) -> bool {
        let ask = async || self.client.cri().is_there().await;
        *self.has_cri.get_or_init(ask).await
    }

    /// The ID that the CRI has under `name`, as soon as it is `wanted`, or after all `patience`.
    async fn find(
        &self,
        name: &str,
        wanted: &str,
        patience: Duration,
    ) -> Result<Option<String>, containerd::Error> {
        let cri = self.client.cri();
        let until = Instant::now() + patience;
        let mut interval = FIRST_INTERVAL;
        loop {
            let found = cri.image(name).await?.map(|image| image.id);
            if found.as_deref() == Some(wanted) || Instant::now() >= until {
                return Ok(found);
            }
            sleep(interval).await;
            interval = (interval * 2).min(PATIENCE / 8);
        }
    }

    /// What becomes of pods all the same, told as a warning too.
    fn admission(&self, names: &Names, id: &str) -> Option<String> {
        let verification = self.verification.as_ref()?;
        let reference = &names.reference;
        let (code, reason) = match verification.admission(reference, id) {
            Ok(Admission::Free) => return None,
            Ok(Admission::WithLogin(holders)) => (
                "kubelet-wants-login",
                match holders.is_empty() {
                    true => "the kubelet pulls it again for every pod".to_owned(),
                    false => format!(
                        "the kubelet pulls it again for pods without one of the logins {}",
                        holders.join(", ")
                    ),
                },
            ),
            Ok(Admission::PulledAgain(why)) => {
                ("kubelet-pulls-again", format!("the kubelet pulls it again: {why}"))
            }
            Err(error) => {
                tracing::debug!(%error, "what the kubelet remembers of the image is unknown");
                return None;
            }
        };
        let notice = Notice::new(code, format!("{reference}: {reason}")).with_hint(format!(
            "with imagePullPolicy: Never its pods fail. Let a pod with the registry's login pull it \
             once; or set imagePullCredentialsVerificationPolicy to NeverVerify or, if the kubelet has \
             never pulled it, to NeverVerifyAllowlistedImages with {} in \
             preloadedImagesVerificationAllowlist",
            reference.name()
        ));
        self.progress.event(Event::Warning(notice));
        Some(reason)
    }
}
