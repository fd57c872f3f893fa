//! The terminal that bars are drawn on.

use std::io;

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};

use super::mode::can_redraw;

/// Pictures a second, at most.
const PICTURES_PER_SECOND: u8 = 20;

/// Standard error; where nothing can be drawn anew, nowhere.
pub(super) fn stderr() -> ProgressDrawTarget {
    if !can_redraw() {
        return ProgressDrawTarget::hidden();
    }
    // Of a target of ours indicatif can't tell the stream, and asks standard output about colours.
    console::set_colors_enabled(console::colors_enabled_stderr());
    let canvas = Canvas(Term::buffered_stderr());
    ProgressDrawTarget::term_like_with_hz(Box::new(canvas), PICTURES_PER_SECOND)
}

/// A terminal whose cursor stands at the start of the last line between two pictures.
///
/// indicatif leaves it behind the last column. The `^C` that the terminal shows for Ctrl-C would
/// begin a new line there, and the bars would be taken away one line too low.
#[derive(Debug)]
struct Canvas(Term);

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.write_str("\r")?;
        self.0.flush()
    }
}
