//! The results as a bar chart that is readable on light and dark pages: per case, the time of each
//! other client and of pullctl, as parts of the slowest.

use std::fmt::Write;

use crate::results::{NO_DAEMON, Outcome, Results, wall};

const WIDTH: u32 = 760;
const LEFT: u32 = 110;
/// Longest bar.
const SPAN: u32 = 560;
const BAR: u32 = 11;
const GAP: u32 = 12;
/// Height of a case's title, which stands above its bars.
const TITLE: u32 = 17;
const TOP: u32 = 44;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }\n\
.title { font-weight: 600; font-size: 14px; }\n\
.small { font-size: 10px; fill: #59636e; }\n\
.peer { fill: #b6bec9; }\n\
.ours { fill: #1a7f37; }\n\
@media (prefers-color-scheme: dark) {\n\
text { fill: #f0f6fc; }\n\
.small { fill: #9198a1; }\n\
.peer { fill: #525b66; }\n\
.ours { fill: #3fb950; }\n\
}\n";

struct Bar {
    label: String,
    seconds: f64,
    ours: bool,
}

/// The chart as an SVG document.
pub(crate) fn svg(results: &Results) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for outcome in &results.outcomes {
        let bars = bars(outcome);
        let slowest = bars.iter().map(|bar| bar.seconds).fold(f64::MIN_POSITIVE, f64::max);
        text(&mut body, "", 8, y + BAR, "start", &outcome.title);
        y += TITLE;
        for bar in bars {
            let class = if bar.ours { "ours" } else { "peer" };
            let width = (bar.seconds / slowest * f64::from(SPAN)).max(1.0);
            text(&mut body, "small", LEFT - 6, y + BAR - 2, "end", &bar.label);
            let _ = writeln!(
                body,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" \
                 height=\"{BAR}\" rx=\"2\"/>"
            );
            let after = LEFT + width as u32 + 6;
            text(&mut body, "small", after, y + BAR - 2, "start", &format!("{:.2} s", bar.seconds));
            y += BAR + 2;
        }
        y += GAP;
    }
    let mut head = String::new();
    text(&mut head, "title", 8, 18, "start", "Seconds until an image is where it is to be");
    text(&mut head, "small", 8, 33, "start", &results.machine);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
         viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">\n\
         <title>Time to move images, others beside pullctl</title>\n\
         <style>\n{STYLE}</style>\n{head}{body}</svg>\n"
    )
}

/// Each daemon's ctr, and pullctl on the last daemon that is as it was installed.
fn bars(outcome: &Outcome) -> Vec<Bar> {
    let peers = outcome.duels.iter().flat_map(|duel| {
        duel.peers().map(|(name, seconds)| {
            let label = match name {
                "ctr" => format!("ctr {}", duel.daemon),
                name => name.to_owned(),
            };
            Bar { label, seconds, ours: false }
        })
    });
    let plain = outcome.duels.iter().rfind(|duel| !duel.daemon.contains("tuned"));
    let ours = plain.and_then(|duel| {
        let label = match &*duel.daemon {
            NO_DAEMON => "pullctl".to_owned(),
            daemon => format!("pullctl on {daemon}"),
        };
        Some(Bar { label, seconds: wall(&duel.pullctl)?, ours: true })
    });
    peers.chain(ours).collect()
}

fn text(body: &mut String, class: &str, x: u32, y: u32, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}
