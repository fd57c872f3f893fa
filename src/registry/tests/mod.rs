//! The module against scripted servers, one file a subject.

mod ahead;
mod blobs;
mod certificates;
mod documents;
mod failover;
mod heads;
mod lists;
mod logins;
mod ranges;
mod redirects;
mod resolving;
mod stragglers;
mod tls;
mod turns;
mod wide;
