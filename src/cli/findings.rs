//! What is wrong with images, as a document: its members are the JSON, its `Display` is for people.

use std::fmt;

use serde::Serialize;

use crate::check::{Finding, Report};
use crate::failure::Diagnostic;

/// Files of a layer that are shown to people; JSON has more.
const SHOWN_FILES: usize = 10;

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    namespace: String,
    images_checked: usize,
    /// Findings, those included that were mended.
    findings: usize,
    repaired: usize,
    images: Vec<Report>,
    /// Why something could not be mended; people are told apart from the findings.
    failures: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn new(namespace: &str, images: Vec<Report>, failures: Vec<Diagnostic>) -> Self {
        let all = || images.iter().flat_map(|report| &report.findings);
        Self {
            namespace: namespace.to_owned(),
            images_checked: images.len(),
            findings: all().count(),
            repaired: all().filter(|finding| finding.repaired).count(),
            images,
            failures,
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in self.images.iter().filter(|report| !report.findings.is_empty()) {
            writeln!(f, "{}", report.image)?;
            for finding in &report.findings {
                told(finding, f)?;
            }
        }
        for report in &self.images {
            for remark in &report.remarks {
                writeln!(f, "{}: {}", report.image, remark.what)?;
            }
        }
        let count = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {what}s"),
        };
        let checked = count(self.images_checked, "image");
        match (self.findings, self.repaired) {
            (0, _) => write!(f, "{checked} checked, nothing is wrong"),
            (found, 0) => write!(f, "{checked} checked, {}", count(found, "finding")),
            (found, repaired) => {
                write!(f, "{checked} checked, {}, {repaired} repaired", count(found, "finding"))
            }
        }
    }
}

fn told(finding: &Finding, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let repaired = if finding.repaired { " (repaired)" } else { "" };
    writeln!(f, "  {}{repaired}: {}", finding.code, finding.what)?;
    for file in finding.files.iter().take(SHOWN_FILES) {
        writeln!(f, "    {}: {} {}", file.code, file.path, file.what)?;
    }
    let total = finding.files_total.unwrap_or_default();
    let shown = finding.files.len().min(SHOWN_FILES) as u64;
    if total > shown {
        writeln!(f, "    and {} more", total - shown)?;
    }
    if finding.repaired {
        return Ok(());
    }
    writeln!(f, "    why: {}", finding.why)?;
    writeln!(f, "    fix: {}", finding.fix)
}
