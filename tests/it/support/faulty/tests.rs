//! The faulty registry does what it is told, seen by a client that is not ours.

use super::*;
use crate::support::image::{Layer, Recipe};

fn get(url: &str, range: Option<&str>) -> ureq::http::Response<ureq::Body> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let request = agent.get(url);
    match range {
        Some(range) => request.header("range", range),
        None => request,
    }
    .call()
    .expect("the server answers")
}

fn served(bytes: &[u8]) -> (FaultyRegistry, String) {
    let server = FaultyRegistry::start();
    server.serve("/blob", "application/octet-stream", None, Body::from(bytes.to_vec()));
    let url = format!("http://{}/blob", server.authority());
    (server, url)
}

#[test]
fn a_healthy_answer_honours_ranges_and_is_recorded() {
    let (server, url) = served(b"0123456789");
    let mut whole = get(&url, None);
    assert_eq!(whole.body_mut().read_to_vec().unwrap(), b"0123456789");
    let mut part = get(&url, Some("bytes=3-5"));
    assert_eq!(
        (part.status().as_u16(), &part.headers()["content-range"]),
        (206, &"bytes 3-5/10".parse().unwrap())
    );
    assert_eq!(part.body_mut().read_to_vec().unwrap(), b"345");
    assert_eq!(get(&url, Some("bytes=10-")).status(), 416);
    let requests = server.requests_for("GET /blob");
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1].range(10), Some(3..=5));
}

#[test]
fn a_script_is_followed_request_by_request() {
    let (server, url) = served(b"0123456789");
    server.script(
        "GET /blob",
        vec![
            Some(Fault::Status(503, vec![("Retry-After", "0".to_owned())])),
            None,
            Some(Fault::Corrupt(2)),
        ],
    );
    assert_eq!(get(&url, None).status(), 503);
    assert_eq!(get(&url, None).body_mut().read_to_vec().unwrap(), b"0123456789");
    assert_eq!(get(&url, None).body_mut().read_to_vec().unwrap(), b"01\xcd3456789");
    assert_eq!(get(&url, None).body_mut().read_to_vec().unwrap(), b"0123456789");
    server.always("GET /blob", Fault::Redirect("http://elsewhere.invalid/".to_owned()));
    assert_eq!(get(&url, None).status(), 200, "rules that were made first win");
    server.heal();
    server.always("GET /blob", Fault::Redirect("http://elsewhere.invalid/".to_owned()));
    assert_eq!(get(&url, None).status(), 307);
}

#[test]
fn bodies_break_off_run_over_and_ignore_ranges() {
    let (server, url) = served(b"0123456789");
    for (fault, expected) in [
        (Fault::Truncate(4), None),
        (Fault::Reset(4), None),
        (Fault::Lengthen(3), Some(&b"0123456789\0\0\0"[..])),
        (Fault::IgnoreRange, Some(b"0123456789")),
        (Fault::Chunked, Some(b"0123456789")),
        (Fault::Overrun(3), Some(b"0123456789")),
    ] {
        server.heal();
        server.always("GET /blob", fault.clone());
        let body = get(&url, None).body_mut().read_to_vec().ok();
        assert_eq!(body.as_deref(), expected, "{fault:?}");
    }
    server.heal();
    server.always("GET /blob", Fault::IgnoreRange);
    assert_eq!(get(&url, Some("bytes=3-5")).status(), 200);
}

#[test]
fn a_stalled_body_goes_on_when_the_gate_opens() {
    let (server, url) = served(b"0123456789");
    let gate = Gate::new();
    server.script("GET /blob", vec![Some(Fault::Stall(4, gate.clone()))]);
    let client = std::thread::spawn(move || get(&url, None).body_mut().read_to_vec().unwrap());
    gate.wait_until_reached();
    gate.open();
    assert_eq!(client.join().unwrap(), b"0123456789");
}

#[test]
fn tokens_are_handed_out_against_a_login_and_can_be_revoked() {
    let server = FaultyRegistry::start();
    let image = Recipe::new(vec![Layer::file("a", b"a")]).build();
    let reference = server.add(&image, "private/image", "v1");
    assert_eq!(reference, format!("{}/private/image:v1", server.authority()));
    let login = Some(("ann".to_owned(), "secret".to_owned()));
    server.require(Login::Token { login });
    let inspect = |credentials: &str| {
        std::process::Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false", "--creds", credentials])
            .arg(format!("docker://{reference}"))
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(inspect("ann:secret"));
    assert!(!inspect("ann:wrong"));
    let authorized = |request: &Request| request.header("authorization").is_some();
    let token = server.requests_for("/manifests/").into_iter().find(authorized).unwrap();
    server.revoke_tokens();
    let url = format!("http://{}{}", server.authority(), token.path);
    let again = ureq::get(url).header("authorization", token.header("authorization").unwrap());
    assert!(matches!(again.call(), Err(ureq::Error::StatusCode(401))));
    server.forget_requests();
    assert!(server.requests().is_empty());
}

#[test]
fn basic_logins_are_wanted_where_the_test_says_so() {
    let (server, url) = served(b"private");
    server.require(Login::Basic { user: "ann".to_owned(), password: "secret".to_owned() });
    assert_eq!(get(&url, None).headers()["www-authenticate"], "Basic realm=\"test\"");
}

#[test]
fn a_dead_authority_refuses_connections() {
    assert!(TcpStream::connect(dead_authority()).is_err());
}

#[test]
fn a_fault_can_wait_for_some_good_answers_and_stays() {
    let (server, url) = served(b"0123456789");
    server.after(2, "GET /blob", Fault::Status(403, Vec::new()));
    let statuses = [(); 5].map(|()| get(&url, None).status().as_u16());
    assert_eq!(statuses, [200, 200, 403, 403, 403]);
}

#[test]
fn a_trickle_brings_all_bytes_in_the_end() {
    let (server, url) = served(b"0123456789");
    server.always("GET /blob", Fault::Trickle(7));
    assert_eq!(get(&url, None).body_mut().read_to_vec().unwrap(), b"0123456789");
}
