//! Progress bars on a terminal: a line for each blob that deserves one, and one for the whole.
//!
//! The only place that knows indicatif's bars. What to show is decided in `board`.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::board::{Blob, Board, Totals};
use super::canvas;
use super::echo::QuietEcho;
use super::lines::{attempt_line, kind_name, state_name};
use super::printer::Printer;
use super::renderer::Renderer;
use super::summary::Summary;
use super::units;
use super::waits::Waits;
use crate::failure::printable;
use crate::oci::Digest;
use crate::progress::{BlobState, Event};

/// Lines of the terminal that are left to the shell's prompt, the last log line and the total.
const RESERVED_LINES: usize = 3;

/// Fewest lines of a terminal on which one is spent on the images' names: on a lower one the blobs
/// come first.
const LOW: usize = 10;

/// Shortest time over which a speed is taken.
const LOOK: Duration = Duration::from_millis(100);

/// Narrowest terminal, in columns, for the full form of a blob's line and of the total.
const WIDE_ROW: u16 = 80;
const WIDE_TOTAL: u16 = 100;

const DOWNLOAD: &str = "{prefix} {msg:11} {wide_bar:.cyan/blue} \
    {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
const DOWNLOAD_NARROW: &str = "{prefix} {msg:11} {percent:>3}% {binary_bytes_per_sec:>12}";
const STATE: &str = "{prefix} {msg}";
const STATUS: &str = "{wide_msg}";
const TOTAL: &str = "{prefix:.bold} {wide_bar:.green/blue} \
    {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
const TOTAL_NARROW: &str = "{prefix:.bold} {percent:>3}% {binary_bytes_per_sec:>12}";

/// Draws to standard error.
pub(super) struct Bars {
    printer: Printer,
    attempts: bool,
    board: Board,
    screen: MultiProgress,
    rows: Vec<Row>,
    /// What is worked on, and what is waited for, where there is room for it.
    status: Option<ProgressBar>,
    total: ProgressBar,
    waits: Waits,
    flow: Flow,
    width: u16,
    echo: Option<QuietEcho>,
}

/// A blob's line.
struct Row {
    digest: Digest,
    bar: ProgressBar,
    template: &'static str,
    flow: Flow,
}

/// Whether bytes have come in yet: what was waited before says nothing about the speed.
#[derive(Default)]
struct Flow {
    has_begun: bool,
    /// When speed and time to go were last told to count from then.
    looked: Option<Instant>,
}

impl Flow {
    /// Moves `bar` to `position`. Until bytes come in, its speed counts from the last look.
    fn advance(&mut self, bar: &ProgressBar, position: u64, is_flowing: bool, now: Instant) {
        self.has_begun |= is_flowing;
        if self.has_begun {
            bar.set_position(position);
        } else if self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK) {
            self.looked = Some(now);
            bar.set_position(position);
            begin(bar);
        }
    }
}

impl Bars {
    /// With `attempts`, each request gets a line above the bars.
    pub(super) fn new(printer: Printer, attempts: bool) -> Self {
        let screen = printer.screen().0.clone();
        screen.set_draw_target(canvas::stderr());
        let total = screen.add(ProgressBar::new(0).with_style(style(TOTAL_NARROW)));
        Self {
            printer,
            attempts,
            board: Board::default(),
            screen,
            rows: Vec::new(),
            status: None,
            total,
            waits: Waits::default(),
            flow: Flow::default(),
            width: 0,
            echo: QuietEcho::start(),
        }
    }

    /// Makes the rows those of `visible`, keeping the bars (and so the speeds) of rows that stay.
    fn arrange(&mut self, visible: &[Digest]) {
        let mut kept = HashMap::new();
        for row in self.rows.drain(..) {
            if visible.contains(&row.digest) {
                kept.insert(row.digest, row);
            } else {
                self.screen.remove(&row.bar);
            }
        }
        for (line, digest) in visible.iter().enumerate() {
            let Some(blob) = self.board.blob(*digest) else { continue };
            let row = kept.remove(digest).unwrap_or_else(|| {
                let bar = self.screen.insert(line, new_bar(digest, blob));
                Row { digest: *digest, bar, template: "", flow: Flow::default() }
            });
            self.rows.push(row);
        }
    }

    fn draw(&mut self, now: Instant) {
        for row in &mut self.rows {
            let Some(blob) = self.board.blob(row.digest) else { continue };
            let template = row_template(blob.state, self.width);
            if row.template != template {
                row.template = template;
                row.bar.set_style(style(template));
            }
            row.bar.set_message(message(blob));
            // What is no download moves without a speed.
            let is_moving = blob.is_flowing() || blob.is_there();
            row.flow.advance(&row.bar, blob.position(), is_moving, now);
        }
        let totals = self.board.totals();
        self.total.set_prefix(total_prefix(&totals));
        self.total.set_length(totals.size_bytes);
        self.flow.advance(&self.total, totals.done_bytes, totals.moved_bytes > 0, now);
    }

