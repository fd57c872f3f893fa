//! What a probe tells, as plain values: their members are the JSON, their texts are for people.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::failure::{Failure, Notice};
use crate::registry::fault::Fault;

/// What the hosts of an image came to.
#[derive(Debug, Clone, Serialize)]
pub struct Probe {
    /// In the order of a pull.
    pub hosts: Vec<HostReport>,
    /// What a pull would do.
    pub verdict: Verdict,
}

/// One host.
#[derive(Debug, Clone, Serialize)]
pub struct HostReport {
    /// `https://mirror.example/v2`.
    pub url: String,
    /// Whether a pull would get all that it wants here.
    pub ok: bool,
    /// What was looked at, in this order.
    pub steps: Vec<Step>,
    /// What fails nothing, or not yet.
    pub remarks: Vec<Notice>,
    /// The stable name of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// The way: by a proxy, or directly.
    Proxy,
    /// The addresses of the name.
    Dns,
    /// A connection to each address.
    Tcp,
    /// The handshake.
    Tls,
    /// `/v2/`.
    Api,
    /// What the host asks for before it gives anything.
    Challenge,
    /// The token endpoint.
    Token,
    /// HEAD of the manifest.
    Head,
    /// The manifest or index that the reference names.
    Manifest,
    /// The manifest of the platform.
    PlatformManifest,
    /// One byte of the largest layer.
    Layer,
}

impl StepKind {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Api => "/v2/",
            Self::Challenge => "login",
            Self::Token => "token",
            Self::Head => "head",
            Self::Manifest => "manifest",
            Self::PlatformManifest => "platform",
            Self::Layer => "layer",
        }
    }
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Which.
    pub step: StepKind,
    /// Whether a pull could go on.
    pub ok: bool,
    /// How long it took; `None` where nothing was waited for.
    #[serde(rename = "ms", serialize_with = "milliseconds")]
    pub took: Option<Duration>,
    /// The stable name of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// For people, one line or several.
    pub text: String,
    /// What was seen.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl Step {
    /// A step that went well.
    pub(crate) fn good(step: StepKind, took: Option<Duration>, text: impl Into<String>) -> Self {
        Self { step, ok: true, took, code: None, text: text.into(), details: Map::new() }
    }

    /// A step at which a pull would stop.
    pub(crate) fn bad(step: StepKind, took: Option<Duration>, fault: &Fault) -> Self {
        let code = Some(super::code::of(fault));
        Self { step, ok: false, took, code, text: fault.to_string(), details: Map::new() }
    }

    /// The same with the members of `details`, an object.
    #[must_use]
    pub(crate) fn with(mut self, details: Value) -> Self {
        if let Value::Object(members) = details {
            self.details.extend(members);
        }
        self
    }
}

fn milliseconds<S: Serializer>(took: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let tenths = took.map(|took| (took.as_secs_f64() * 10_000.0).round() / 10.0);
    tenths.serialize(serializer)
}

/// What a pull would do.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Whether it would succeed.
    pub ok: bool,
    /// The kind of failure, by which the exit code goes.
    #[serde(skip)]
    pub failure: Option<Failure>,
    /// `pull-works`, or the name of what stops it.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// The host that gives the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The host that gives the layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_host: Option<String>,
    /// The one thing to change, where it would fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
