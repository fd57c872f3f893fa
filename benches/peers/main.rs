//! `make bench`: pullctl beside `ctr` of each containerd, skopeo and crane, in turn, on one machine,
//! from one registry, into an empty daemon or registry each time. What each case is and what limits it: `benches/README.md`.
//!
//! Everything started and written here is gone when it ends, by Ctrl-C too, apart from
//! `results.json`, `results.svg` and the folder given with `--store`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the results go to the terminal")]

#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the test bed offers more, and its own tests are no use here"
)]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod archive;
mod attic;
mod cases;
mod chart;
mod content;
mod contestant;
mod daemon;
mod floor;
mod layer;
mod link;
mod measure;
mod memory;
mod network;
mod options;
mod origin;
mod process;
mod publish;
mod report;
mod results;
mod sender;
mod steps;
mod traffic;
mod unpacked;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::archive::Files;
use crate::cases::{Act, Case};
use crate::daemon::Daemon;
use crate::measure::Race;
use crate::network::Front;
use crate::options::Options;
use crate::origin::Origin;
use crate::process::Ticks;
use crate::publish::{Published, Publisher};
use crate::results::{Duel, NO_DAEMON, Outcome, Results, wall};

/// From this share of its processors' time on, what others do, on the machine or beside it, spoils what
/// is measured.
const BUSY: f64 = 5.0;

/// By how much the processor time of one and the same work may differ between runs. Beyond, the machine was not
/// the same one: a neighbour shares its caches, or the file system was busy with something else.
const EVEN: f64 = 1.5;

/// Less processor time than this is too little to tell, in seconds.
const TELLING: f64 = 0.2;

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<(), String> {
    fs::create_dir_all(&options.output)
        .map_err(|error| format!("{}: {error}", options.output.display()))?;
    let file = options.output.join("results.json");
    let mut results = Results::load(&file);
    if !options.draw {
        measure(options, &mut results, &file)?;
    }
    results.arrange(&Case::all());
    let drawing = options.output.join("results.svg");
    fs::write(&drawing, chart::svg(&results))
        .map_err(|error| format!("{}: {error}", drawing.display()))?;
    println!("{}", report::markdown(&results));
    Ok(())
}

/// Runs the chosen cases; what each came to is kept at once.
fn measure(options: &Options, results: &mut Results, file: &Path) -> Result<(), String> {
    let origin = Origin::start(options.store.as_deref());
    let mut publisher = Publisher::new(&origin);
    attic::rest_after(file);
    let daemons: Vec<Daemon> = options.chosen_daemons().into_iter().map(Daemon::start).collect();
    for case in options.chosen_cases() {
        eprintln!("{}: {}", case.name, case.title);
        let images: Vec<Published> =
            case.images.iter().map(|image| publisher.publish(image)).collect();
        let front = Front::open(case.network, &origin);
        let busy_percent = process::machine_busy_percent();
        if busy_percent > BUSY {
            eprintln!("  the machine is {busy_percent:.0} % busy with something else");
        }
        let references: Vec<String> =
            images.iter().map(|image| image.reference(front.authority())).collect();
        let programs = options.programs();
        let files = Files::of(case.act, &references, &programs, origin.directory())?;
        let held = hold(&case, &images, &front, files.as_ref(), &daemons, options)?;
        let outcome = Outcome { busy_percent, ..held };
        results.put(outcome);
        results.arrange(&Case::all());
        results.save(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// One case on each daemon, the contestants in turn. Those that need no daemon run beside the last.
fn hold(
    case: &Case,
    images: &[Published],
    front: &Front<'_>,
    files: Option<&Files>,
    daemons: &[Daemon],
    options: &Options,
) -> Result<Outcome, String> {
    let mut duels = Vec::new();
    let programs = options.programs();
    for (position, daemon) in daemons.iter().enumerate() {
        let is_last = position + 1 == daemons.len();
        let name = match case.act {
            Act::Copy if !is_last => continue,
            Act::Copy => NO_DAEMON.to_owned(),
            _ => daemon.name()?,
        };
        let race = Race { case, images, front, daemon, programs: &programs, files };
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string();
        let mut duel = Duel { daemon: name, date, ..Duel::default() };
        let before = Ticks::now();
        // Neither is always the one that finds the other's traces.
        let mut order = options.contestants();
        order.retain(|contestant| contestant.enters(case.act, is_last));
        for _ in 0..options.pairs * case.rounds {
            make_room(daemons)?;
            if case.floor {
                duel.floor_seconds.push(race.floor()?.as_secs_f64());
            }
            if case.limit.is_some() {
                duel.limit_seconds.push(race.limit()?.as_secs_f64());
            }
            for contestant in &order {
                let sample = race.run(*contestant)?;
                duel.runs_of(*contestant).push(sample);
            }
            order.reverse();
        }
        duel.stolen_percent = Some(before.stolen_percent());
        tell(&duel);
        duels.push(duel);
    }
    Ok(Outcome {
        case: case.name.to_owned(),
        title: case.title.to_owned(),
        busy_percent: 0.0,
        layer_bytes: distinct_bytes(images),
        duels,
    })
}

/// Says what a duel came to.
fn tell(duel: &Duel) {
    let peers = duel.peers().map(|(name, seconds)| format!("{name} {seconds:.3} s, "));
    let peers: String = peers.collect();
    let ours = wall(&duel.pullctl).unwrap_or(f64::NAN);
    eprintln!("  containerd {}: {peers}pullctl {ours:.3} s", duel.daemon);
    if let Some(gain) = duel.gain() {
        eprintln!("  against the build before: {gain:.2} times as fast");
    }
    let stolen_percent = duel.stolen_percent.unwrap_or_default();
    if stolen_percent > BUSY {
        eprintln!("  other tenants took {stolen_percent:.0} % of the processors: run it again");
    }
    let work = duel.pullctl.iter().map(|run| run.client_cpu_seconds);
    let (least, most) =
        work.fold((f64::INFINITY, 0.0_f64), |(least, most), run| (least.min(run), most.max(run)));
    if most > TELLING && most > least * EVEN {
        eprintln!("  the same work took {least:.1} to {most:.1} s of the processors: run it again");
    }
}

fn make_room(daemons: &[Daemon]) -> Result<(), String> {
    daemons.iter().try_for_each(|daemon| daemon.attic().clear_if_full())
}

fn distinct_bytes(images: &[Published]) -> u64 {
    let layers: HashMap<&str, u64> = images
        .iter()
        .flat_map(|image| &image.layers)
        .map(|(digest, bytes)| (digest.as_str(), *bytes))
        .collect();
    layers.values().sum()
}
