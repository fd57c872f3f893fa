//! `--background`: a pull that takes what nobody else wants.

use std::collections::BTreeSet;
use std::io::Write as _;

use crate::support::archive::{Archive, text};
use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::each_version;
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Layer, Recipe};
use crate::support::store::Store;
use crate::support::unique;

/// The kernel's number of `SCHED_IDLE`.
const SCHED_IDLE: &str = "5";

/// Where a thread's scheduling policy stands behind its name in `/proc/PID/task/TID/stat`.
const POLICY: usize = 38;

/// Most threads of work in the background: one for the network, and for each of two blobs some that
/// read, inflate, hash and write.
const MAX_THREADS: usize = 16;

/// The scheduling policies of all threads of a process.
fn policies(pid: u32) -> BTreeSet<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).ok();
    let stats = tasks.flatten().filter_map(stat);
    stats
        .map(|stat| {
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            fields.split(' ').nth(POLICY).unwrap().to_owned()
        })
        .collect()
}

each_version! {
    fn a_pull_in_the_background_has_the_lowest_priority_with_all_its_threads(daemon) {
        let registry = FaultyRegistry::start();
        for (flags, is_idle) in [(&["--background"][..], true), (&[], false)] {
            let image = Recipe::new(vec![Layer::noise(&unique("background"), 3_000_000)]).build();
            let layer = image.layers()[0].digest.to_string();
            let reference = registry.add_new(&image);
            let gate = Gate::new();
            registry.script(&layer, vec![Some(Fault::Stall(1_000_000, gate.clone()))]);
            let pull = Pullctl::pull(daemon, &reference);
            let running = pull.args(["--concurrency", "1"]).args(flags).spawn();
            gate.wait_until_reached();
            let found = policies(running.pid());
            gate.open();
            running.wait().succeeded();
            let idle_only = BTreeSet::from([SCHED_IDLE.to_owned()]);
            assert_eq!(found == idle_only, is_idle, "{flags:?}: {found:?}");
            assert!(Store::new(daemon, KUBERNETES).images().contains_key(&reference));
        }
    }

    fn a_load_in_the_background_has_the_lowest_priority_and_few_threads(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("archive.tar");
        for is_idle in [true, false] {
            rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
            let name = format!("registry.example/{}:v1", unique("loaded"));
            let image = Recipe::new(vec![Layer::noise(&unique("background"), 3_000_000)]).build();
            let archive = Archive::oci(&[(&image, &name)]).build();
            let flags = if is_idle { &["--background"][..] } else { &[] };
            let load = Pullctl::new().on(daemon).args(["load", "-i", text(&pipe)]);
            let running = load.args(flags).spawn();
            let mut writer = std::fs::File::options().write(true).open(&pipe).unwrap();
            // A pipe holds less, so that whoever has written this much is being read.
            let (begun, rest) = archive.split_at(1_500_000);
            writer.write_all(begun).unwrap();
            let found = policies(running.pid());
            let threads = std::fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
            let threads = threads.count();
            writer.write_all(rest).unwrap();
            drop(writer);
            running.wait().succeeded();
            let idle_only = BTreeSet::from([SCHED_IDLE.to_owned()]);
            assert_eq!(found == idle_only, is_idle, "{flags:?}: {found:?}");
            assert!(!is_idle || threads <= MAX_THREADS, "{threads} threads");
            assert!(Store::new(daemon, KUBERNETES).images().contains_key(&name));
            std::fs::remove_file(&pipe).unwrap();
        }
    }
}
