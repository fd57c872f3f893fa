//! The recipe on a source and a sink in memory: what is asked for, in which order, how often.

mod downloads;
mod image;
mod memory;
mod plans;
mod sequences;
mod vanguard;

use std::sync::{Arc, Mutex};

use super::run::run;
use super::{Manner, Names, PlatformChoice, Request};
use crate::failure::Failure;
use crate::platform::Platform;
use crate::progress::{self, Event};
use crate::sync::lock;
use memory::{MemorySink, MemorySource};

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl progress::Sink for Told {
    fn event(&self, event: Event) {
        lock(&self.0).push(event);
    }
}

fn host() -> PlatformChoice {
    PlatformChoice::Host(Platform::from_parts("linux", "amd64", "", ""))
}

/// What is asked for under the name `example.org/NAME:1`.
fn request(source: &Arc<MemorySource>, name: &str, platforms: PlatformChoice) -> Request {
    let reference = format!("example.org/{name}:1").parse().unwrap();
    let source = Arc::clone(source);
    Request { source, names: Arc::new(Names::new(reference)), platforms }
}

/// What came of a run.
#[derive(Debug)]
struct Ran {
    failures: Vec<Failure>,
    /// What each failure said.
    errors: Vec<String>,
    events: Vec<Event>,
}

/// Transfers at most two blobs at a time.
async fn transfer(requests: &[Request], sink: &Arc<MemorySink>) -> Ran {
    let told = Arc::new(Told::default());
    let sink = Arc::clone(sink);
    let failures = run(requests, sink, Manner::of_blobs(2), Arc::clone(&told) as Arc<_>).await;
    let events = std::mem::take(&mut *lock(&told.0));
    let errors = events.iter().filter_map(|event| match event {
        Event::Failed { diagnostic, .. } => Some(diagnostic.one_line()),
        _ => None,
    });
    Ran { failures, errors: errors.collect(), events }
}
