//! pullctl puts container images where Kubernetes looks for them.
//!
//! | module | owns |
//! |---|---|
//! | [`oci`], [`mod@reference`], [`platform`] | the nouns, parsed and checked |
//! | [`failure`], [`progress`] | kinds of failure with their exit codes; events of a pull |
//! | [`program`] | programs of others, run within bounds |
//! | [`sync`] | locks for plain values |
//! | [`tar`] | archives of unknown origin, entry by entry |
//! | [`gzip`] | gzip by several threads |
//! | [`config`] | what the machine's owner configured, as plain values |
//! | [`registry`] | HTTP to registries |
//! | [`containerd`], [`layout`] | the two destinations |
//! | [`archive`] | whole images in one file |
//! | [`lists`] | lists of images, in the forms that people have |
//! | [`unpack`] | layers into snapshots |
//! | [`images`] | what a containerd namespace holds |
//! | [`verifiers`] | containerd's image verifiers |
//! | [`transfer`] | the recipe |
//! | [`check`] | what an image consists of, and whether all of it is there and right |
//! | [`doctor`] | the node's health |
//! | [`output`], [`cli`] | what people and scripts see and type |
//!
//! `tests/architecture` holds which of them may know which.

pub mod archive;
pub mod check;
pub mod cli;
pub mod config;
pub mod containerd;
pub mod doctor;
pub mod failure;
pub mod gzip;
pub mod images;
pub mod layout;
pub mod lists;
pub mod oci;
pub mod output;
pub mod platform;
pub mod program;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod sync;
pub mod tar;
pub mod transfer;
pub mod unpack;
pub mod verifiers;
