//! Every registry that the node is configured for, over the network.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::finding::{Finding, Fix};
use super::node::Node;
use crate::config::{HostOptions, Keychain};
use crate::images::{PlatformChoice, entry_for};
use crate::oci::Descriptor;
use crate::platform::Platform;
use crate::progress::{Event, Sink};
use crate::reference::Reference;
use crate::registry::{HostReport, Policy, Probe, Registry};

/// Most registries that are asked.
const MAX_REGISTRIES: usize = 50;

/// Nothing is pulled, so nobody has to be told how it goes.
struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: Event) {}
}

/// Asks every registry that images here are of, or that has a directory, for an image that the node
/// has of it, and the sandbox image's for that. `keychain` has the node's logins.
pub async fn visit(node: &Node, keychain: Arc<Keychain>, policy: &Policy) -> Vec<Finding> {
    let sandbox = super::sandbox::image(node).filter(|image| !has(node, image));
    let mut wanted: Vec<Reference> =
        sandbox.iter().filter_map(|image| image.parse().ok()).collect();
    let mut domains: BTreeSet<String> = node.domains();
    domains.extend(super::hosts::domains(node));
    for domain in domains.into_iter().take(MAX_REGISTRIES) {
        wanted.extend(example(node, &domain));
    }
    let mut found = Vec::new();
    for reference in wanted {
        let is_sandbox = sandbox.as_deref() == Some(reference.to_string().as_str());
        let Some(probe) = look(node, &reference, &keychain, policy).await else { continue };
        if is_sandbox && !probe.verdict.ok {
            found.push(super::sandbox::unreachable(
                node,
                &reference.to_string(),
                &probe.verdict.text,
            ));
        }
        found.extend(judged(&reference, &probe));
        found.extend(without_login(&reference, &probe, has(node, &reference.to_string())));
    }
    found
}

fn has(node: &Node, image: &str) -> bool {
    node.images.iter().flat_map(|stored| &stored.names).any(|name| name.name == image)
}

/// An image of `domain` to ask for: one that is here, or one that nobody has.
fn example(node: &Node, domain: &str) -> Option<Reference> {
    let names = node.images.iter().flat_map(|image| &image.names);
    let parsed = names.filter_map(|name| name.name.parse::<Reference>().ok());
    let mut tagged =
        parsed.filter(|reference| reference.tag().is_some() && reference.domain() == domain);
    tagged.next().or_else(|| format!("{domain}/pullctl/doctor:none").parse().ok())
}

async fn look(
    node: &Node,
    reference: &Reference,
    keychain: &Arc<Keychain>,
    policy: &Policy,
) -> Option<Probe> {
    // What is wrong with its settings is told with them.
    let hosts = node.config.hosts(reference, &HostOptions::default()).ok()?.hosts;
    let registry = Registry::new(policy.clone(), Arc::clone(keychain), Arc::new(Nobody)).ok()?;
    let choice = PlatformChoice::Host(Platform::host());
    let choose =
        |entries: &[Descriptor]| entry_for(entries, &choice).map_err(|error| error.to_string());
    registry.repository(hosts, reference).probe(&choose).await.ok()
}

/// What is wrong with hosts as such: that an image is not there says nothing of them.
fn judged(reference: &Reference, probe: &Probe) -> Vec<Finding> {
    let mut found = Vec::new();
    for host in &probe.hosts {
        let HostReport { url, code, problem, fix, remarks, .. } = host;
        let fix = Fix::text(fix.clone().unwrap_or_default());
        if let (Some(code), Some(problem)) = (code, problem)
            && !is_about_the_image(code)
        {
            let what = format!("{url}, for images of {}: {problem}", reference.domain());
            let finding = match probe.verdict.ok {
                true => Finding::warning(code, what, "pulls go past it, to the next host"),
                false => Finding::error(code, what, "images of that registry can't be pulled"),
            };
            found.push(finding.fixed_by(fix));
        }
        for remark in remarks.iter().filter(|remark| remark.code != "rate-limit") {
            let fix = Fix::text(remark.hint.clone().unwrap_or_default());
            let why = "it will fail pulls, or slow them down";
            let finding = match remark.code {
                "clock-skew" | "certificate-ends-soon" | "rate-limit-reached" => {
                    Finding::warning(remark.code, remark.message.clone(), why)
                }
                code => Finding::note(code, remark.message.clone(), "it fails no pull"),
            };
            found.push(finding.fixed_by(fix));
        }
    }
    found
}

/// Hosts that want a login where there is none, or another one. What a host says of an image that nobody
/// has is no proof: some ask for a login rather than say so.
fn without_login(reference: &Reference, probe: &Probe, is_here: bool) -> Vec<Finding> {
    let wants = |host: &&HostReport| {
        matches!(host.code, Some("login-required")) || is_here && host.code == Some("access-denied")
    };
    let tell = |host: &HostReport| {
        let (code, problem) = (host.code?, host.problem.as_deref()?);
        let what = format!("{}, for images of {}: {problem}", host.url, reference.domain());
        let fix = Fix::text(host.fix.clone().unwrap_or_default());
        let finding = match is_here {
            true => {
                let why = format!(
                    "{reference} is here, and would not be pulled again from this node but for pods \
                     with a Secret"
                );
                Finding::warning(code, what, why)
            }
            false => {
                let why = "it was asked for an image that nobody has, so that only a login shows whether \
                           it needs one: pulls from this node go without";
                Finding::note(code, what, why)
            }
        };
        Some(finding.fixed_by(fix))
    };
    probe.hosts.iter().filter(wants).filter_map(tell).collect()
}

fn is_about_the_image(code: &str) -> bool {
    matches!(code, "not-found" | "login-required" | "access-denied" | "no-platform" | "no-manifest")
}
