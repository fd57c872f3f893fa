//! What people and scripts see: results on standard output; progress, logs and errors on standard
//! error.
//!
//! | module | owns |
//! |---|---|
//! | [`Printer`] | the two streams; nobody else writes to them |
//! | [`Progress`] | the sink that a run reports to, and the thread that renders |
//! | `renderer`; `bars`, `lines`, `json` | what a way of rendering can do; one each |
//! | `moved` | bytes in and out, summed up until they are told |
//! | `ledger`, `summary` | results, failures and warnings as they come; what a batch came to |
//! | `board`, `waits` | what is known of every blob, and who has not answered, for those that draw |
//! | `screen`, `canvas`, `echo` | the terminal that bars are drawn on |
//! | `document`, `table`, `units` | results as text or JSON, in columns, and what is in them |
//! | `tally`, `status` | what a round of seeding came to, and the files that tell of it |
//! | `file` | files that others read while they are written anew |
//! | `logs`, `mode` | log lines; what is shown of all that |
//!
//! What is done, and why it failed, is decided elsewhere; here it is only shown.

mod bars;
mod board;
mod canvas;
mod document;
mod echo;
mod file;
mod json;
mod ledger;
mod lines;
mod logs;
mod mode;
mod moved;
mod printer;
mod progress;
mod renderer;
mod screen;
mod status;
mod summary;
mod table;
mod tally;
pub mod units;
mod waits;

pub use document::{Form, document};
pub use file::replace_file;
pub use logs::start_logs;
pub use mode::{Options, ProgressMode};
pub use printer::{Error, Printer};
pub use progress::Progress;
pub use status::Status;
pub use table::table;
pub use tally::Tally;
