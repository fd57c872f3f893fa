//! Hosts asked in turn, and beside each other when one is silent: with time paused and no network.

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::config::Keychain;
use crate::failure::{Diagnose as _, Failure};
use crate::progress::Sink;
use crate::registry::ask::host::Host;
use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::context::Context;
use crate::registry::testing::{Record, host};
use crate::registry::{Error, Fault, Policy};

const NAMES: [&str; 3] = ["mirror.example", "second.example", "registry.example"];

/// Hosts that are asked nothing over a network, and what is told of them.
struct Bed {
    context: Arc<Context>,
    hosts: Vec<Host>,
    record: Arc<Record>,
}

impl Bed {
    fn new(names: &[&str], policy: Policy) -> Self {
        let record = Arc::new(Record::default());
        let sink: Arc<dyn Sink> = Arc::clone(&record) as _;
        let context = Arc::new(Context::new(policy, Arc::new(Keychain::default()), sink).unwrap());
        let reference = "registry.example/team/app:v1".parse().unwrap();
        let hosts = names.iter().map(|name| {
            let settings = host("https", name);
            let endpoint = crate::registry::http::endpoint::Endpoint::new(
                settings.clone(),
                Arc::clone(&context),
            );
            Host::new(settings, Arc::new(endpoint.unwrap()), &reference)
        });
        Self { hosts: hosts.collect(), context, record }
    }

    /// What a host gives, after so many seconds: the answer of this operation, its name, and how often
    /// and after which time each host was asked.
    async fn ask(
        &self,
        hedges: bool,
        script: impl Fn(&str, usize) -> (u64, Result<(), Fault>),
    ) -> (Result<String, Error>, Vec<(String, u64)>) {
        let (what, request) = ("read it".to_owned(), "manifests/v1".to_owned());
        let question = Question { what, request, hedges };
        let began = Instant::now();
        let asked = RefCell::new(Vec::new());
        let mut tries = Tries::of(&self.context, &self.hosts);
        let answer = in_turn(&mut tries, &self.hosts, &question, |_, host| {
            let name = host.endpoint().name().to_owned();
            let before = asked.borrow().iter().filter(|(asked, _)| *asked == name).count();
            asked.borrow_mut().push((name.clone(), began.elapsed().as_secs()));
            let (seconds, answer) = script(&name, before);
            async move {
                if seconds == NEVER {
                    pending::<()>().await;
                }
                sleep(Duration::from_secs(seconds)).await;
                answer
            }
        });
        let answer = answer.await.map(|(index, ())| NAMES[index].to_owned());
        (answer, asked.into_inner())
    }
}

const NEVER: u64 = u64::MAX;

fn not_found() -> Fault {
    Fault::NotFound { reason: None }
}

fn asked(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_silent_mirror_costs_a_run_three_seconds_once() {
    let bed = Bed::new(&NAMES, Policy::default());
    let script = |name: &str, _| (if name == NAMES[0] { NEVER } else { 0 }, Ok(()));
    let (answer, list) = bed.ask(true, script).await;
    assert_eq!(answer.unwrap(), NAMES[1]);
    assert_eq!(list, asked(&[(NAMES[0], 0), (NAMES[1], 3)]));

    for _ in 0..3 {
        sleep(Duration::from_secs(60)).await;
        let (answer, list) = bed.ask(true, script).await;
        assert_eq!(answer.unwrap(), NAMES[1]);
        assert_eq!(list, asked(&[(NAMES[1], 0)]), "the mirror is not paid for again");
    }
    let told = bed.record.warnings("host-passed-over");
    assert_eq!(told, ["mirror.example is passed over for second.example: no response for 3s"]);
    let attempts = bed.record.attempts();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, "no response for 3s");
}

