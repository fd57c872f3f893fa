//! What somebody sees who runs pullctl on a terminal, and how the terminal is left.

use pullctl::output::units;

use crate::support::cli::Pullctl;
use crate::support::containerd::Containerd;
use crate::support::damage::edit_blob;
use crate::support::faulty::{Fault, FaultyRegistry, Gate, Login};
use crate::support::held_back::HeldBack;
use crate::support::image::{Blob, Image, Layer, Recipe};
use crate::support::terminal::{Model, Terminal};
use crate::support::{one_version, unique};

/// Size of a layer's file, in bytes: one request fetches it.
const SIZE: usize = 400_000;
/// How much of a layer arrives before nothing more does, in bytes.
const ARRIVED: u64 = 100_000;
/// More requests than are made for a layer while it stalls.
const REQUESTS: usize = 32;

const PASSWORD: &str = "hunter2:more";

/// The last two lines of a pull that was interrupted.
const INTERRUPTED: [&str; 2] =
    ["error: interrupted", "hint: run the same command again: the pull goes on where it stopped"];

/// A registry with an image whose layers stop arriving.
struct Stalled {
    image: Image,
    reference: String,
    /// Opened, it lets the first bytes of a layer come.
    first: Gate,
    /// Opened, it lets the rest come.
    rest: Gate,
}

impl Stalled {
    /// An image of `there`, which is there already, and of so many layers that stop arriving.
    fn above(there: Vec<Layer>, layers: usize) -> Self {
        let missing = (0..layers).map(|_| Layer::noise(&unique("layer"), SIZE));
        let image = Recipe::new(there.iter().cloned().chain(missing).collect()).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let (first, rest) = (Gate::new(), Gate::new());
        for layer in &image.layers()[there.len()..] {
            let mut script = vec![Some(Fault::Break(0, first.clone()))];
            script.resize(REQUESTS, Some(Fault::Stall(ARRIVED, rest.clone())));
            registry.script(&layer.digest.to_string(), script);
        }
        Self { image, reference, first, rest }
    }

    fn of(layers: usize) -> Self {
        Self::above(Vec::new(), layers)
    }

    fn pull(&self, daemon: &Containerd) -> Pullctl {
        Pullctl::pull(daemon, &self.reference)
    }

    /// Size of a layer, as it is shown.
    fn size(&self) -> String {
        units::bytes(self.image.layers().last().unwrap().bytes.len() as u64)
    }
}

/// How a layer is called on the screen.
fn name(layer: &Blob) -> String {
    let digest = layer.digest.to_string();
    let (_, hex) = digest.split_once(':').unwrap();
    format!("layer  {}", &hex[..12])
}

/// How many lines hold `text`.
fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// What the line that begins with `start` says after its bar.
fn figures<'a>(lines: &'a [String], start: &str) -> Option<&'a str> {
    let line = lines.iter().find(|line| line.starts_with(start))?;
    line.rsplit(['━', '╸', '─']).next().map(str::trim)
}

/// Whether `figures` end with a speed and a time to go.
fn tell_speed_and_time(figures: &str) -> bool {
    let Some((speed, time)) = figures.rsplit_once("/s") else { return false };
    let is_time = |time: &str| time.trim().starts_with(|c: char| c.is_ascii_digit());
    speed.ends_with("iB") && is_time(time) && time.ends_with(['s', 'm', 'h', 'd'])
}

/// A registry that wants a password, and the reference of an image in it.
fn private() -> (FaultyRegistry, String) {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    registry.require(Login::Basic { user: "me".to_owned(), password: PASSWORD.to_owned() });
    (registry, reference)
}

fn login(registry: &FaultyRegistry, arguments: &[&str]) -> Pullctl {
    let flags = ["login", "--ignore-containerd-config", "--plain-http"];
    Pullctl::new().args(flags).args(arguments).args([registry.authority()])
}

/// The question for the password, without the space behind it.
fn question(registry: &FaultyRegistry) -> String {
    format!("Password for me at {}:", registry.authority())
}

