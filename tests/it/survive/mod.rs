//! Transfers that survive: whatever befalls a mirror, the image comes from the registry that the
//! mirror stands before, and what the mirror gave is not fetched again. What either was asked for,
//! and with whose login, is looked up in their records.

mod bed;
mod into_containerd;

use bed::{Bed, CHUNK, CONNECTIONS, GOOD, LAYER, PART, Trouble, logins};

use crate::support::faulty::{Fault, FaultyRegistry, Gate, Request, dead_authority};
use crate::support::image::Layer;
use crate::support::unique;

struct Case {
    trouble: Trouble,
    flags: &'static [&'static str],
    /// What is told of the mirror.
    told: &'static str,
    /// Where the mirror sends its clients.
    target: Option<String>,
}

impl Case {
    fn new(trouble: Trouble, told: &'static str) -> Self {
        Self { trouble, flags: &[], told, target: None }
    }

    /// A mirror that sends its clients where nothing listens.
    fn redirect(trouble: fn(Fault) -> Trouble) -> Self {
        let target = dead_authority();
        let fault = Fault::Redirect(format!("http://{target}/bucket"));
        Self { target: Some(target), ..Self::new(trouble(fault), "307 Temporary Redirect") }
    }

    fn with(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(Trouble::NothingListens, "connection refused"),
        Case::new(Trouble::MidBlob(Fault::Reset(PART)), "connection broke"),
        Case::new(Trouble::MidBlob(Fault::Truncate(PART)), "ended before its announced end"),
        Case::new(Trouble::MidBlob(Fault::Stall(PART, Gate::new())), "no data for 1s")
            .with(&["--stall-timeout", "1s"]),
        Case::new(Trouble::MidBlob(Fault::Trickle(PART)), "less than the 65536 B/s wanted")
            .with(&["--min-speed", "64KiB/s"]),
        Case::new(Trouble::Layer(Fault::Lengthen(1000)), "where the descriptor says"),
        Case::new(Trouble::Layer(Fault::Shorten(1000)), "where the descriptor says"),
        Case::new(Trouble::Layer(Fault::Corrupt(PART)), "wrong blob"),
        Case::new(Trouble::Manifest(Fault::Corrupt(20)), "content has the digest"),
        Case::new(Trouble::LoginRefused, "401 Unauthorized"),
        Case::redirect(Trouble::Layer),
        Case::redirect(Trouble::MidBlob),
        Case::new(Trouble::CertificateExpired, "certificate expired"),
    ];
    for (status, told) in [
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (429, "429 Too Many Requests"),
        (500, "500 Internal Server Error"),
    ] {
        // Far longer than a test may take, so that nobody waits for it.
        let fault = || Fault::Status(status, vec![("Retry-After", "3600".to_owned())]);
        cases.push(Case::new(Trouble::Always(fault()), told));
        cases.push(Case::new(Trouble::MidBlob(fault()), told));
    }
    cases
}

/// Whether the mirror asks its clients to stay away from the first request on.
fn is_asked_to_wait(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Always(Fault::Status(429 | 500, _)))
}

/// How often a mirror may be asked for one manifest or configuration: without a login and with it,
/// and by GET for the reason that its answer to a HEAD does not have.
fn most_requests_a_document(trouble: &Trouble) -> usize {
    match trouble {
        Trouble::Always(Fault::Status(401 | 403, _)) | Trouble::LoginRefused => 4,
        Trouble::Always(Fault::Status(404, _)) => 3,
        _ => 2,
    }
}

