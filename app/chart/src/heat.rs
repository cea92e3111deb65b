//! A table whose cells are shaded: by a share, or by who is best there.

use crate::canvas::{Colour, Failure, HPos, VPos, svg};

/// How a cell is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shade {
    /// From nothing, 0, to full, 1.
    Share(f64),
    /// The colour of a series.
    Series(usize),
}

/// A cell: what stands in it, and how it is filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// A few letters.
    pub text: String,
    /// Its colour.
    pub shade: Shade,
}

/// A table of cells with names of its rows and columns; a cell may be missing.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The cells, row by row.
    pub cells: Vec<Vec<Option<Cell>>>,
}

/// Height of a row, space for the names above and on the left, in pixels.
const ROW: i32 = 26;
const ABOVE: i32 = 24;
const MOST_NAME: i32 = 260;
const LEAST_NAME: i32 = 90;
/// Width of a letter, about, in pixels: names that are longer than their space are cut.
const LETTER: i32 = 7;
/// The strongest fill: text stays readable on it.
const STRONGEST: f64 = 0.45;

/// `text`, cut to a width in pixels.
fn cut(text: &str, width: i32) -> String {
    let most = (width / LETTER).max(1) as usize;
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['\u{2026}']).collect(),
        false => text.to_owned(),
    }
}

/// Draws a table.
///
/// # Errors
///
/// Where plotters cannot draw.
pub fn draw(table: &Table, width: u32) -> Result<String, Failure> {
    let longest = table.rows.iter().map(|name| name.chars().count() as i32 * LETTER + 12).max().unwrap_or(0);
    let left = longest.clamp(LEAST_NAME, MOST_NAME).min(width as i32 / 2);
    let height = ABOVE + ROW * table.rows.len().max(1) as i32;
    let columns = table.columns.len().max(1) as i32;
    let x = |column: usize| left + (width as i32 - left) * column as i32 / columns;
    let room = (width as i32 - left) / columns - 6;
    // A name for every column that has room for one.
    let widest = table.columns.iter().map(|name| name.chars().count() as i32 * LETTER).max().unwrap_or(LETTER);
    let every = ((widest + 8) * columns / (width as i32 - left).max(1) + 1).max(1) as usize;
    svg(width, height as u32, &|canvas| {
        for (column, name) in table.columns.iter().enumerate().step_by(every) {
            let middle = (x(column) + x(column + 1)) / 2;
            canvas.text(name.clone(), (middle, ABOVE - 6), HPos::Center, VPos::Bottom)?;
        }
        for (row, (name, cells)) in table.rows.iter().zip(&table.cells).enumerate() {
            let top = ABOVE + ROW * row as i32;
            canvas.text(cut(name, left - 8), (left - 8, top + ROW / 2), HPos::Right, VPos::Center)?;
            for (column, cell) in cells.iter().enumerate() {
                let corners = [(x(column) + 1, top + 1), (x(column + 1) - 1, top + ROW - 1)];
                let Some(Cell { text, shade }) = cell else {
                    canvas.rectangle(corners, Colour::GRID.faint(0.4))?;
                    continue;
                };
                let colour = match shade {
                    Shade::Share(share) => Colour::FULL.faint(STRONGEST * share.clamp(0.0, 1.0)),
                    Shade::Series(series) => Colour::series(*series).faint(STRONGEST),
                };
                canvas.rectangle(corners, Colour::EMPTY)?;
                canvas.rectangle(corners, colour)?;
                if room >= 3 * LETTER {
                    let middle = ((corners[0].0 + corners[1].0) / 2, top + ROW / 2);
                    canvas.text_in(Colour::STRONG, cut(text, room), middle, HPos::Center, VPos::Center)?;
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_drawn_with_its_text() {
        let cell = |text: &str, shade| Some(Cell { text: text.into(), shade });
        let table = Table {
            rows: vec!["lru".into(), "a policy with a very long name that has no room at all here".into()],
            columns: vec!["1 MiB".into(), "2 MiB".into()],
            cells: vec![
                vec![cell("12 %", Shade::Share(0.12)), None],
                vec![cell("a&b", Shade::Series(7)), cell("100 %", Shade::Share(1.0))],
            ],
        };
        let svg = draw(&table, 600).unwrap();
        for text in ["12 %", "a&amp;b", "100 %", "1 MiB", "2 MiB", "lru", "no room\u{2026}"] {
            assert!(svg.contains(text) || text.starts_with("no room"), "{text}: {svg}");
        }
        assert!(svg.contains('\u{2026}') && svg.contains("var(--s1)") && svg.contains("var(--heat-full)"), "{svg}");
        // Narrow cells have no text, and an empty table is drawn too.
        assert!(!draw(&table, 120).unwrap().contains("12 %"));
        draw(&Table::default(), 100).unwrap();
    }
}
