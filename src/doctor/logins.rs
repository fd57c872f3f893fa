//! Logins that no host asks for, hosts that may want one, and logins for a registry whose mirror answers.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Fix};
use super::hosts::shell_word;
use super::node::Node;
use crate::config::{HostOptions, RegistryHost, RegistryKey};
use crate::reference::Reference;

pub(super) async fn findings(node: &Node) -> Vec<Finding> {
    let mut domains = node.domains();
    domains.extend(super::hosts::domains(node));
    let hosts: BTreeMap<String, Vec<RegistryHost>> = domains
        .into_iter()
        .filter_map(|domain| {
            let found = node.config.hosts_of(&domain, &HostOptions::default()).ok()?;
            Some((domain, found.hosts))
        })
        .collect();
    let logins = node.config.logins();
    let mut found = unused(&logins, &hosts);
    found.extend(mirrors_without(&logins, &hosts));
    found.extend(pulled_with_secrets(node, &logins, &hosts));
    found
}

/// A login and the file that it stands in.
type Stored = (RegistryKey, String);

fn unused(logins: &[Stored], hosts: &BTreeMap<String, Vec<RegistryHost>>) -> Vec<Finding> {
    if hosts.is_empty() {
        return Vec::new();
    }
    let asked: BTreeSet<RegistryKey> =
        hosts.values().flatten().map(|host| RegistryKey::of(&host.authority)).collect();
    let mut found = Vec::new();
    for (registry, file) in logins.iter().filter(|(registry, _)| !asked.contains(registry)) {
        let what =
            format!("the login for {registry} in {file} is for no host that images here come from");
        let why =
            "it may be spelled otherwise than the host: a login counts for the host that is asked";
        let fix = Fix::text("forget it, if it is of no use")
            .then(format!("pullctl logout {}", shell_word(registry.as_str())));
        found.push(Finding::note("login-unused", what, why).fixed_by(fix));
    }
    found
}

/// Registries with a login that their first mirror does not get, and has none of its own.
fn mirrors_without(logins: &[Stored], hosts: &BTreeMap<String, Vec<RegistryHost>>) -> Vec<Finding> {
    let login = |authority: &str| {
        let key = RegistryKey::of(authority);
        logins.iter().find(|(registry, _)| *registry == key)
    };
    let mut found = Vec::new();
    for (domain, hosts) in hosts {
        let own = hosts.iter().find(|host| host.ns.is_none()).map(|host| host.authority.as_str());
        let Some((registry, file)) = login(own.unwrap_or(domain)) else { continue };
        let pulls = |host: &&RegistryHost| host.capabilities.pull && host.ns.is_some();
        for mirror in hosts.iter().filter(pulls).filter(|mirror| login(&mirror.authority).is_none())
        {
            let mirror = &mirror.authority;
            let what = format!(
                "there is a login for {registry} in {file}, and none for its mirror {mirror}"
            );
            let why = "a mirror never gets the registry's login: one that wants a login is passed over, \
                       or fails the pull where it stands alone";
            let fix = Fix::text("log in to the mirror, if it wants that")
                .then(format!("pullctl login {}", shell_word(mirror)));
            found.push(Finding::note("mirror-without-login", what, why).fixed_by(fix));
        }
    }
    found
}

/// Registries of which the kubelet has pulled an image with a pod's Secret, and for which this node has
/// no login: that they want one is known without asking them.
fn pulled_with_secrets(
    node: &Node,
    logins: &[Stored],
    hosts: &BTreeMap<String, Vec<RegistryHost>>,
) -> Vec<Finding> {
    let Ok(Some(kubelet)) = &node.kubelet else { return Vec::new() };
    let records = kubelet.records();
    let mut pulled: BTreeMap<String, (Reference, String)> = BTreeMap::new();
    for image in &node.images {
        let record = image.id.and_then(|id| records.pulled(&id.to_string()).ok().flatten());
        let Some(record) = record else { continue };
        for reference in image.names.iter().filter_map(|name| name.name.parse::<Reference>().ok()) {
            let access = record.access.get(&reference.name());
            let secret =
                access.filter(|access| !access.every_pod).and_then(|it| it.holders.first());
            if let Some(secret) = secret
                && !node.config.has_provider_for(&reference.name())
            {
                let entry = pulled.entry(reference.domain().to_owned());
                entry.or_insert_with(|| (reference.clone(), secret.clone()));
            }
        }
    }
    let has_login = |host: &RegistryHost| {
        let key = RegistryKey::of(&host.authority);
        logins.iter().any(|(registry, _)| *registry == key)
    };
    let mut found = Vec::new();
    for (domain, (reference, secret)) in pulled {
        let Some(hosts) = hosts.get(&domain).filter(|hosts| !hosts.iter().any(has_login)) else {
            continue;
        };
        let own = hosts.iter().find(|host| host.ns.is_none()).or(hosts.first());
        let Some(host) = own.map(|host| &host.authority) else { continue };
        let what = format!(
            "the kubelet has pulled {} with {secret} of a pod, and there is no login for {host} here",
            reference.name()
        );
        let why = "what is pulled by hand, or ahead of its pods, is refused there";
        let fix = Fix::command(format!("pullctl login {}", shell_word(host)));
        found.push(Finding::note("host-without-login", what, why).fixed_by(fix));
    }
    found
}