one_version! {
    fn each_blob_has_a_line_with_its_bytes_speed_time_and_state(daemon) {
        let below = Layer::noise(&unique("below"), SIZE / 2);
        let registry = FaultyRegistry::start();
        let base = registry.add_new(&Recipe::new(vec![below.clone()]).build());
        Pullctl::pull(daemon, &base).run().succeeded();

        let stalled = Stalled::above(vec![below.clone()], 2);
        let size = stalled.size();
        let layers = stalled.image.layers();
        let missing: u64 = layers[1..].iter().map(|layer| layer.bytes.len() as u64).sum();
        let terminal = Terminal::start(stalled.pull(daemon).args(["--concurrency", "1"]));

        let there = units::bytes(below.blob.bytes.len() as u64);
        let total = units::bytes(missing);
        let names: Vec<String> = layers.iter().map(name).collect();
        // Either of the two may be the first to be fetched.
        let order = |lines: &[String]| {
            let fetched = |name: &String| count(lines, &format!("{name} downloading ")) == 1;
            if fetched(&names[1]) { [1, 2] } else { [2, 1] }
        };
        terminal.wait_until("no bytes yet", |lines| {
            let [fetched, waiting] = order(lines).map(|layer| &names[layer]);
            let nothing = |start: &str, size: &str| {
                figures(lines, start) == Some(&format!("0 B/{size}        0 B/s    -"))
            };
            lines.len() == 5
                && lines[3] == stalled.reference
                && lines[0] == format!("{} exists      {there}", names[0])
                && lines.contains(&format!("{waiting} waiting     {size}"))
                && nothing(&format!("{fetched} downloading "), &size)
                && nothing("total 1/3 blobs ", &total)
        });

        stalled.first.open();
        let arrived = units::bytes(ARRIVED);
        terminal.wait_until("bytes, speed and time to go", |lines| {
            let [fetched, _] = order(lines).map(|layer| &names[layer]);
            [(fetched.as_str(), &size), ("total", &total)].into_iter().all(|(start, size)| {
                figures(lines, start).is_some_and(|figures| {
                    figures.starts_with(&format!("{arrived}/{size}"))
                        && tell_speed_and_time(figures)
                })
            })
        });

        stalled.rest.open();
        let left = terminal.wait().ended_with(0).tidy();
        let rest = [&stalled.image.blobs[0], &stalled.image.root];
        let rest: u64 = rest.iter().map(|blob| blob.bytes.len() as u64).sum();
        let (reference, digest) = (&stalled.reference, stalled.image.digest());
        let fetched = units::bytes(missing + rest);
        let start = format!("{reference} {digest} fetched {fetched}, reused {there}, unpacked ");
        assert_eq!(left.lines.len(), 1, "the bars are still there: {left:#?}");
        assert!(left.lines[0].starts_with(&start), "{start}: {left:#?}");
        assert!(left.lines[0].ends_with("iB/s), the kubelet sees it"), "{left:#?}");
    }

    fn a_layer_that_is_whole_before_the_one_below_it_is_no_longer_downloading(daemon) {
        let name_of_file = unique("above");
        let below = Layer::noise(&unique("below"), SIZE);
        let image = Recipe::new(vec![below, Layer::file(&name_of_file, b"small")]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        let [below, above] = image.layers() else { panic!("two layers") };
        registry.always(&below.digest.to_string(), Fault::Stall(ARRIVED, gate.clone()));
        let terminal = Terminal::start(Pullctl::pull(daemon, &reference));
        terminal.wait_until("one whole layer", |lines| {
            count(lines, &format!("{} downloading ", name(below))) == 1
                && count(lines, &format!("{} waits for lower layers ", name(above))) == 1
        });
        gate.open();
        terminal.wait().ended_with(0).tidy();
    }

    fn a_repair_shows_what_it_fetches_and_leaves_nothing_of_it_behind(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("layer"), SIZE)]).build();
        let registry = FaultyRegistry::start();
        let (reference, namespace) = (registry.add_new(&image), unique("bars"));
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let [layer] = image.layers() else { panic!("one layer") };
        let digest = layer.digest.to_string();
        edit_blob(daemon, &digest, |bytes| bytes.truncate(100));
        let gate = Gate::new();
        registry.always(&digest, Fault::Stall(ARRIVED, gate.clone()));
        let check = ["-n", &namespace, "check", "--plain-http", "--repair", &reference];
        let terminal = Terminal::start(Pullctl::new().on(daemon).args(check));
        terminal.wait_until("the bar of the blob", |lines| {
            count(lines, &format!("{} downloading ", name(layer))) == 1
        });
        gate.open();
        let left = terminal.wait().ended_with(0).tidy();
        assert_eq!(count(&left.lines, "downloading"), 0, "{left:#?}");
        Pullctl::new().on(daemon).args(["-n", &namespace, "check", &reference]).run().succeeded();
    }

    fn a_deep_check_shows_what_it_reads_and_what_is_still_to_be_read(daemon) {
        let layers = [SIZE, SIZE / 2].map(|size| Layer::noise(&unique("layer"), size));
        let image = Recipe::new(layers.to_vec()).build();
        let (reference, namespace) = (FaultyRegistry::start().add_new(&image), unique("deep"));
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let gate = Gate::new();
        // Less than a layer, and more than all that is asked for before.
        let held = HeldBack::start(&daemon.socket(), ARRIVED, gate.clone());
        let check = ["-n", &namespace, "check", "--deep", &reference];
        // With its files out of sight the daemon is asked for them.
        let terminal = Terminal::start(
            Pullctl::blind_to(&daemon.root()).args(["-a".as_ref(), held.socket().as_os_str()]).args(check),
        );
        let size = |layer: &Blob| units::bytes(layer.bytes.len() as u64);
        terminal.wait_until("both layers, and the total", |lines| {
            let [first, second] = image.layers() else { panic!("two layers") };
            let is_known = |layer: &Blob| {
                count(lines, &name(layer)) == 1 && count(lines, &format!("/{}", size(layer))) == 1
            };
            let of_one = |layer| count(lines, &format!("{} reading ", name(layer))) == 1;
            // On one processor the second waits.
            let waits = |layer: &Blob| count(lines, &format!("{} waiting ", name(layer))) == 1;
            is_known(first)
                && of_one(first)
                && (of_one(second) || waits(second))
                && lines.last().is_some_and(|line| line.starts_with("total 0/2 blobs "))
        });
        gate.open();
        let left = terminal.wait().ended_with(0).tidy();
        let expected = "1 image checked, nothing is wrong";
        assert_eq!(left.lines.last().map(String::as_str), Some(expected), "{left:#?}");
        assert_eq!(count(&left.lines, "reading"), 0, "the bars are still there: {left:#?}");
    }

    fn a_narrow_terminal_has_a_line_a_blob_too(daemon) {
        let stalled = Stalled::of(2);
        stalled.first.open();
        let model = Model { columns: 50, ..Model::default() };
        let terminal = Terminal::of(model, stalled.pull(daemon));
        terminal.wait_until("both layers", |lines| {
            lines.len() == 4
                && count(lines, " downloading  25% ") == 2
                && lines[2].starts_with(&stalled.reference)
                && lines[3].starts_with("total 0/2 blobs  25% ")
        });
        stalled.rest.open();
        terminal.wait().ended_with(0).tidy();
    }

    fn a_low_terminal_shows_the_total_and_what_is_going_on(daemon) {
        let stalled = Stalled::of(8);
        stalled.first.open();
        let model = Model { rows: 6, ..Model::default() };
        let terminal = Terminal::of(model, stalled.pull(daemon).args(["--concurrency", "3"]));
        terminal.wait_until("three layers", |lines| {
            lines.len() == 4
                && count(lines, " downloading ") == 3
                && lines[3].starts_with("total 0/8 blobs ")
        });
        stalled.rest.open();
        let left = terminal.wait().ended_with(0).tidy();
        assert_eq!(left.lines.len(), 1, "the bars are still there: {left:#?}");
    }

    fn plain_lines_and_silence_draw_nothing_on_a_terminal_either(daemon) {
        let dumb = Model { name: Some("dumb"), ..Model::default() };
        let nameless = Model { name: None, ..Model::default() };
        for (mode, model, lines) in [
            ("plain", Model::default(), 3),
            ("auto", dumb, 3),
            ("auto", nameless, 3),
            ("none", Model::default(), 1),
        ] {
            let stalled = Stalled::of(1);
            stalled.first.open();
            let command = stalled.pull(daemon).args(["--progress", mode]);
            let terminal = Terminal::of(model, command);
            stalled.rest.wait_until_reached();
            stalled.rest.open();
            let left = terminal.wait().ended_with(0).tidy();
            assert_eq!(left.lines.len(), lines, "{mode}: {left:#?}");
            let reference = &stalled.reference;
            assert!(left.lines.iter().all(|line| line.starts_with(reference)), "{left:#?}");
            assert!(left.lines.last().unwrap().contains(" fetched "), "{left:#?}");
            assert!(!terminal.has_drawn(), "{mode}: {left:#?}");
        }
    }

    fn a_quiet_pull_shows_the_digest_alone(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let command = Pullctl::pull(daemon, &registry.add_new(&image)).args(["-q"]);
        let left = Terminal::start(command).wait().ended_with(0).tidy();
        assert_eq!(left.lines, [image.digest()]);
    }

    fn ctrl_c_takes_the_bars_away_and_says_that_the_pull_can_be_resumed(daemon) {
        let stalled = Stalled::of(3);
        stalled.first.open();
        let mut terminal = Terminal::start(stalled.pull(daemon));
        terminal.wait_for(&units::bytes(ARRIVED));
        terminal.interrupt();
        assert_eq!(terminal.wait().ended_with(130).tidy().lines, INTERRUPTED);
    }

    fn a_pull_asks_for_the_password_without_showing_it(daemon) {
        let (registry, reference) = private();
        let command = Pullctl::pull(daemon, &reference).args(["-u", "me"]);
        let mut terminal = Terminal::start(command);
        terminal.wait_for(&question(&registry));
        assert!(!terminal.echoes());
        terminal.type_in(&format!("{PASSWORD}\n"));
        let left = terminal.wait().ended_with(0).tidy();
        assert_eq!(left.lines.len(), 2, "{left:#?}");
        assert_eq!(left.lines[0], question(&registry));
        assert!(left.lines[1].starts_with(&reference), "{left:#?}");
    }
}

