//! What a pull shows while it runs, off terminals; `terminal` is about those.

use std::fs;

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::faulty::{Fault, FaultyRegistry, Login, Request};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::{one_version, unique};

fn image() -> Image {
    let name = unique("progress");
    Recipe::new(vec![Layer::noise(&name, 200_000), Layer::file(&name, b"small")]).build()
}

/// How the image that hosts.toml has a mirror for is called.
const MIRRORED: &str = "registry.example/team/app:v1";

/// The events named `name`.
fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

/// A registry that asks for a login and fails once, with an image of which the largest blob comes in
/// ranges.
struct Refusing {
    registry: FaultyRegistry,
    reference: String,
}

impl Refusing {
    fn new() -> Self {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image());
        let (user, password) = ("ann".to_owned(), "hunter2".to_owned());
        registry.require(Login::Basic { user, password });
        registry.script("/blobs/", vec![Some(Fault::Status(503, Vec::new()))]);
        Self { registry, reference }
    }

    fn pull(&self, daemon: &Containerd, flags: &[&str]) -> Outcome {
        let pullctl = Pullctl::pull(daemon, &self.reference).args(["-u", "ann:hunter2"]);
        pullctl.args(["--chunk-size", "64KiB"]).args(flags).run().succeeded()
    }

    /// What should be told of each request that came, in order of the text.
    fn attempts(&self) -> Vec<String> {
        let mut failed = false;
        let attempt = |request: &Request| {
            let range = request.header("range").map(|range| range.replace('=', " "));
            let status = if request.header("authorization").is_none() {
                "401 Unauthorized"
            } else if request.path.contains("/blobs/") && !std::mem::replace(&mut failed, true) {
                "503 Service Unavailable"
            } else if range.is_some() {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            let path: Vec<&str> = request.path.rsplitn(3, '/').take(2).collect();
            let range = range.map_or(String::new(), |range| format!(" {range}"));
            format!("{} {}/{}{range}: {status}", request.method, path[1], path[0])
        };
        sorted(self.registry.requests().iter().map(attempt).collect())
    }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

one_version! {
    fn json_events_tell_the_whole_story(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let outcome = Pullctl::pull(daemon, &reference).args(["--progress", "json"]).run().succeeded();
        let events = outcome.events();
        assert_eq!(events.len(), outcome.stderr.lines().count(), "not JSON: {}", outcome.stderr);

        let resolved = named(&events, "resolved");
        assert_eq!(resolved.len(), 1);
        assert_eq!(resolved[0]["digest"], image.digest());
        assert_eq!(resolved[0]["host"], registry.authority());
        assert_eq!(named(&events, "planned")[0]["platforms"][0], "linux/amd64");
        assert!(!named(&events, "attempt").is_empty());

        let layer = image.layers()[0].digest.to_string();
        let states: Vec<&str> = named(&events, "blob")
            .into_iter()
            .filter(|event| event["digest"] == layer)
            .filter_map(|event| event["state"].as_str())
            .collect();
        let order = ["waiting", "downloading", "verifying", "unpacking", "done"];
        let places: Vec<Option<usize>> =
            states.iter().map(|state| order.iter().position(|name| name == state)).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some), "{states:?}");
        assert!(states.contains(&"downloading") && states.ends_with(&["done"]), "{states:?}");

        let received: u64 = named(&events, "received")
            .into_iter()
            .filter(|event| event["digest"] == layer)
            .filter_map(|event| event["delta_bytes"].as_u64())
            .sum();
        assert_eq!(received, image.layers()[0].bytes.len() as u64);

        let finished = named(&events, "finished");
        assert_eq!(finished.len(), 1);
        assert_eq!(finished[0]["image"], reference);
        assert_eq!(finished[0]["digest"], image.digest());
        let sizes = image.blobs.iter().chain([&image.root]).map(|blob| blob.bytes.len() as u64);
        assert_eq!(finished[0]["fetched_bytes"], sizes.sum::<u64>());
        assert_eq!(finished[0]["reused_bytes"], 0);
    }

    fn json_tells_what_was_reused_by_a_repeated_pull(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        let events = Pullctl::pull(daemon, &reference).args(["--progress", "json"]).run().succeeded().events();
        let finished = named(&events, "finished")[0];
        let layers: u64 = image.layers().iter().map(|layer| layer.bytes.len() as u64).sum();
        assert!(finished["reused_bytes"].as_u64() >= Some(layers), "{finished}");
        assert!(finished["fetched_bytes"].as_u64() <= Some(image.root.bytes.len() as u64));
        let states = named(&events, "blob");
        assert!(states.iter().all(|event| event["state"] != "downloading"), "{states:?}");
    }

    fn json_tells_failures_with_the_exit_code(daemon) {
        let registry = FaultyRegistry::start();
        let reference = format!("{}/no/such:image", registry.authority());
        let outcome = Pullctl::pull(daemon, &reference).args(["--progress", "json"]).run().ended_with(3);
        let events = outcome.events();
        assert_eq!(events.len(), outcome.stderr.lines().count(), "not JSON: {}", outcome.stderr);
        let failed = named(&events, "failed")[0];
        assert_eq!(failed["image"], reference);
        assert_eq!(failed["failure"], "not-found");
        assert_eq!(failed["exit_code"], 3);
        assert!(failed["error"].as_str().is_some_and(|error| error.contains("not found")), "{failed}");
    }

    fn off_a_terminal_there_are_plain_lines_and_few_of_them(daemon) {
        let registry = FaultyRegistry::start();
        let name = unique("plain");
        let layers = (0..100).map(|n| Layer::file(&format!("{name}-{n}"), b"x")).collect();
        let reference = registry.add_new(&Recipe::new(layers).build());
        for mode in ["auto", "plain"] {
            let outcome = Pullctl::pull(daemon, &reference).args(["--progress", mode]).run().succeeded();
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!said.contains(control), "{said:?}");
            assert!(said.contains(&reference));
            assert!(said.lines().count() < 20, "{said}");
        }
    }

    fn bars_are_drawn_on_terminals_only(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image());
        let outcome = Pullctl::pull(daemon, &reference).args(["--progress", "bars"]).env("TERM", "xterm").run();
        let outcome = outcome.succeeded();
        assert_eq!(outcome.stderr, "");
        assert!(outcome.stdout.starts_with(&format!("{reference} sha256:")), "{}", outcome.stdout);
        assert_eq!(outcome.stdout.lines().count(), 1);
    }

    fn no_progress_leaves_the_result(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image());
        let outcome = Pullctl::pull(daemon, &reference).args(["--progress", "none"]).run().succeeded();
        assert_eq!(outcome.stderr, "");
        assert!(outcome.stdout.contains(&reference));
    }

    fn verbose_shows_every_request_with_its_outcome(daemon) {
        let bed = Refusing::new();
        let outcome = bed.pull(daemon, &["-v"]);
        let host = format!("{}: ", bed.registry.authority());
        let lines = outcome.stderr.lines().filter_map(|line| line.strip_prefix(&host));
        let (mut told, mut times) = (Vec::new(), Vec::new());
        for line in lines {
            let (attempt, time) = line.rsplit_once(" (").unwrap();
            told.push(attempt.to_owned());
            times.push(time.to_owned());
        }
        assert_eq!(sorted(told), bed.attempts());
        let is_time = |time: &String| time.ends_with(" ms)") || time.ends_with(" s)");
        assert!(times.iter().all(is_time), "{times:?}");
    }

    fn json_tells_every_request_with_its_outcome(daemon) {
        let bed = Refusing::new();
        let outcome = bed.pull(daemon, &["--progress", "json"]);
        let events = outcome.events();
        let mut told = Vec::new();
        for attempt in named(&events, "attempt") {
            assert_eq!(attempt["host"], bed.registry.authority());
            let (request, outcome) = (attempt["request"].as_str(), attempt["outcome"].as_str());
            told.push(format!("{}: {}", request.unwrap(), outcome.unwrap()));
            assert!(attempt["duration_ms"].is_u64(), "{attempt}");
        }
        assert_eq!(sorted(told), bed.attempts());
        let spent = named(&events, "attempt").into_iter().map(|attempt| &attempt["duration_ms"]);
        let longest = spent.filter_map(Value::as_u64).max().unwrap();
        assert!(u128::from(longest) <= outcome.duration.as_millis(), "{longest} ms");
    }

    fn an_error_names_each_host_with_what_was_wrong_there(daemon) {
        let (mirror, upstream) = (FaultyRegistry::start(), FaultyRegistry::start());
        mirror.always("/v2/", Fault::Status(502, Vec::new()));
        let hosts = tempfile::tempdir().unwrap();
        let directory = hosts.path().join("registry.example");
        fs::create_dir(&directory).unwrap();
        let toml = format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n",
            upstream.authority(),
            mirror.authority()
        );
        fs::write(directory.join("hosts.toml"), toml).unwrap();
        let pull = |flags: &[&str]| {
            let command = ["pull", "--ignore-containerd-config", "--retries", "1", MIRRORED];
            let pullctl = Pullctl::new().on(daemon).args(command).args(flags);
            pullctl.args(["--hosts-dir".as_ref(), hosts.path()]).run().ended_with(3)
        };
        let outcome = pull(&[]);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        let causes = [
            format!("{}: 502 Bad Gateway after 2 attempts (", mirror.authority()),
            format!("{}: not found (404): unknown", upstream.authority()),
        ];
        assert_eq!(lines[0], format!("error: cannot resolve {MIRRORED}"));
        assert!(lines[1].starts_with(&format!("  {}", causes[0])), "{}", outcome.stderr);
        assert!(lines[1].ends_with(" s)"), "{}", outcome.stderr);
        assert_eq!(lines[2], format!("  {}", causes[1]));
        let events = pull(&["--progress", "json"]).events();
        let failed = named(&events, "failed")[0]["error"].as_str().unwrap();
        assert!(causes.iter().all(|cause| failed.contains(cause)), "{failed}");
    }
}
