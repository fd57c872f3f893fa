//! The results as Markdown tables.

use std::fmt::Write;

use crate::results::{Duel, NO_DAEMON, Outcome, Results, Sample, median, wall};

const MIB: f64 = 1_048_576.0;

/// Times, then costs.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = format!("{}\n\n", results.machine);
    times(&mut text, results);
    yardsticks(&mut text, results);
    costs(&mut text, results);
    text
}

fn times(text: &mut String, results: &Results) {
    let mut daemons: Vec<&str> = Vec::new();
    for duel in results.outcomes.iter().flat_map(|outcome| &outcome.duels) {
        if !daemons.contains(&duel.daemon.as_str()) {
            daemons.push(&duel.daemon);
        }
    }
    daemons.sort_unstable();
    line(text, ["case".to_owned()].into_iter().chain(daemons.iter().map(|d| peer(d))));
    line(text, std::iter::repeat_n("---".to_owned(), daemons.len() + 1));
    for outcome in &results.outcomes {
        let cells = daemons.iter().map(|daemon| {
            let duel = outcome.duels.iter().find(|duel| duel.daemon == *daemon);
            duel.map(time).unwrap_or_default()
        });
        line(text, [outcome.title.clone()].into_iter().chain(cells));
    }
    text.push('\n');
}

/// Whom pullctl is compared to on a daemon.
fn peer(daemon: &str) -> String {
    if daemon == NO_DAEMON { "skopeo, crane".to_owned() } else { format!("ctr {daemon}") }
}

/// Each peer's time and how many times faster pullctl is, with pullctl's own time behind the arrow.
fn time(duel: &Duel) -> String {
    let Some(ours) = wall(&duel.pullctl) else { return "–".to_owned() };
    let peers: Vec<(&str, f64)> = duel.peers().collect();
    let gain = duel.gain().map(|times| format!(", {times:.2}× the build before"));
    let gain = gain.unwrap_or_default();
    match peers[..] {
        [] => format!("– → {}{gain}", duration(ours)),
        [("ctr", peer)] => {
            format!("{} → {}, **{:.2}×**{gain}", duration(peer), duration(ours), peer / ours)
        }
        _ => {
            let times =
                |(name, peer): &(&str, f64)| format!("{name} {peer:.2} s, **{:.2}×**", peer / ours);
            let peers: Vec<String> = peers.iter().map(times).collect();
            format!("{} → {ours:.2} s{gain}", peers.join("; "))
        }
    }
}

/// In seconds, or in milliseconds where there are few.
fn duration(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// What the same layers cost without a client that checks and keeps them, and how much longer than
/// that pullctl takes.
fn yardsticks(text: &mut String, results: &Results) {
    for outcome in &results.outcomes {
        let title = &outcome.title;
        let limit = match outcome.case.as_str() {
            "save" => format!("`cp` of {title}"),
            "pause" => {
                format!("The daemon's calls and two round trips, in their order, of {title}")
            }
            _ => format!("`curl | igzip -d | tar x` of {title}"),
        };
        against(text, &limit, outcome, |duel| &duel.limit_seconds);
        let floor = format!("What no client gets around of {title}");
        against(text, &floor, outcome, |duel| &duel.floor_seconds);
    }
}

fn against(text: &mut String, what: &str, outcome: &Outcome, seconds: fn(&Duel) -> &[f64]) {
    let compared = outcome.duels.iter().filter_map(|duel| {
        let seconds = median(seconds(duel).iter().copied())?;
        let ours = wall(&duel.pullctl)?;
        let (daemon, times) = (&duel.daemon, ours / seconds);
        Some(format!("{daemon} {} (we take {times:.2}× that)", duration(seconds)))
    });
    let compared: Vec<String> = compared.collect();
    if !compared.is_empty() {
        let _ = write!(text, "{what}: {}\n\n", compared.join(", "));
    }
}

/// Each cell: ctr, then pullctl.
fn costs(text: &mut String, results: &Results) {
    let heads = [
        "case",
        "daemon",
        "client CPU s",
        "daemon CPU s",
        "client MiB",
        "daemon MiB",
        "served ÷ layers",
        "requests",
        "connections",
        "client CPU s before",
        "client MiB before",
    ];
    line(text, heads.map(str::to_owned));
    line(text, heads.map(|_| "---".to_owned()));
    for outcome in &results.outcomes {
        for duel in &outcome.duels {
            line(text, cost(outcome, duel));
        }
    }
}

fn cost(outcome: &Outcome, duel: &Duel) -> Vec<String> {
    let one = |samples: &[Sample], digits: usize, value: &dyn Fn(&Sample) -> f64| {
        let median = median(samples.iter().map(value));
        median.map_or_else(|| "–".to_owned(), |median| format!("{median:.digits$}"))
    };
    let both = |digits: usize, value: &dyn Fn(&Sample) -> f64| {
        let peer = if duel.ctr.is_empty() { &duel.crictl } else { &duel.ctr };
        let (peer, ours) = (one(peer, digits, value), one(&duel.pullctl, digits, value));
        format!("{peer} / {ours}")
    };
    let before = |digits, value: &dyn Fn(&Sample) -> f64| one(&duel.before, digits, value);
    let layers = outcome.layer_bytes.max(1) as f64;
    vec![
        outcome.case.clone(),
        duel.daemon.clone(),
        both(2, &|sample| sample.client_cpu_seconds),
        both(2, &|sample| sample.daemon_cpu_seconds),
        both(0, &|sample| sample.client_peak_bytes as f64 / MIB),
        both(0, &|sample| sample.daemon_peak_bytes as f64 / MIB),
        both(3, &|sample| sample.traffic.bytes as f64 / layers),
        both(0, &|sample| sample.traffic.requests as f64),
        both(0, &|sample| sample.traffic.connections as f64),
        before(2, &|sample| sample.client_cpu_seconds),
        before(0, &|sample| sample.client_peak_bytes as f64 / MIB),
    ]
}

fn line(text: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
