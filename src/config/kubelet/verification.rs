//! Which images a pod may use that somebody else has pulled: `imagePullCredentialsVerificationPolicy`.
//!
//! On by default from Kubernetes 1.35. See
//! <https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification>.

use serde_json::Value;

use crate::config::error::Error;
use crate::reference::{DOCKER_HUB, Reference};

use super::flags::Flags;
use super::records::ImageRecords;
use super::settings::Settings;

const POLICY: &str = "imagePullCredentialsVerificationPolicy";
const ALLOWLIST: &str = "preloadedImagesVerificationAllowlist";
const GATE: &str = "KubeletEnsureSecretPulledImages";

/// The end of a pattern that stands for all repositories below a path.
const ANYTHING_BELOW: &str = "/*";

/// Whose images pods have to show a login for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerificationPolicy {
    /// Nobody's.
    NeverVerify,
    /// Those that the kubelet has pulled itself.
    #[default]
    NeverVerifyPreloadedImages,
    /// All but those of the allowlist.
    NeverVerifyAllowlistedImages,
    /// All.
    AlwaysVerify,
}

/// What the kubelet wants to see before a pod may use an image that is there.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Whose images are looked at.
    pub policy: VerificationPolicy,
    /// Names, or what they begin with before a `/*`.
    pub allowlist: Vec<String>,
    /// Whether this kubelet looks at all, as far as can be known.
    pub is_in_force: bool,
    records: ImageRecords,
}

/// What becomes of a pod that wants an image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It starts, whoever it belongs to.
    Free,
    /// It starts if it has one of these Secrets (`namespace/name`) or service accounts; others pull the
    /// image again.
    WithLogin(Vec<String>),
    /// The image is pulled again, and with `imagePullPolicy: Never` the pod fails: nothing shows that the
    /// registry lets this node have it under this name. The words say why.
    PulledAgain(String),
}

impl Verification {
    pub(super) fn of(
        flags: &Flags,
        settings: &Settings,
        records: ImageRecords,
    ) -> Result<Self, Error> {
        let policy = policy(settings)?;
        // The kubelet makes the directory when it starts, if it keeps records at all.
        let is_in_force = gate(flags, settings).unwrap_or_else(|| records.exist());
        Ok(Self {
            policy: policy.unwrap_or_default(),
            allowlist: allowlist(settings)?,
            is_in_force,
            records,
        })
    }

    /// What becomes of a pod that wants `image`, which is there with the ID `image_id` as the CRI tells
    /// it.
    ///
    /// # Errors
    /// [`Error`] for a record that cannot be read.
    pub fn admission(&self, image: &Reference, image_id: &str) -> Result<Admission, Error> {
        use VerificationPolicy as Policy;
        if !self.is_in_force || self.policy == Policy::NeverVerify {
            return Ok(Admission::Free);
        }
        let name = image.name();
        let record = self.records.pulled(image_id)?;
        let is_kubelets = record.is_some() || self.is_being_pulled(image);
        let is_looked_at = match self.policy {
            Policy::NeverVerify => false,
            Policy::NeverVerifyPreloadedImages => is_kubelets,
            Policy::NeverVerifyAllowlistedImages => is_kubelets || !self.is_allowed(&name),
            Policy::AlwaysVerify => true,
        };
        if !is_looked_at {
            return Ok(Admission::Free);
        }
        let Some(record) = record else {
            return Ok(Admission::PulledAgain("the kubelet has no record of it".to_owned()));
        };
        Ok(match record.access.get(&name) {
            Some(access) if access.every_pod => Admission::Free,
            Some(access) => Admission::WithLogin(access.holders.clone()),
            None => {
                let others: Vec<&str> = record.access.keys().map(String::as_str).collect();
                Admission::PulledAgain(format!(
                    "the kubelet has pulled the same image as {}",
                    others.join(", ")
                ))
            }
        })
    }

    /// Whether the kubelet began to pull `image`, in any spelling that a pod may have, and never told
    /// the end.
    fn is_being_pulled(&self, image: &Reference) -> bool {
        let full = image.to_string();
        let familiar = full.strip_prefix(DOCKER_HUB).and_then(|rest| rest.strip_prefix('/'));
        let official = familiar.and_then(|rest| rest.strip_prefix("library/"));
        let spellings = [Some(full.as_str()), familiar, official];
        spellings.into_iter().flatten().any(|image| self.records.is_intended(image))
    }

    fn is_allowed(&self, name: &str) -> bool {
        self.allowlist.iter().any(|pattern| match pattern.strip_suffix(ANYTHING_BELOW) {
            Some(path) => name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')),
            None => pattern == name,
        })
    }
}

fn policy(settings: &Settings) -> Result<Option<VerificationPolicy>, Error> {
    use VerificationPolicy as Policy;
    const NAMES: [(&str, Policy); 4] = [
        ("NeverVerify", Policy::NeverVerify),
        ("NeverVerifyPreloadedImages", Policy::NeverVerifyPreloadedImages),
        ("NeverVerifyAllowlistedImages", Policy::NeverVerifyAllowlistedImages),
        ("AlwaysVerify", Policy::AlwaysVerify),
    ];
    let (Some(text), Some((file, _))) = (settings.text(POLICY)?, settings.get(POLICY)) else {
        return Ok(None);
    };
    let found = NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, policy)| Some(*policy)).ok_or_else(|| {
        let names = NAMES.map(|(name, _)| name).join(", ");
        file.invalid(POLICY, format!("`{POLICY}` has {text:?}"), format!("one of {names}"))
    })
}

fn allowlist(settings: &Settings) -> Result<Vec<String>, Error> {
    let Some((file, value)) = settings.get(ALLOWLIST) else { return Ok(Vec::new()) };
    let names = value.as_array().and_then(|names| {
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    names.ok_or_else(|| {
        file.invalid(ALLOWLIST, format!("`{ALLOWLIST}` is no list of names"), "a list of names")
    })
}

/// What the feature gates say, if they say anything.
fn gate(flags: &Flags, settings: &Settings) -> Option<bool> {
    let typed = flags.get("feature-gates").and_then(|gates| {
        gates.split(',').find_map(|gate| gate.trim().strip_prefix(GATE)?.strip_prefix('='))
    });
    match typed {
        Some(value) => Some(value.eq_ignore_ascii_case("true")),
        None => settings.get_in("featureGates", GATE).and_then(|(_, value)| Value::as_bool(value)),
    }
}