    /// Shows the status if there are `lines` enough, or somebody is waited for.
    fn draw_status(&mut self, lines: usize, now: Instant) {
        let waiting = self.waits.text(now);
        let text = status(self.board.running(), waiting.as_deref());
        if text.is_empty() || (lines < LOW && waiting.is_none()) {
            if let Some(status) = self.status.take() {
                self.screen.remove(&status);
            }
            return;
        }
        let status = self.status.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
            self.screen.insert_before(&self.total, bar.with_style(style(STATUS)))
        });
        status.set_message(text);
    }
}

impl Renderer for Bars {
    fn event(&mut self, event: &Event) {
        self.board.event(event);
        self.waits.event(event, Instant::now());
        if let Event::Attempt(attempt) = event
            && self.attempts
        {
            self.printer.err(&attempt_line(attempt));
        }
    }

    fn tick(&mut self, now: Instant) {
        let (height, width) = console::Term::stderr().size();
        if self.width != width {
            self.width = width;
            self.total.set_style(style(if width < WIDE_TOTAL { TOTAL_NARROW } else { TOTAL }));
        }
        let height = usize::from(height);
        self.draw_status(height, now);
        let reserved = RESERVED_LINES + usize::from(self.status.is_some());
        let visible = self.board.visible(height.saturating_sub(reserved));
        if !self.rows.iter().map(|row| &row.digest).eq(&visible) {
            self.arrange(&visible);
        }
        self.draw(now);
    }

    fn finish(&mut self, summary: Option<&Summary>, _now: Instant) {
        // What cannot be cleared is a terminal that is gone.
        let _ = self.screen.clear();
        self.screen.set_draw_target(ProgressDrawTarget::hidden());
        self.echo = None;
        if let Some(summary) = summary {
            self.printer.err(&summary.text());
        }
    }
}

/// A bar that takes the bytes that are there already for given, not for speed.
fn new_bar(digest: &Digest, blob: &Blob) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(blob.size_bytes), ProgressDrawTarget::hidden())
        .with_prefix(format!("{:6} {}", kind_name(blob.kind), digest.short()))
        .with_position(blob.position());
    begin(&bar);
    bar
}

/// Lets speed and time to go count from here.
fn begin(bar: &ProgressBar) {
    bar.tick();
    bar.reset_eta();
}

/// The images that are worked on, and for whom is waited.
fn status(images: &[String], waiting: Option<&str>) -> String {
    let images = Some(images.join(", ")).filter(|images| !images.is_empty());
    let parts: Vec<&str> = images.as_deref().into_iter().chain(waiting).collect();
    printable(&parts.join("; "))
}

/// Whether bytes come or go, so that there is a bar to be drawn.
fn is_moving(state: BlobState) -> bool {
    matches!(state, BlobState::Downloading | BlobState::Uploading | BlobState::Reading)
}

fn row_template(state: BlobState, width: u16) -> &'static str {
    match state {
        state if is_moving(state) && width < WIDE_ROW => DOWNLOAD_NARROW,
        state if is_moving(state) => DOWNLOAD,
        _ => STATE,
    }
}

fn message(blob: &Blob) -> String {
    match blob.state {
        state if is_moving(state) => state_name(state).to_owned(),
        state => format!("{:11} {}", state_name(state), units::bytes(blob.size_bytes)),
    }
}

/// `total 3/12 blobs`, and with several images `2/50 images (1 failed)`.
fn total_prefix(totals: &Totals) -> String {
    let mut text = format!("total {}/{} blobs", totals.blobs_finished, totals.blobs);
    if totals.images > 1 {
        text.push_str(&format!(", {}/{} images", totals.images_finished, totals.images));
    }
    if totals.images_failed > 0 {
        text.push_str(&format!(" ({} failed)", totals.images_failed));
    }
    text
}

/// The templates are constants of this file, tested below; a broken one would show as a bare bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
        .with_key("eta", eta)
}

/// Time to go; indicatif itself says `0s` as long as nothing arrives.
fn eta(state: &ProgressState, text: &mut dyn Write) {
    // A text that can't take more shows less.
    let _ = if state.per_sec() > 0.0 {
        write!(text, "{:#}", HumanDuration(state.eta()))
    } else {
        text.write_char('-')
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [DOWNLOAD, DOWNLOAD_NARROW, STATE, STATUS, TOTAL, TOTAL_NARROW] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn the_status_names_images_and_who_has_not_answered() {
        let images = ["a".to_owned(), "b".to_owned()];
        assert_eq!(status(&images, None), "a, b");
        let waiting = Some("asking mirror.example, 12 s");
        assert_eq!(status(&images[..1], waiting), "a; asking mirror.example, 12 s");
        assert_eq!(status(&[], waiting), "asking mirror.example, 12 s");
    }

    #[test]
    fn the_total_speaks_of_images_only_when_there_are_several() {
        let totals = Totals { images: 1, blobs: 12, blobs_finished: 3, ..Totals::default() };
        assert_eq!(total_prefix(&totals), "total 3/12 blobs");
        let totals = Totals { images: 50, images_finished: 2, images_failed: 1, ..totals };
        assert_eq!(total_prefix(&totals), "total 3/12 blobs, 2/50 images (1 failed)");
    }
}
