//! A probe as lines for people: a step a line with its time, and what to do where one fails.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::registry::{HostReport, Step, Verdict};

/// Width of the columns before a step's text.
const BEFORE_TEXT: usize = 29;

/// Writes what was found at one host.
///
/// # Errors
/// The writer's.
pub(super) fn write_host(f: &mut impl Write, host: &HostReport) -> fmt::Result {
    writeln!(f)?;
    for step in &host.steps {
        write_step(f, step)?;
    }
    for remark in &host.remarks {
        writeln!(f, "   note: {remark}")?;
        if let Some(hint) = &remark.hint {
            writeln!(f, "         {hint}")?;
        }
    }
    if let Some(problem) = &host.problem {
        writeln!(f, "   problem: {problem}")?;
    }
    if let Some(fix) = &host.fix {
        writeln!(f, "   fix: {fix}")?;
    }
    Ok(())
}

fn write_step(f: &mut impl Write, step: &Step) -> fmt::Result {
    let mark = if step.ok { "ok" } else { "FAIL" };
    let took = step.took.map(shown).unwrap_or_default();
    let mut lines = step.text.lines();
    let first = lines.next().unwrap_or_default();
    writeln!(f, "   {mark:<5}{:<10}{took:>9}  {first}", step.step.label())?;
    lines.try_for_each(|line| writeln!(f, "{:BEFORE_TEXT$}{line}", ""))
}

/// Writes what a pull would come to.
///
/// # Errors
/// The writer's.
pub(super) fn write_verdict(f: &mut impl Write, verdict: &Verdict) -> fmt::Result {
    write!(f, "\n{}", verdict.text)?;
    match &verdict.fix {
        Some(fix) => write!(f, "\nfix: {fix}"),
        None => Ok(()),
    }
}

/// To a tenth of a millisecond: connections on one machine take less than one.
fn shown(took: Duration) -> String {
    match took.as_secs() {
        0 => format!("{:.1} ms", took.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}
