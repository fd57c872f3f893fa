//! Logins: which, to whom, how often.

use secrecy::SecretString;

use http::StatusCode;

use crate::config::Credential;
use crate::failure::{Diagnose as _, Failure};
use crate::registry::Fault;
use crate::registry::testing::{Reply, Request, Server, Setup, layer};

const MANIFEST: &str = r#"{"schemaVersion":2}"#;

fn manifest() -> Reply {
    Reply::ok(MANIFEST)
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .header("Docker-Content-Digest", crate::oci::Digest::of(MANIFEST.as_bytes()).to_string())
}

fn unauthorized(challenge: &str) -> Reply {
    Reply::status(401).header("WWW-Authenticate", challenge)
}

fn basic() -> Credential {
    Credential::Basic {
        username: "user".to_owned(),
        password: SecretString::from("pass:word".to_owned()),
    }
}

/// `user:pass:word`.
const BASIC: &str = "Basic dXNlcjpwYXNzOndvcmQ=";

/// A registry that wants the token `current`, and hands it out at `/token` as `token` says.
async fn token_registry(
    current: &'static str,
    token: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> Server {
    Server::start(move |request, nth| {
        if request.path.starts_with("/token") {
            return token(request, nth);
        }
        let host = request.header("host").unwrap();
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"a, b\",scope=\"repository:team/app:pull\""
        );
        match request.header("authorization") {
            Some(sent) if sent == format!("Bearer {current}") => manifest(),
            _ => unauthorized(&challenge),
        }
    })
    .await
}

