//! Whom to ask for an image's login, and what they have answered.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::config::credentials::{Credential, Login};
use crate::config::error::Error;
use crate::failure::Notice;

use super::pattern;
use super::places::Place;
use super::plugin::Plugin;
use super::protocol::{Answer, CacheKey};
use super::settings::{self, Configured};

/// For how long a plugin that has failed is not asked again: longer than any run.
const GIVEN_UP: Duration = Duration::from_secs(24 * 3600);

/// The plugins of a node, in the order of their configuration.
#[derive(Debug, Default)]
pub struct Providers {
    plugins: Vec<Provider>,
    /// The file or directory that names them.
    config: PathBuf,
    warnings: Vec<Notice>,
}

#[derive(Debug)]
struct Provider {
    plugin: Plugin,
    /// What it has answered. Locked while it runs, so that images that come at once start it once.
    answers: Mutex<HashMap<CacheKey, Kept>>,
}

#[derive(Debug, Clone)]
struct Kept {
    logins: Arc<Vec<(String, Credential)>>,
    until: Instant,
}

impl Providers {
    /// The plugins that the file, or the files of the directory, at `place` has, but for those that
    /// want a pod: of them a warning tells.
    ///
    /// # Errors
    /// [`Error`] for what the kubelet would not start with either.
    pub(in crate::config) fn read(place: &Place) -> Result<Self, Error> {
        let Configured { plugins, warnings } = settings::read(place)?;
        let provider = |plugin| Provider { plugin, answers: Mutex::default() };
        let plugins = plugins.into_iter().map(provider).collect();
        Ok(Self { plugins, config: place.config.clone(), warnings })
    }

    /// What in the configuration is not obeyed.
    pub fn warnings(&self) -> &[Notice] {
        &self.warnings
    }

    /// Whether a plugin is asked for the login of `image`, whatever it answers.
    pub fn is_for(&self, image: &str) -> bool {
        let mut patterns = self.plugins.iter().flat_map(|provider| &provider.plugin.patterns);
        patterns.any(|pattern| pattern::matches(pattern, image))
    }

    /// The logins for `image`, `host[:port]/repository`, in the order in which the kubelet tries them: of
    /// the answers of all plugins that are for it, the one with the most specific key first.
    ///
    /// A plugin that fails is named in a log line and passed over: a public image needs none.
    pub async fn all(&self, image: &str) -> Vec<Login> {
        let mut found: Vec<(String, Credential, &str)> = Vec::new();
        for provider in &self.plugins {
            let plugin = &provider.plugin;
            if !plugin.patterns.iter().any(|pattern| pattern::matches(pattern, image)) {
                continue;
            }
            let kept = provider.ask(image).await;
            let fitting = kept.logins.iter().filter(|(key, _)| pattern::matches(key, image));
            found.extend(
                fitting.map(|(key, credential)| {
                    (key.clone(), credential.clone(), plugin.name.as_str())
                }),
            );
        }
        found.sort_by(|(a, ..), (b, ..)| Reverse(a).cmp(&Reverse(b)));
        let login = |(_, credential, name): (String, Credential, &str)| {
            let source = format!("the kubelet's plugin {name} ({})", self.config.display());
            Login { credential, source }
        };
        found.into_iter().map(login).collect()
    }
}

impl Provider {
    /// What it says of `image`, now or a while ago.
    async fn ask(&self, image: &str) -> Kept {
        let mut answers = self.answers.lock().await;
        let keys = [CacheKey::image(image), CacheKey::registry(image), CacheKey::Global];
        let now = Instant::now();
        let kept = keys.iter().filter_map(|key| answers.get(key)).find(|kept| kept.until > now);
        if let Some(kept) = kept {
            return kept.clone();
        }
        match self.plugin.ask(image).await {
            Ok(Answer { key, lasts, logins }) => {
                let lasts = lasts.unwrap_or(self.plugin.default_lasts);
                let kept = Kept { logins: Arc::new(logins), until: now + lasts.min(GIVEN_UP) };
                answers.insert(key, kept.clone());
                kept
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let hint = error.hint_text();
                tracing::warn!(image, cause, hint, "{error}");
                // One that hangs would do so for every image.
                let key =
                    if error.is_lasting() { CacheKey::Global } else { CacheKey::registry(image) };
                let kept = Kept { logins: Arc::default(), until: now + GIVEN_UP };
                answers.insert(key, kept.clone());
                kept
            }
        }
    }
}