#[tokio::test(start_paused = true)]
async fn each_silent_host_gets_company_until_none_is_left() {
    let bed = Bed::new(&NAMES, Policy::default());
    let (answer, list) =
        bed.ask(true, |name, _| (if name == NAMES[2] { 1 } else { NEVER }, Ok(()))).await;
    assert_eq!(answer.unwrap(), NAMES[2]);
    assert_eq!(list, asked(&[(NAMES[0], 0), (NAMES[1], 3), (NAMES[2], 6)]));
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_counts_whoever_gives_it() {
    let bed = Bed::new(&NAMES[..2], Policy::default());
    let (answer, list) = bed
        .ask(true, |name, _| match name == NAMES[0] {
            true => (5, Ok(())),
            false => (1, Err(not_found())),
        })
        .await;
    assert_eq!(answer.unwrap(), NAMES[0], "that its company has not got it is no answer");
    assert_eq!(list.len(), 2);
    assert!(bed.record.warnings("host-passed-over").is_empty());

    // It took five seconds, which is its usual time now: four times that is more than the bound.
    let (answer, list) = bed.ask(true, |_, _| (9, Ok(()))).await;
    assert_eq!(answer.unwrap(), NAMES[0]);
    assert_eq!(list, asked(&[(NAMES[0], 0)]));
}

#[tokio::test(start_paused = true)]
async fn patience_is_shorter_where_the_stall_timeout_is() {
    let policy = Policy { stall_timeout: Duration::from_secs(2), ..Policy::default() };
    let bed = Bed::new(&NAMES[..2], policy);
    let (answer, list) =
        bed.ask(true, |name, _| (if name == NAMES[0] { NEVER } else { 0 }, Ok(()))).await;
    assert_eq!(answer.unwrap(), NAMES[1]);
    assert_eq!(list, asked(&[(NAMES[0], 0), (NAMES[1], 1)]));
}

#[tokio::test(start_paused = true)]
async fn blobs_are_not_hedged_here() {
    let bed = Bed::new(&NAMES[..2], Policy::default());
    let (answer, list) = bed.ask(false, |_, _| (20, Ok(()))).await;
    assert_eq!(answer.unwrap(), NAMES[0]);
    assert_eq!(list, asked(&[(NAMES[0], 0)]));
}

#[tokio::test(start_paused = true)]
async fn a_round_asks_each_host_once_with_hedging_as_without() {
    let policy = Policy { retries: 2, ..Policy::default() };
    let broken = || Fault::Broken("reset by the host".to_owned());
    for (hedges, seconds) in [(false, 0), (true, 0), (true, 4)] {
        let bed = Bed::new(&NAMES, policy.clone());
        let (answer, list) = bed.ask(hedges, |_, _| (seconds, Err(broken()))).await;
        assert_eq!(answer.unwrap_err().failure(), Failure::Unreachable);
        for name in NAMES {
            let times = list.iter().filter(|(asked, _)| asked == name).count();
            assert_eq!(times, 3, "{hedges} {seconds} {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_told_is_that_from_the_first_attempt_to_the_last() {
    let policy = Policy { first_wait: Duration::from_secs(2), ..Policy::default() };
    let bed = Bed::new(&NAMES[..1], policy);
    let (answer, _) = bed.ask(true, |_, _| (0, Err(Fault::Refused))).await;
    let Err(Error::AllHostsFailed { attempts, failures, .. }) = answer else { panic!() };
    assert!(attempts[0].duration >= Duration::from_secs(10), "{attempts:?}");
    assert!(
        failures.to_string().starts_with("mirror.example: connection refused after 6 attempts (")
    );
}

#[tokio::test(start_paused = true)]
async fn the_failure_that_got_furthest_decides_and_all_are_listed() {
    let login = || Fault::Unauthorized { with_login: false, reason: None };
    let tls = || Fault::Tls(crate::registry::TlsFault::UnknownIssuer);
    let page = || Fault::Html;
    type Maker<'a> = &'a dyn Fn() -> Fault;
    let cases: [(Maker, Maker, Failure); 7] = [
        (&login, &tls, Failure::Authentication),
        (&tls, &login, Failure::Authentication),
        (&login, &|| Fault::Refused, Failure::Authentication),
        (&not_found, &tls, Failure::Unreachable),
        (&tls, &not_found, Failure::NotFound),
        (&login, &not_found, Failure::NotFound),
        (&page, &|| Fault::Refused, Failure::Verification),
    ];
    for (mirror, registry, expected) in cases {
        let bed = Bed::new(&NAMES[..2], Policy { retries: 0, ..Policy::default() });
        let (answer, _) = bed
            .ask(true, |name, _| (0, Err(if name == NAMES[0] { mirror() } else { registry() })))
            .await;
        let error = answer.unwrap_err();
        assert_eq!(error.failure(), expected, "{error:?}");
        let Error::AllHostsFailed { attempts, .. } = &error else { panic!("{error:?}") };
        assert_eq!(attempts.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_keeps_silent_is_told_of() {
    let bed = Bed::new(&NAMES[..1], Policy::default());
    let silent = sleep(Duration::from_secs(23));
    let (host, request) = ("mirror.example", "HEAD manifests/v1");
    bed.context.awaited(host, request, watch::channel(0).1, silent).await;
    bed.context.awaited(host, request, watch::channel(0).1, sleep(Duration::from_secs(1))).await;
    let waits = bed.record.waits();
    let seconds: Vec<u64> = waits.iter().map(|(.., seconds)| *seconds).collect();
    assert_eq!(seconds, [2, 12, 22]);
    assert_eq!((&*waits[0].0, &*waits[0].1), ("mirror.example", "HEAD manifests/v1"));
}
