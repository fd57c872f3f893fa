//! One host: connections, requests, redirects and what comes back.

pub(super) mod arrival;
pub(super) mod authority;
pub(super) mod body;
pub(super) mod client_error;
pub(super) mod clients;
pub(super) mod endpoint;
pub(super) mod envelope;
pub(super) mod exchange;
mod no_proxy;
pub(super) mod payload;
pub(super) mod proxy;
pub(super) mod redirect;
pub(super) mod tls;
pub(super) mod trace;
pub(super) mod wire;
