//! The sink of a pull: queues events, and renders them on a thread of its own, so that a slow
//! terminal never holds up a download.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bars::Bars;
use super::json::Json;
use super::ledger::{Ledger, ResultStyle};
use super::lines::Lines;
use super::mode::{Options, ProgressMode};
use super::moved::Moved;
use super::printer::{Error, Printer};
use super::renderer::{Renderer, Silent};
use crate::failure::Notice;
use crate::progress::{Event, Sink};
use crate::sync::lock;

/// Longest time without a call of `Renderer::tick`: ten pictures a second look fluent.
const TICK: Duration = Duration::from_millis(100);

/// Most warnings that are kept for a document: a list of images may cause one in each of its lines.
const MAX_WARNINGS: usize = 10_000;

/// Shows a run's events, and its results as they come in.
///
/// [`Progress::finish`] must be called before anything else is written and before the process ends.
pub struct Progress {
    observer: Option<Arc<dyn Sink>>,
    shared: Arc<Shared>,
    warnings: Mutex<Vec<Notice>>,
    thread: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

/// What the sink took in and the thread has not seen yet. Bytes are summed up, so that the queue stays
/// small even when the terminal is stopped.
#[derive(Default)]
struct Queue {
    moved: Moved,
    events: Vec<Event>,
    closed: bool,
}

impl Queue {
    fn push(&mut self, event: Event) {
        self.events.extend(self.moved.before(&event));
        self.events.push(event);
    }

    fn into_events(mut self) -> impl Iterator<Item = Event> {
        let moved = self.moved.take();
        self.events.into_iter().chain(moved)
    }
}

impl Progress {
    /// Starts to show a run, whose events `observer` takes too.
    pub fn start(
        printer: &Printer,
        options: &Options,
        observer: Option<Arc<dyn Sink>>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let mode = options.mode();
        let style = match mode {
            _ if options.quiet => ResultStyle::Digest,
            ProgressMode::Json => ResultStyle::Silent,
            _ => ResultStyle::Line,
        };
        let attempts = options.verbosity > 0;
        let renderer: Box<dyn Renderer> = match mode {
            ProgressMode::Auto | ProgressMode::Plain => {
                Box::new(Lines::new(printer.clone(), attempts, now))
            }
            ProgressMode::Bars => Box::new(Bars::new(printer.clone(), attempts)),
            ProgressMode::Json => Box::new(Json::new(printer.clone(), now)),
            ProgressMode::None => Box::new(Silent),
        };
        let remarks = mode != ProgressMode::Json;
        let ledger = Ledger::new(printer.clone(), style, remarks, options.verb, now);
        Self::render(renderer, ledger.aside(options.is_stdout_taken), observer)
    }

    fn render(
        renderer: Box<dyn Renderer>,
        ledger: Ledger,
        observer: Option<Arc<dyn Sink>>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        let queue = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || run(&queue, renderer, ledger));
        if let Err(error) = &thread {
            tracing::warn!(%error, "progress and results can't be shown");
        }
        let (warnings, thread) = (Mutex::default(), Mutex::new(thread.ok()));
        Arc::new(Self { observer, shared, warnings, thread })
    }

    /// Shows what should be known of what is about to be done.
    pub fn warn(&self, notices: impl IntoIterator<Item = Notice>) {
        notices.into_iter().for_each(|notice| self.event(Event::Warning(notice)));
    }

    /// What was warned of so far, each once: what a document of the run has beside its own.
    pub fn warnings(&self) -> Vec<Notice> {
        lock(&self.warnings).clone()
    }

    /// Shows what is still queued, takes the bars away, and writes the summary of a batch.
    ///
    /// # Errors
    /// When a result could not be written to standard output.
    pub fn finish(&self) -> Result<(), Error> {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        let thread = lock(&self.thread).take();
        // A thread that panicked has said so; the pull's outcome stands without it.
        thread.and_then(|thread| thread.join().ok()).unwrap_or(Ok(()))
    }
}