#[test]
fn a_login_asks_for_name_and_password_and_shows_the_name_only() {
    let (registry, _) = private();
    let mut terminal = Terminal::start(login(&registry, &[]));
    let asked = format!("User name at {}:", registry.authority());
    terminal.wait_for(&asked);
    assert!(terminal.echoes());
    terminal.type_in("me\n");
    terminal.wait_for(&question(&registry));
    assert!(!terminal.echoes());
    // A slip of the finger can be corrected, as on any line.
    terminal.type_in(&format!("{PASSWORD}x\u{7f}\n"));
    let left = terminal.wait().ended_with(0).tidy();
    assert_eq!(left.lines.len(), 3, "{left:#?}");
    assert_eq!(left.lines[..2], [format!("{asked} me"), question(&registry)]);
    assert!(left.lines[2].starts_with("logged in to 127.0.0.1:"), "{left:#?}");
}

#[test]
fn a_wrong_password_is_not_shown_either() {
    let (registry, _) = private();
    let mut terminal = Terminal::start(login(&registry, &["-u", "me"]));
    terminal.wait_for(&question(&registry));
    terminal.type_in("hunter2:less\n");
    let left = terminal.wait().ended_with(4).tidy();
    assert_eq!(left.lines[0], question(&registry));
    assert!(!left.lines.concat().contains("hunter2"), "{left:#?}");
}

