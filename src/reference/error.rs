//! A text that is no reference, as an error with a guess at what was meant.

use std::str::FromStr;

use super::grammar::{DOCKER_HUB, OFFICIAL_NAMESPACE, Reference, parse, without_user_info};
use super::rule::{MAX_LENGTH, ReferenceRule};
use crate::failure::{Diagnose, Failure};

/// A text that is no reference, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference {input:?}: {rule}")]
pub struct ReferenceError {
    /// The text, shortened when it is long, and without user info.
    input: String,
    rule: ReferenceRule,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|rule| ReferenceError::new(text, rule))
    }
}

impl ReferenceError {
    fn new(text: &str, rule: ReferenceRule) -> Self {
        let shown = without_user_info(text).unwrap_or(text);
        let mut input: String = shown.chars().take(MAX_LENGTH).collect();
        if input.len() < shown.len() {
            input.push('…');
        }
        Self { input, rule }
    }

    /// The rule that the text breaks.
    pub fn rule(&self) -> &ReferenceRule {
        &self.rule
    }

    /// The reference that was probably meant; `None` where there is no telling.
    fn repaired(&self) -> Option<String> {
        let candidate = match &self.rule {
            ReferenceRule::WhiteSpace => self.input.trim().to_owned(),
            ReferenceRule::Scheme(scheme) => {
                self.input.get(scheme.len() + "://".len()..)?.trim_matches('/').to_owned()
            }
            ReferenceRule::UserInfo => self.input.clone(),
            ReferenceRule::UpperCase(path) => self.input.replacen(path, &path.to_lowercase(), 1),
            ReferenceRule::EmptyComponent(_) => {
                let components = self.input.split('/').filter(|component| !component.is_empty());
                components.collect::<Vec<_>>().join("/")
            }
            ReferenceRule::EmptyTag => self.input.replacen(':', "", 1),
            ReferenceRule::Digest(_) => {
                let (name, digest) = self.input.split_once('@')?;
                format!("{name}@{}", digest.to_lowercase())
            }
            _ => return None,
        };
        parse(&candidate).is_ok().then_some(candidate)
    }
}

impl Diagnose for ReferenceError {
    fn failure(&self) -> Failure {
        Failure::Usage
    }

    fn hint(&self) -> Option<String> {
        let repaired = self.repaired();
        match (&self.rule, repaired) {
            (ReferenceRule::UserInfo, Some(repaired)) => {
                Some(format!("write {repaired} and give the login with -u USER"))
            }
            (_, Some(repaired)) => Some(format!("did you mean {repaired}?")),
            (ReferenceRule::BareIdentifier, None) => Some(format!(
                "pull by name, or by digest as NAME@sha256:…; a repository of that name is \
                 {DOCKER_HUB}/{OFFICIAL_NAMESPACE}/{}",
                self.input
            )),
            (ReferenceRule::Host(_) | ReferenceRule::Port(_), None) => {
                Some("write HOST[:PORT]/REPOSITORY[:TAG], an IPv6 host as [::1]:5000".to_owned())
            }
            _ => None,
        }
    }
}