/// What is wrong with how `case` ended.
fn complaints(case: &Case) -> Vec<String> {
    let bed = Bed::new(&case.trouble);
    let outcome = bed.pull(case.flags);
    if let Trouble::MidBlob(Fault::Stall(_, gate)) = &case.trouble {
        gate.open();
    }
    let lines = outcome.stderr.lines().filter(|line| !line.ends_with("206 Partial Content"));
    let log = lines.collect::<Vec<_>>().join("\n");
    let mut complaints = Vec::new();
    let mut wants = |holds: bool, what: String| {
        if !holds {
            complaints.push(format!("{:?}: {what}\n{log}", case.trouble));
        }
    };
    wants(outcome.code == Some(0), format!("code {:?}", outcome.code));
    if outcome.code == Some(0) {
        wants(bed.stored_layer() == bed.image.layers()[0].bytes, "the layer differs".to_owned());
    }

    let is_told = |host: &str, what: &str| {
        outcome.stderr.lines().any(|line| line.contains(host) && line.contains(what))
    };
    wants(
        is_told(&bed.mirror_authority, case.told),
        format!("\"{}\" is not told of the mirror", case.told),
    );
    if let Some(target) = &case.target {
        let asked = format!("{target}: GET blobs/");
        wants(is_told(&asked, "connection refused"), format!("nothing is told of {target}"));
    }
    let told = bed.told_of_mirror(&outcome);
    if matches!(case.trouble, Trouble::NothingListens | Trouble::CertificateExpired) {
        wants(told.len() == 1, "the mirror is asked again and again".to_owned());
    }

    let asked = bed.asked_of_upstream();
    let bytes: u64 = asked.iter().map(|range| range.end() + 1 - range.start()).sum();
    let good = if matches!(case.trouble, Trouble::MidBlob(_)) { GOOD } else { 0 };
    let most = LAYER - good * CHUNK + CONNECTIONS * CHUNK;
    wants(bytes <= most, format!("{bytes} bytes are asked of the upstream, {most} would do"));
    if matches!(case.trouble, Trouble::MidBlob(Fault::Truncate(_) | Fault::Stall(..))) {
        let goes_on = asked.iter().any(|range| range.start() % CHUNK == PART);
        wants(goes_on, format!("no chunk goes on where it broke off: {asked:?}"));
    }

    let asked = bed.mirror.requests_for(&format!("/blobs/{}", bed.layer())).len() as u64;
    let most = match case.trouble {
        Trouble::Manifest(_) => 0,
        // Only the whole of it tells that it is wrong.
        Trouble::Layer(Fault::Corrupt(_)) => LAYER / CHUNK + CONNECTIONS,
        // Each connection may learn of it for itself, and ask for a chunk that lags behind.
        _ => good + 2 * CONNECTIONS,
    };
    wants(asked <= most, format!("the mirror is asked {asked} times, {most} would do"));

    let asked = bed.mirror.requests();
    let most = most_requests_a_document(&case.trouble);
    for path in bed.documents() {
        let count = asked.iter().filter(|request| request.path.ends_with(&path)).count();
        wants(count <= most, format!("the mirror is asked {count} times for {path}"));
    }
    if is_asked_to_wait(&case.trouble) {
        // For the manifest, without a login and with it, and then left alone for the hour.
        wants(asked.len() == 2, format!("the mirror is asked {} times", asked.len()));
    }

    let (own, count) = logins(&asked, "mirror");
    let out_of_reach =
        matches!(case.trouble, Trouble::NothingListens | Trouble::CertificateExpired);
    wants(asked.is_empty() == out_of_reach, format!("the mirror is asked {} times", asked.len()));
    wants(own && (count > 0) != out_of_reach, format!("{count} logins at the mirror, own: {own}"));
    let asked = bed.upstream.requests();
    let (own, count) = logins(&asked, "upstream");
    wants(own && count > 0, format!("{count} logins at the upstream, own: {own}"));
    if matches!(case.trouble, Trouble::Layer(_) | Trouble::MidBlob(_)) {
        let layer = bed.layer().to_string();
        let others: Vec<String> =
            asked.iter().map(Request::line).filter(|line| !line.ends_with(&layer)).collect();
        wants(others.is_empty(), format!("the upstream is asked for what came: {others:?}"));
    }
    complaints
}

#[test]
fn a_mirror_in_trouble_is_made_up_for_by_the_registry() {
    let cases = cases();
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| complaints(case))).collect();
        running.into_iter().flat_map(|case| case.join().unwrap()).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn a_mirror_of_wrong_bytes_is_left_alone_for_the_rest_of_the_run() {
    let layers = [(); 3].map(|()| Layer::noise(&unique("wrong"), 200_000));
    let digests: Vec<String> = layers.iter().map(|layer| layer.blob.digest.to_string()).collect();
    let bed = Bed::with_layers(layers.to_vec(), &Trouble::Layer(Fault::Corrupt(PART)));
    for digest in &digests {
        bed.mirror.always(digest, Fault::Corrupt(PART));
    }
    bed.pull(&["--concurrency", "1"]).succeeded().says("wrong blob");
    let asked_of = |registry: &FaultyRegistry| {
        digests.iter().filter(|digest| !registry.requests_for(digest).is_empty()).count()
    };
    assert_eq!((asked_of(&bed.mirror), asked_of(&bed.upstream)), (1, 3));
}

#[test]
fn a_mirror_of_wrong_bytes_is_named_when_nobody_else_has_the_blob() {
    let bed = Bed::new(&Trouble::Layer(Fault::Corrupt(PART)));
    bed.upstream.always(&format!("/blobs/{}", bed.layer()), Fault::Status(404, Vec::new()));
    let outcome = bed.pull(&[]).ended_with(3);
    let mirror = format!("{}: left out: content from it failed verification", bed.mirror_authority);
    outcome.says(&mirror).says(&format!("{}: not found", bed.upstream.authority()));
}

#[test]
fn of_the_hosts_that_gave_a_wrong_blob_only_the_one_of_wrong_bytes_is_left_out() {
    let size = usize::try_from(LAYER).unwrap() - 1536;
    let layers = [(); 2].map(|()| Layer::noise(&unique("mixed"), size));
    // The mirror gives the beginning, in which a byte is wrong, and the registry the rest.
    let bed = Bed::with_layers(layers.to_vec(), &Trouble::MidBlob(Fault::Status(404, Vec::new())));
    let good = usize::try_from(GOOD).unwrap();
    bed.mirror.after(good, &layers[1].blob.digest.to_string(), Fault::Status(404, Vec::new()));
    layers.iter().for_each(|layer| bed.damage_at_mirror(layer));
    let outcome = bed.pull(&["--concurrency", "1"]).succeeded();
    // Without -v too: who reads it knows which mirror to look at.
    outcome.says(&format!("warning: {} is left out: it gave wrong bytes", bed.mirror_authority));
    let asked_of = |registry: &FaultyRegistry| {
        let digests = layers.iter().map(|layer| layer.blob.digest.to_string());
        digests.filter(|digest| !registry.requests_for(digest).is_empty()).count()
    };
    assert_eq!((asked_of(&bed.mirror), asked_of(&bed.upstream)), (1, 2));
    assert_eq!(bed.stored_layer(), layers[0].blob.bytes);
}

#[test]
fn a_mirror_that_announces_a_wrong_length_to_head_is_asked_by_get() {
    let bed = Bed::new(&Trouble::Announcement(Fault::Lengthen(1000)));
    bed.upstream.always("/manifests/", Fault::Status(404, Vec::new()));
    bed.pull(&[]).succeeded();
    assert!(bed.upstream.requests().is_empty());
}
