//! Keeps the terminal from showing Ctrl-C as `^C` while bars are drawn.
//!
//! A picture is one text as wide as the terminal, which breaks its lines. The kernel takes it in pieces
//! of 2 KiB; a `^C` between two of them moves all that follows by two columns, and the bars would be
//! taken away one line too low.

use std::io;
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// A terminal that shows no control characters; it is as it was found when this is dropped.
pub(super) struct QuietEcho {
    before: Termios,
}

impl QuietEcho {
    /// `None` where standard error is no terminal, or not this process's to change.
    pub(super) fn start() -> Option<Self> {
        let terminal = io::stderr();
        if !is_ours(&terminal) {
            return None;
        }
        let before = tcgetattr(&terminal).ok()?;
        let mut settings = before.clone();
        settings.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(&terminal, OptionalActions::Now, &settings).ok()?;
        Some(Self { before })
    }
}

impl Drop for QuietEcho {
    fn drop(&mut self) {
        let terminal = io::stderr();
        if is_ours(&terminal) {
            // A terminal that is gone needs no settings.
            let _ = tcsetattr(&terminal, OptionalActions::Now, &self.before);
        }
    }
}

/// Whether this process is in the terminal's foreground. Others are stopped when they change it, and
/// their shell has settings of its own there.
fn is_ours(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}
