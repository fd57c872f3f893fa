//! Behaviour of the built binary on real parts: containerd 1.6, 1.7 and 2.1, the SOCI snapshotter,
//! docker-registry, nginx, and a registry in the test's process that breaks on purpose.
//!
//! One file a behaviour; `support` is the test bed and tests itself.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod apart;
mod batch;
mod bombs;
mod builders;
mod calls;
mod concurrency;
mod content_store;
mod cri_headers;
mod cri_sees_it;
mod cri_settings;
mod differential;
mod exit_codes;
mod explain;
mod explain_hosts;
mod faults_blobs;
mod faults_daemon;
mod faults_documents;
mod faults_registry;
mod faults_transfers;
mod harbor;
mod hostile_archives;
mod hostile_layers;
mod hosts_files;
mod hosts_tables;
mod images_more;
mod images_rm;
mod ipv6;
mod layers;
mod layout;
mod layout_ground;
mod lazy;
mod leftovers;
mod lists;
mod login;
mod logins;
mod memory;
mod mirrors;
mod node_tls;
mod odd_layers;
mod platforms;
mod progress;
mod pull_basics;
mod resume;
mod reuse;
mod save;
mod save_faults;
mod save_tools;
mod secrets;
mod silent_daemon;
mod six_commands;
mod snapshots;
mod sockets;
mod soundness;
mod support;
mod survive;
mod tag;
mod terminal;
mod tls;
mod together;
mod transfers;
mod transport;
mod unreachable;
