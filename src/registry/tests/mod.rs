//! The module against scripted servers, one file a subject.

mod blobs;
mod documents;
mod failover;
mod lists;
mod logins;
mod redirects;
mod resolving;
mod stragglers;
mod tls;
mod turns;
