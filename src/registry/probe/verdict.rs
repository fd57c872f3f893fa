//! What a pull would do with hosts that are like that.

use super::host::Visit;
use super::report::Verdict;
use crate::failure::{Diagnose as _, Diagnostic, Failure};
use crate::reference::Reference;
use crate::registry::error::{BLOB, Error, HostFailure};
use crate::registry::fault::Fault;

/// The code of a pull that succeeds.
const WORKS: &str = "pull-works";

/// What a pull of `reference` from the hosts of `visits` comes to.
pub(super) fn reach(reference: &Reference, visits: &[Visit]) -> Verdict {
    let needed = crate::registry::api::resolver::needed(reference);
    let resolving: Vec<&Visit> = visits.iter().filter(|visit| visit.host.may(needed)).collect();
    let Some(first) = resolving.iter().find(|visit| visit.manifest.is_ok()) else {
        let failures = resolving
            .into_iter()
            .filter_map(|visit| visit.manifest.as_ref().err().map(|fault| failure(visit, fault)));
        return failed(format!("resolve {reference}"), "", failures.collect());
    };
    if let Some(why) = &first.no_platform {
        return Verdict {
            ok: false,
            failure: Some(Failure::NoPlatform),
            code: "no-platform",
            text: format!("a pull fails: {why}"),
            host: Some(name(first)),
            layers_host: None,
            fix: Some("name one of these platforms with --platform, or another tag".to_owned()),
        };
    }
    let Some(layers) = visits.iter().find(|visit| visit.layers.is_ok()) else {
        let failures = visits
            .iter()
            .filter_map(|visit| visit.layers.as_ref().err().map(|fault| failure(visit, fault)));
        return failed(format!("fetch the layers of {reference}"), BLOB, failures.collect());
    };
    let (manifest, layers) = (name(first), name(layers));
    let text = match manifest == layers {
        true => format!("a pull works: {manifest} gives all of it"),
        false => format!("a pull works: {manifest} gives the manifest, {layers} the layers"),
    };
    Verdict {
        ok: true,
        failure: None,
        code: WORKS,
        text,
        host: Some(manifest),
        layers_host: Some(layers),
        fix: None,
    }
}

fn name(visit: &Visit) -> String {
    visit.host.endpoint().name().to_owned()
}

fn failure(visit: &Visit, fault: &Fault) -> HostFailure {
    HostFailure {
        host: name(visit),
        place: visit.host.place().clone(),
        fault: fault.clone(),
        tries: 1,
        duration: visit.took,
    }
}

/// What the pull itself would end with.
fn failed(what: String, request: &str, failures: Vec<HostFailure>) -> Verdict {
    let error = Error::all_hosts_failed(what, request, failures);
    let code = error.fault().map_or(super::code::UNNAMED, super::code::of);
    let text = format!("a pull fails: {}", Diagnostic::of(&error).one_line());
    let failure = Some(error.failure());
    Verdict { ok: false, failure, code, text, host: None, layers_host: None, fix: error.hint() }
}
