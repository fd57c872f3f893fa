//! Registries that refuse, are down or send elsewhere. A fault that lasts ends in its own exit code
//! with the host, the cause and a next step, and leaves nothing that can be seen; a passing one is
//! survived.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::cli::Pullctl;
use crate::support::fault_case::{
    Case, layer_of, layered, survives, text, with_layer_fault, with_manifest_fault,
};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Login, dead_authority};
use crate::support::image::{Layer, Recipe};
use crate::support::{one_version, unique};

const CASES: &[Case] = &[
    Case {
        name: "the image is not there",
        arrange: |registry| format!("{}/no/such:image", registry.authority()),
        code: 3,
        says: &["127.0.0.1", "not found"],
    },
    Case {
        name: "the registry wants a login",
        arrange: |registry| {
            registry.require(Login::Basic { user: "ann".into(), password: "hunter2".into() });
            registry.add_new(&layered())
        },
        code: 4,
        says: &["127.0.0.1", "login required", "hint: "],
    },
    Case {
        name: "the registry forbids",
        arrange: |registry| with_manifest_fault(registry, Fault::Status(403, Vec::new())),
        code: 4,
        says: &["127.0.0.1", "access denied", "hint: "],
    },
    Case {
        name: "nothing listens",
        arrange: |_| format!("{}/some/image:v1", dead_authority()),
        code: 5,
        says: &["127.0.0.1", "refused"],
    },
    Case {
        name: "the registry fails for good",
        arrange: |registry| with_manifest_fault(registry, Fault::Status(503, Vec::new())),
        code: 5,
        says: &["127.0.0.1", "503", "2 attempts"],
    },
    Case {
        name: "redirects go round in circles",
        arrange: |registry| {
            let url = format!("http://{}/round", registry.authority());
            registry.always("/round", Fault::Redirect(url.clone()));
            with_layer_fault(registry, Fault::Redirect(url))
        },
        code: 5,
        says: &["127.0.0.1", "redirect"],
    },
    Case {
        name: "the registry asks to slow down for good",
        arrange: |registry| {
            let later = vec![("Retry-After", "0".to_owned())];
            with_manifest_fault(registry, Fault::Status(429, later))
        },
        code: 6,
        says: &["127.0.0.1", "too many requests", "hint: "],
    },
];

one_version! {
    fn a_fault_that_lasts_ends_in_its_exit_code_and_leaves_nothing_visible(daemon) {
        Case::check_all(CASES, daemon, &[]);
    }

    fn passing_server_errors_are_survived(daemon) {
        for status in [500, 502, 503, 504, 408] {
            let image = layered();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            let fault = Some(Fault::Status(status, Vec::new()));
            registry.script("/manifests/", vec![fault.clone()]);
            registry.script("/blobs/", vec![fault]);
            survives(daemon, &reference, &image);
        }
    }

    fn a_rate_limit_is_waited_for_as_long_as_it_says(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let later = vec![("Retry-After", "2".to_owned())];
        registry.script(&layer_of(&image), vec![Some(Fault::Status(429, later))]);
        survives(daemon, &reference, &image);
        let asked = registry.requests_for(&layer_of(&image));
        let gap = asked[1].at.duration_since(asked[0].at).unwrap();
        assert!(gap >= Duration::from_secs(2), "{gap:?}");
    }

    fn a_rate_limit_is_waited_for_until_the_date_it_says(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        // Whole seconds, and late enough for the pull to have begun.
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(5));
        let later = vec![("Retry-After", date.clone())];
        registry.script(&layer_of(&image), vec![Some(Fault::Status(429, later))]);
        survives(daemon, &reference, &image);
        let asked = registry.requests_for(&layer_of(&image));
        let date = httpdate::parse_http_date(&date).unwrap();
        assert!(asked[1].at >= date, "{:?} is before {date:?}", asked[1].at);
    }

    fn credentials_do_not_travel_with_a_redirect(daemon) {
        let image = layered();
        let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
        registry.require(Login::Basic { user: "ann".into(), password: "hunter2".into() });
        let reference = registry.add_new(&image);
        let blob = image.layers()[0].bytes.clone();
        storage.serve("/bucket/layer", "application/octet-stream", None, Body::from(blob));
        let url = format!("http://{}/bucket/layer?signature=x", storage.authority());
        registry.always(&layer_of(&image), Fault::Redirect(url));
        Pullctl::pull(daemon, &reference).args(["-u", "ann:hunter2"]).run().succeeded();

        let arrived = storage.requests();
        assert!(!arrived.is_empty());
        assert!(arrived.iter().all(|request| request.header("authorization").is_none()));
        assert!(arrived.iter().all(|request| request.query == "signature=x"));
    }

    fn a_redirect_is_followed_once_a_blob(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("redirect"), 5_000_000)]).build();
        let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
        let reference = registry.add_new(&image);
        let blob = image.layers()[0].bytes.clone();
        storage.serve("/bucket/layer", "application/octet-stream", None, Body::from(blob));
        let url = format!("http://{}/bucket/layer", storage.authority());
        registry.always(&layer_of(&image), Fault::Redirect(url));
        survives(daemon, &reference, &image);
        assert_eq!(registry.requests_for(&layer_of(&image)).len(), 1);
        assert!(storage.requests().len() >= 4);
    }

    fn a_redirect_that_expired_is_asked_for_again(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("expired"), 5_000_000)]).build();
        let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
        let reference = registry.add_new(&image);
        let blob = image.layers()[0].bytes.clone();
        storage.serve("/bucket/layer", "application/octet-stream", None, Body::from(blob));
        let url = format!("http://{}/bucket/layer", storage.authority());
        registry.always(&layer_of(&image), Fault::Redirect(url));
        let expired = Some(Fault::Status(403, Vec::new()));
        storage.script("/bucket/", vec![None, None, expired]);
        survives(daemon, &reference, &image);
        assert!(registry.requests_for(&layer_of(&image)).len() >= 2);
    }

    fn a_registrys_own_message_is_shown(daemon) {
        let registry = FaultyRegistry::start();
        let errors = json!({ "errors": [{ "code": "DENIED", "message": "quota of team x" }] });
        let path = "/v2/denied/image/manifests/v1";
        registry.serve(path, "application/json", None, text(errors.to_string()));
        registry.always(path, Fault::StatusOf(403));
        let reference = format!("{}/denied/image:v1", registry.authority());
        Pullctl::pull(daemon, &reference).run().ended_with(4).says("quota of team x");
    }
}
