//! Heads of answers, and what goes to whom.

use super::blobs::read;
use crate::registry::testing::{Reply, Server, Setup, layer};

#[tokio::test]
async fn heads_that_gos_clients_take_are_taken() {
    let folded = |reply: Reply| reply.header("X-Folded", "one\r\n two\r\n\tthree");
    let many = |reply: Reply| {
        (0..500).fold(reply, |reply, number| reply.header(&format!("X-{number}"), "x"))
    };
    type Change = fn(Reply) -> Reply;
    let cases: [(&str, Change); 2] = [("folded", folded), ("many", many)];
    for (name, change) in cases {
        let server = Server::start(move |_, _| change(Reply::ok("x"))).await;
        let repository = Setup::default().repository(vec![server.host()]);
        assert_eq!(read(&repository, &layer(b"x")).await.unwrap(), "x", "{name}");
    }
}

#[tokio::test]
async fn a_location_may_have_names_as_they_are_stored() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/sch%C3%B6n" => Reply::ok("x"),
        _ => Reply::redirect("/sch\u{f6}n"),
    })
    .await;
    let repository = Setup::default().repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(b"x")).await.unwrap(), "x");
}

#[tokio::test]
async fn headers_of_a_host_go_to_its_own_token_endpoint_and_to_no_other() {
    for elsewhere in [false, true] {
        let other = Server::start(|_, _| Reply::ok(r#"{"token":"t"}"#)).await;
        let realm = other.url("/token");
        let server = Server::start(move |request, _| {
            if request.path.starts_with("/token") {
                return Reply::ok(r#"{"token":"t"}"#);
            }
            let own = format!("http://{}/token", request.header("host").unwrap());
            let realm = if elsewhere { &realm } else { &own };
            match request.header("authorization") {
                Some("Bearer t") => Reply::ok("x"),
                _ => Reply::status(401)
                    .header("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")),
            }
        })
        .await;
        let mut host = server.host();
        host.headers = vec![("X-Key".to_owned(), vec!["s3cret".to_owned()])];
        let repository = Setup::default().repository(vec![host]);
        assert_eq!(read(&repository, &layer(b"x")).await.unwrap(), "x");
        let endpoint = if elsewhere { &other } else { &server };
        let is_token = |path: &str| path.starts_with("/token");
        let mut asked = endpoint.requests();
        asked.retain(|request| is_token(&request.path));
        assert_eq!(asked.len(), 1);
        let expected = (!elsewhere).then_some("s3cret");
        assert_eq!(asked[0].header("x-key"), expected);
    }
}