#[tokio::test]
async fn answers_a_basic_challenge() {
    let server = Server::start(|request, _| match request.header("authorization") {
        Some(BASIC) => manifest(),
        _ => unauthorized("Basic realm=\"x, y\""),
    })
    .await;
    let setup = Setup::login(server.authority(), basic());
    let repository = setup.repository(vec![server.host()]);
    repository.resolve().await.unwrap();
    repository.resolve().await.unwrap();
    // The second time, the host is known to want it.
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_login_takes_the_place_of_a_configured_authorization() {
    let server = Server::start(|request, _| match request.header("authorization") {
        Some(BASIC) => manifest(),
        Some("Bearer configured") => unauthorized("Basic realm=\"x\""),
        other => panic!("{other:?}"),
    })
    .await;
    let mut host = server.host();
    host.headers = vec![("Authorization".to_owned(), vec!["Bearer configured".to_owned()])];
    let setup = Setup::login(server.authority(), basic());
    setup.repository(vec![host]).resolve().await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn fetches_one_token_for_many_requests_at_once() {
    let server = token_registry("t1", |_, _| Reply::ok(r#"{"access_token":"t1"}"#)).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let resolves = [(); 16].map(|()| repository.resolve());
    for resolved in futures_util::future::join_all(resolves).await {
        resolved.unwrap();
    }
    let tokens: Vec<_> =
        server.lines().into_iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(tokens, ["GET /token?scope=repository%3Ateam%2Fapp%3Apull&service=a%2C+b"]);
    assert_eq!(
        server
            .requests()
            .iter()
            .filter(|request| request.header("authorization").is_some())
            .count(),
        16
    );
}

#[tokio::test]
async fn a_password_goes_by_post_first_and_by_get_where_post_is_unknown() {
    for status in [400, 401, 404, 405] {
        let server = token_registry("t1", move |request, _| match request.method.as_str() {
            "POST" => Reply::status(status),
            _ if request.header("authorization") == Some(BASIC) => Reply::ok(r#"{"token":"t1"}"#),
            _ => Reply::status(500),
        })
        .await;
        let setup = Setup::login(server.authority(), basic());
        setup.repository(vec![server.host()]).resolve().await.unwrap();
        let post = server.requests().into_iter().find(|request| request.method == "POST").unwrap();
        assert_eq!(
            post.body,
            "grant_type=password&username=user&password=pass%3Aword&client_id=pullctl\
             &scope=repository%3Ateam%2Fapp%3Apull&service=a%2C+b"
        );
    }
}

#[tokio::test]
async fn a_refused_post_is_final() {
    let server = token_registry("t1", |_, _| {
        Reply::ok(r#"{"errors":[{"code":"DENIED","message":"no robots"}]}"#).with_status(403)
    })
    .await;
    let setup = Setup::login(server.authority(), basic());
    let error = setup.repository(vec![server.host()]).resolve().await.unwrap_err();
    assert_eq!(error.failure(), Failure::Authentication);
    let chain = std::error::Error::source(&error).unwrap().to_string();
    assert!(chain.contains("access denied (403): no robots"), "{chain}");
    let to_token = server.lines().into_iter().filter(|line| line.contains("token")).count();
    assert_eq!(to_token, 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_without_a_user_name() {
    let server = token_registry("t1", |_, _| Reply::ok(r#"{"access_token":"t1"}"#)).await;
    let identity = Credential::IdentityToken(SecretString::from("id3ntity".to_owned()));
    let setup = Setup::login(server.authority(), identity);
    setup.repository(vec![server.host()]).resolve().await.unwrap();
    let post = server.requests().into_iter().find(|request| request.method == "POST").unwrap();
    assert!(post.body.starts_with("grant_type=refresh_token&refresh_token=id3ntity&client_id="));
    assert!(!post.body.contains("username"));
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let server = token_registry("given", |_, _| Reply::status(500)).await;
    let token = Credential::RegistryToken(SecretString::from("given".to_owned()));
    let setup = Setup::login(server.authority(), token);
    setup.repository(vec![server.host()]).resolve().await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let server = token_registry("t2", |_, nth| {
        Reply::ok(if nth == 0 { r#"{"token":"t1"}"# } else { r#"{"token":"t2"}"# })
    })
    .await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.failure(), Failure::Authentication, "a fresh token that does not do is final");
    repository.resolve().await.unwrap();
}

#[tokio::test]
async fn a_good_login_without_the_right_to_pull_is_told_apart_from_a_wrong_password() {
    let server = token_registry("other", |_, _| Reply::ok(r#"{"token":"t1"}"#)).await;
    let setup = Setup::login(server.authority(), basic());
    let repository = setup.repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(
        error.fault(),
        Some(&Fault::Denied { status: StatusCode::UNAUTHORIZED, with_login: true, reason: None })
    );
    assert!(error.hint().unwrap().contains("right to pull"), "{:?}", error.hint());
}

#[tokio::test]
async fn a_wrong_password_says_so_and_is_never_shown() {
    let server = token_registry("t1", |_, _| Reply::status(401)).await;
    let setup = Setup::login(server.authority(), basic());
    let repository = setup.repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.failure(), Failure::Authentication);
    assert!(error.hint().unwrap().contains("password"), "{:?}", error.hint());
    let shown = format!("{error:?} {repository:?} {:?}", setup.record.attempts());
    for secret in ["pass:word", "pass%3Aword", "dXNlcjpwYXNzOndvcmQ="] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_login_goes_to_its_own_host_only() {
    let mirror = Server::start(|_, _| unauthorized("Basic realm=\"x\"")).await;
    let upstream = Server::start(|request, _| match request.header("authorization") {
        Some(BASIC) => manifest(),
        _ => unauthorized("Basic realm=\"x\""),
    })
    .await;
    let setup = Setup::login(upstream.authority(), basic());
    setup.repository(vec![mirror.host(), upstream.host()]).resolve().await.unwrap();
    assert!(mirror.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn the_authorization_stays_behind_at_a_redirect_to_another_port() {
    let elsewhere = Server::start(|_, _| Reply::ok("x")).await;
    let location = elsewhere.url("/x");
    let server = Server::start(move |request, _| match request.header("authorization") {
        Some(BASIC) => Reply::redirect(location.clone()),
        _ => unauthorized("Basic realm=\"x\""),
    })
    .await;
    let setup = Setup::login(server.authority(), basic());
    let repository = setup.repository(vec![server.host()]);
    repository.blob(&layer(b"x"), 0).await.unwrap();
    assert_eq!(elsewhere.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_challenge_that_cannot_be_answered_is_named() {
    let server = Server::start(|_, _| unauthorized("Negotiate")).await;
    let error = Setup::default().repository(vec![server.host()]).resolve().await.unwrap_err();
    assert!(
        matches!(error.fault(), Some(Fault::Challenge(reason)) if reason.contains("Negotiate"))
    );
}