impl Sink for Progress {
    fn event(&self, event: Event) {
        if let Some(observer) = &self.observer {
            observer.event(event.clone());
        }
        if let Event::Warning(notice) = &event {
            let mut warnings = lock(&self.warnings);
            if warnings.len() < MAX_WARNINGS && !warnings.contains(notice) {
                warnings.push(notice.clone());
            }
        }
        let mut queue = self.shared.lock();
        if !queue.moved.count(&event) {
            queue.push(event);
            self.shared.filled.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Waits for an event, at most for a tick, and takes everything that there is.
    fn take(&self) -> Queue {
        let idle = |queue: &mut Queue| queue.events.is_empty() && !queue.closed;
        let mut queue = self
            .filled
            .wait_timeout_while(self.lock(), TICK, idle)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        let closed = queue.closed;
        Queue { closed, ..std::mem::take(&mut *queue) }
    }
}

fn run(shared: &Shared, mut renderer: Box<dyn Renderer>, mut ledger: Ledger) -> Result<(), Error> {
    loop {
        let queue = shared.take();
        let now = Instant::now();
        let closed = queue.closed;
        for event in queue.into_events() {
            renderer.event(&event);
            ledger.event(&event);
        }
        if closed {
            renderer.finish(ledger.summary(now).as_ref(), now);
            return ledger.close();
        }
        renderer.tick(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::output::printer::captured;
    use crate::progress::{BlobKind, BlobState, HostAttempt, TransferReport};

    /// The events of a pull of one image with one layer, in the order of a real one.
    fn pull(sink: &dyn Sink) {
        let image = "docker.io/library/busybox:latest".to_owned();
        let digest = Digest::of(b"");
        let blob = |state, resumed_bytes| Event::Blob {
            digest,
            kind: BlobKind::Layer,
            size_bytes: 100,
            state,
            resumed_bytes,
        };
        sink.event(Event::Started { image: image.clone() });
        sink.event(Event::Attempt(HostAttempt {
            host: "mirror.local".to_owned(),
            request: "HEAD manifests/latest".to_owned(),
            outcome: "200 OK".to_owned(),
            duration: Duration::from_millis(12),
        }));
        sink.event(Event::Resolved {
            image: image.clone(),
            digest,
            host: "mirror.local".to_owned(),
        });
        sink.event(Event::Planned {
            image: image.clone(),
            platforms: vec!["linux/amd64".to_owned()],
            blobs: 1,
            total_bytes: 100,
        });
        sink.event(blob(BlobState::Waiting, 0));
        sink.event(blob(BlobState::Downloading, 40));
        for _ in 0..60 {
            sink.event(Event::Received { digest, delta_bytes: 1 });
        }
        sink.event(blob(BlobState::Verifying, 0));
        sink.event(blob(BlobState::Done, 0));
        sink.event(Event::Finished(TransferReport {
            image,
            digest,
            fetched_bytes: 60,
            reused_bytes: 40,
            sent_bytes: 0,
            unpacked_bytes: 0,
            duration: Duration::from_secs(1),
            kubelet: None,
        }));
    }

    fn shown(progress: ProgressMode, quiet: bool, verbosity: u8) -> (String, String) {
        let (printer, stdout, stderr) = captured::printer();
        let progress = Progress::start(
            &printer,
            &Options { progress, quiet, verbosity, ..Options::default() },
            None,
        );
        pull(progress.as_ref());
        progress.finish().unwrap();
        (stdout.text(), stderr.text())
    }

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const RESULT: &str = "docker.io/library/busybox:latest \
        sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \
        fetched 60 B, reused 40 B in 1.0 s (60 B/s)\n";

    #[test]
    fn plain_lines_tell_the_steps_and_standard_output_the_result() {
        let (stdout, stderr) = shown(ProgressMode::Plain, false, 0);
        assert_eq!(stdout, RESULT);
        assert_eq!(
            stderr,
            format!(
                "docker.io/library/busybox:latest: resolved to {DIGEST} by mirror.local\n\
                 docker.io/library/busybox:latest: linux/amd64, 1 blob, 100 B\n"
            )
        );
    }

    #[test]
    fn verbose_lines_tell_requests_and_layers_too() {
        let (_, stderr) = shown(ProgressMode::Plain, false, 1);
        assert!(stderr.contains("mirror.local: HEAD manifests/latest: 200 OK (12 ms)\n"));
        assert!(stderr.contains("layer e3b0c44298fc: downloading, 100 B, resumed at 40 B\n"));
        assert!(stderr.contains("layer e3b0c44298fc: done, 100 B\n"));
    }

    #[test]
    fn json_tells_every_event_and_sums_up_received_bytes() {
        let (stdout, stderr) = shown(ProgressMode::Json, false, 0);
        assert_eq!(stdout, "");
        let events: Vec<serde_json::Value> =
            stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let name = |event: &serde_json::Value| event["event"].as_str().unwrap().to_owned();
        let names: Vec<String> =
            events.iter().map(name).filter(|name| name != "received").collect();
        let expected = [
            "started", "attempt", "resolved", "planned", "blob", "blob", "blob", "blob", "finished",
        ];
        assert_eq!(names, expected);
        let received = events.iter().filter(|event| name(event) == "received");
        assert_eq!(received.map(|event| event["delta_bytes"].as_u64().unwrap()).sum::<u64>(), 60);
        assert_eq!(events[1]["duration_ms"], 12);
    }

    #[test]
    fn quiet_is_the_digest_and_nothing_else() {
        assert_eq!(shown(ProgressMode::Auto, true, 0), (format!("{DIGEST}\n"), String::new()));
    }

    #[test]
    fn none_leaves_the_result() {
        assert_eq!(shown(ProgressMode::None, false, 0), (RESULT.to_owned(), String::new()));
    }

    #[test]
    fn warnings_are_kept_once_each_however_progress_is_shown() {
        for mode in [ProgressMode::None, ProgressMode::Plain, ProgressMode::Json] {
            let (printer, ..) = captured::printer();
            let options = Options { progress: mode, ..Options::default() };
            let progress = Progress::start(&printer, &options, None);
            let [one, other] = ["one", "other"].map(|text| Notice::new("code", text));
            progress.warn([one.clone(), other.clone(), one.clone()]);
            progress.finish().unwrap();
            assert_eq!(progress.warnings(), [one, other]);
        }
    }

    #[test]
    fn finishing_twice_is_harmless() {
        let (printer, ..) = captured::printer();
        let progress = Progress::start(&printer, &Options::default(), None);
        assert!(progress.finish().is_ok());
        assert!(progress.finish().is_ok());
    }
}
