//! One operation asked of its hosts in turn, until one gives what was asked for.

use std::future::Future;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::registry::ask::tries::Tries;
use crate::registry::error::Error;
use crate::registry::fault::Fault;

/// What an operation asks, as errors tell it.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// `resolve docker.io/library/busybox:latest`.
    pub(crate) what: String,
    /// `manifests/latest`.
    pub(crate) request: String,
    /// Whether a host that is silent for longer than it should be gets company by the next one
    /// (hedging).
    pub(crate) hedges: bool,
}

/// Asks `hosts`, those that `tries` was made for, one after the other with `ask`, and returns the
/// first good answer and the index of the host that gave it.
///
/// With hedging, whoever was asked before the winner and has not answered counts as slow for the rest
/// of the run. A round asks each host at most once with it as without it.
///
/// # Errors
/// What all hosts came to, when none is left that may help.
pub(crate) async fn in_turn<'h, H, T, A>(
    tries: &mut Tries,
    hosts: &'h [H],
    question: &Question,
    mut ask: impl FnMut(usize, &'h H) -> A,
) -> Result<(usize, T), Error>
where
    A: Future<Output = Result<T, Fault>>,
{
    let mut answers = FuturesUnordered::new();
    // Who has not answered yet, in the order of asking.
    let mut silent: Vec<usize> = Vec::new();
    let mut begin = |answers: &mut FuturesUnordered<_>, silent: &mut Vec<usize>, index: usize| {
        if let Some(host) = hosts.get(index) {
            let answer = ask(index, host);
            answers.push(async move { (index, answer.await) });
            silent.push(index);
        }
    };
    loop {
        let Some(last) = silent.last() else {
            let next = tries.next().await;
            let index =
                next.map_err(|given_up| given_up.error(&question.what, &question.request))?;
            begin(&mut answers, &mut silent, index);
            continue;
        };
        let patience = tries.patience(*last).filter(|_| question.hedges);
        let (index, outcome) = tokio::select! {
            biased;
            Some(answered) = answers.next() => answered,
            () = sleep(patience.unwrap_or_default()), if patience.is_some() => {
                if let Some(index) = tries.beside() {
                    begin(&mut answers, &mut silent, index);
                }
                continue;
            }
        };
        match outcome {
            Ok(answer) => {
                for overtaken in silent.iter().take_while(|silent| **silent != index) {
                    tries.slow(*overtaken, &question.request);
                }
                tries.answered(index, question.hedges);
                return Ok((index, answer));
            }
            Err(fault) => {
                silent.retain(|silent| *silent != index);
                tries.unusable(index, &question.request, &fault);
                tries.failed(index, fault);
            }
        }
    }
}
