//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};

use crate::failure::printable;

/// Blanks between two columns.
const GAP: u16 = 3;

/// Columns under `header`, as wide as they need to be, without lines between them. Cells are made
/// printable.
pub fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.trim_fmt()
}
