//! `--background`: a pull that takes what nobody else wants.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::archive::{Archive, text};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::damage::{blob_file, directory_of};
use crate::support::each_version;
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::store::Store;
use crate::support::tree::Tree;
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

/// The classes in which all threads of a process wait for the disk, as `ionice` tells them. One without
/// a class of its own, `none`, has that of its policy: idle for `SCHED_IDLE` (ioprio_set(2)).
fn disk_classes(pid: u32) -> BTreeSet<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let class = |task: std::fs::DirEntry| {
        let told = Command::new("ionice").arg("-p").arg(task.file_name()).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        // Of a thread that has ended meanwhile nothing is told.
        told.split([':', '\n']).next().filter(|class| !class.is_empty()).map(str::to_owned)
    };
    tasks.filter_map(class).collect()
}

/// The files below `directory`, and theirs.
fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files_below(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// The files of the image in the daemon: its layers' blobs, and what they are unpacked.
fn files_of(daemon: &Containerd, image: &Image) -> Vec<PathBuf> {
    let store = Store::new(daemon, KUBERNETES);
    let blobs = image.layers().iter().map(|layer| layer.digest.to_string());
    let mut files: Vec<PathBuf> = blobs.map(|blob| blob_file(daemon, &blob)).collect();
    for chain_id in image.chain_ids() {
        files_below(&directory_of(&store, &chain_id), &mut files);
    }
    files
}

/// How many pages the page cache has of `files`, by `fincore`, and of which.
fn cached(files: &[PathBuf]) -> (u64, Vec<String>) {
    let told = Command::new("fincore").args(["-n", "-r", "-o", "PAGES,FILE"]).args(files).output();
    let told = told.unwrap();
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8(told.stdout).unwrap();
    let lines = told.lines().map(|line| line.trim().split_once(' ').unwrap());
    let held: Vec<_> = lines.filter(|(pages, _)| *pages != "0").collect();
    let pages = held.iter().map(|(pages, _)| pages.parse::<u64>().unwrap()).sum();
    (pages, held.into_iter().map(|(_, file)| file.to_owned()).collect())
}

each_version! {
    fn what_a_pull_in_the_background_has_written_does_not_stay_in_the_page_cache(daemon) {
        let registry = FaultyRegistry::start();
        for (flags, is_let_go) in [(&["--background"][..], true), (&[], false)] {
            let mut many = Tree::new();
            for number in 0..300 {
                many = many.file(&unique(&number.to_string()), &[7; 5000]);
            }
            // By both ways into the content store, and more than is written at a time.
            let large = Layer::noise(&unique("large"), 40_000_000);
            let image = Recipe::new(vec![large, Layer::pack(&many.into_tar(), Packing::Gzip)]).build();
            let reference = registry.add_new(&image);
            Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
            let files = files_of(daemon, &image);
            assert!(files.len() >= 303, "{files:?}");
            let (pages, held) = cached(&files);
            assert_eq!(pages == 0, is_let_go, "{pages} pages of {held:?}");
        }
    }

    fn what_a_load_in_the_background_has_written_does_not_stay_in_the_page_cache(daemon) {
        for (flags, is_piped, is_let_go) in [
            (&["--background"][..], false, true),
            (&["--background"], true, true),
            (&[], false, false),
        ] {
            let files = Tree::new().file(&unique("small"), &[7; 5000]).into_tar();
            let large = Layer::noise(&unique("large"), 9_000_000);
            let image = Recipe::new(vec![large, Layer::pack(&files, Packing::Gzip)]).build();
            let name = format!("registry.example/{}:v1", unique("loaded"));
            let archive = Archive::oci(&[(&image, &name)]).build();
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("archive.tar");
            let load = Pullctl::new().on(daemon).args(["load"]).args(flags);
            let load = if is_piped {
                load.input(archive)
            } else {
                std::fs::write(&file, archive).unwrap();
                load.args(["-i", text(&file)])
            };
            load.run().succeeded();
            let files = files_of(daemon, &image);
            assert!(files.len() >= 4, "{files:?}");
            let (pages, held) = cached(&files);
            assert_eq!(pages == 0, is_let_go, "{flags:?}, {is_piped}: {pages} pages of {held:?}");
        }
    }

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
            let classes = disk_classes(running.pid());
            gate.open();
            running.wait().succeeded();
            let idle_only = BTreeSet::from([SCHED_IDLE.to_owned()]);
            assert_eq!(found == idle_only, is_idle, "{flags:?}: {found:?}");
            let is_of_policy = classes.iter().all(|class| ["none", "idle"].contains(&&**class));
            assert!(!classes.is_empty() && is_of_policy, "{classes:?}");
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