#[test]
fn a_signal_at_a_question_ends_the_command_and_leaves_the_terminal_as_it_was() {
    let (registry, reference) = private();
    let password_asked = question(&registry);
    let name_asked = format!("User name at {}:", registry.authority());
    let pull = || Pullctl::new().args(["pull", "--plain-http", "-u", "me", &reference]);
    for by_key in [true, false] {
        for (command, question, last) in [
            (pull(), &password_asked, &INTERRUPTED[..]),
            (login(&registry, &["-u", "me"]), &password_asked, &INTERRUPTED[..1]),
            (login(&registry, &[]), &name_asked, &INTERRUPTED[..1]),
        ] {
            let mut terminal = Terminal::start(command);
            terminal.wait_for(question);
            if by_key {
                terminal.type_in("hunter2");
                terminal.interrupt();
            } else {
                terminal.terminate();
            }
            let left = terminal.wait().ended_with(130).tidy();
            assert!(left.lines[0].starts_with(question), "{left:#?}");
            assert_eq!(left.lines[1..], *last);
        }
    }
}

#[test]
fn the_end_of_input_in_place_of_a_password_is_an_error() {
    let (registry, _) = private();
    let mut terminal = Terminal::start(login(&registry, &["-u", "me"]));
    terminal.wait_for(&question(&registry));
    terminal.type_in("\u{4}");
    let left = terminal.wait().ended_with(1).tidy();
    assert!(left.lines[1].starts_with("error: cannot read the password"), "{left:#?}");
}

#[test]
fn a_password_that_the_terminal_cuts_off_is_not_tried() {
    let (registry, _) = private();
    let mut terminal = Terminal::start(login(&registry, &["-u", "me"]));
    terminal.wait_for(&question(&registry));
    terminal.type_in(&format!("{}\n", "x".repeat(5000)));
    let left = terminal.wait().ended_with(1).tidy();
    assert_eq!(left.lines[2], "  it is longer than a line of the terminal", "{left:#?}");
    assert_eq!(registry.requests(), []);
}
