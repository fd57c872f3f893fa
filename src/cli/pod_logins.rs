//! Registries as the images of a list are to be asked: with the logins of the pods that want them.

use std::collections::HashMap;

use super::wanted::{Batch, Wanted};
use crate::config::{self, LoginFile};
use crate::lists::{PodLogins, PullSecret};
use crate::registry::Registry;

/// The run's registries, and the same with further logins for some images.
#[derive(Debug)]
pub(super) struct Registries {
    general: Registry,
    /// By whose logins they are.
    of_pods: HashMap<Vec<PodLogins>, Registry>,
}

impl Registries {
    /// `general` for all images, with the Secrets of the lists for those whose pods name them.
    ///
    /// # Errors
    /// A Secret that holds no logins.
    pub(super) fn new(general: Registry, batch: &Batch) -> Result<Self, config::Error> {
        let mut of_pods = HashMap::new();
        for wanted in &batch.images {
            let mut secrets: Vec<&PullSecret> = Vec::new();
            secrets.extend(wanted.logins.iter().flat_map(|pod| pod.among(&batch.secrets)));
            if secrets.is_empty() || of_pods.contains_key(&wanted.logins) {
                continue;
            }
            let file =
                |it: &PullSecret| LoginFile::of_secret(&it.place.path, it.place.line, &it.content);
            let files = secrets.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
            of_pods.insert(wanted.logins.clone(), general.with_logins(files));
        }
        Ok(Self { general, of_pods })
    }

    /// As they are to be asked for `wanted`.
    pub(super) fn of(&self, wanted: &Wanted) -> &Registry {
        self.of_pods.get(&wanted.logins).unwrap_or(&self.general)
    }
}
