//! Redirects: what travels along, what is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::blobs::{read, small_chunks};
use crate::registry::Fault;
use crate::registry::testing::{Reply, Server, Setup, layer, noise};

#[tokio::test]
async fn a_redirect_is_followed_once_a_blob_and_carries_no_secret() {
    let blob = noise(500 * 1024);
    let content = blob.clone();
    let storage = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let location = storage.url("/bucket/blob?signature=s3cret");
    let registry = Server::start(move |_, _| Reply::redirect(location.clone())).await;
    let mut host = registry.host();
    host.headers = vec![("X-Key".to_owned(), vec!["k3y".to_owned()])];
    host.common_headers = vec![("X-Node".to_owned(), vec!["s3ven".to_owned()])];
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![host]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(registry.requests().len(), 1);
    assert_eq!(registry.requests()[0].header("x-key"), Some("k3y"));
    assert_eq!(registry.requests()[0].header("x-node"), Some("s3ven"));
    assert_eq!(storage.requests().len(), 8);
    for request in storage.requests() {
        assert_eq!(request.header("x-key"), None);
        assert_eq!(request.header("x-node"), None);
        assert_eq!(request.header("authorization"), None);
        assert!(request.header("range").is_some());
    }
    let shown = format!("{:?}", setup.record.attempts());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn asks_the_registry_again_when_the_target_has_expired() {
    let blob = noise(500 * 1024);
    let expired = Arc::new(AtomicBool::new(false));
    let storage = {
        let (content, expired) = (blob.clone(), Arc::clone(&expired));
        Server::start(move |request, nth| {
            if request.path == "/first" && nth >= 3 {
                expired.store(true, Ordering::SeqCst);
                return Reply::status(403);
            }
            Reply::blob(request, &content)
        })
        .await
    };
    let (first, second) = (storage.url("/first"), storage.url("/second"));
    let registry = Server::start(move |_, _| {
        let location = if expired.load(Ordering::SeqCst) { &second } else { &first };
        Reply::redirect(location.clone())
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![registry.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert!(registry.requests().len() > 1);
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let server = Server::start(|request, _| Reply::redirect(request.path.clone())).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.fault(), Some(&Fault::RedirectLoop(10)));
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn a_redirect_to_something_else_than_http_is_refused() {
    let server = Server::start(|_, _| Reply::redirect("file:///etc/passwd")).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.fault(), Some(&Fault::BadRedirect));
}
