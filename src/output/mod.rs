//! What people and scripts see: results on standard output; progress, logs and errors on standard
//! error.
//!
//! | module | owns |
//! |---|---|
//! | [`Printer`] | the two streams; nobody else writes to them |
//! | [`Diagnostic`] | an error's chain and hint as text |
//! | [`Progress`] | the sink that a pull reports to, and the thread that renders |
//! | `bars`, `lines`, `json` | one way of rendering each |
//! | `board` | what is known of every blob, for those that draw |
//! | `canvas` | the terminal that bars are drawn on |
//!
//! What is pulled, and why it failed, is decided elsewhere; here it is only shown.

mod bars;
mod board;
mod canvas;
mod diagnostic;
mod json;
mod lines;
mod logs;
mod mode;
mod printer;
mod progress;
mod report;
pub mod units;

pub use diagnostic::{Diagnostic, failed, printable};
pub use logs::start_logs;
pub use mode::{Options, ProgressMode};
pub use printer::{Error, Printer};
pub use progress::Progress;
