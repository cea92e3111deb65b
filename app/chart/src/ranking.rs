//! What each policy fetches from DRAM, the least first.

use accel_ground::units::format_bytes;

use crate::canvas::{Colour, Failure, HPos, VPos, svg};

/// Height of a bar and of the space around it, in pixels.
const ROW: i32 = 26;
/// Space for the names on the left and the bytes on the right, in pixels.
const NAMES: i32 = 130;
const BYTES: i32 = 80;

/// A bar for each name and its bytes, and the least that is proven as a line across them. Those whose bytes are equal stay
/// in their order; a bar has the colour of its place in `bytes`.
///
/// # Errors
///
/// Where plotters cannot draw.
pub fn draw(bytes: &[(String, u64)], least: Option<u64>, width: u32) -> Result<String, Failure> {
    let mut rows: Vec<(usize, &(String, u64))> = bytes.iter().enumerate().collect();
    rows.sort_by_key(|(_, (_, bytes))| *bytes);
    let most = bytes.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default().max(1) as f64;
    let room = f64::from((width as i32 - NAMES - BYTES).max(1));
    let x = |bytes: u64| NAMES + (bytes as f64 / most * room).round() as i32;
    let height = ROW * rows.len().max(1) as i32;
    svg(width, height as u32, &|canvas| {
        for (row, (series, (name, bytes))) in rows.iter().enumerate() {
            let (top, middle) = (ROW * row as i32 + 5, ROW * row as i32 + ROW / 2);
            canvas.rectangle([(NAMES, top), (x(*bytes), top + ROW - 10)], Colour::series(*series))?;
            canvas.text(name.clone(), (NAMES - 8, middle), HPos::Right, VPos::Center)?;
            canvas.text(format_bytes(*bytes), (width as i32 - BYTES + 8, middle), HPos::Left, VPos::Center)?;
        }
        match least {
            Some(least) => canvas.line(vec![(x(least), 0), (x(least), height)], Colour::STRONG, 2),
            None => Ok(()),
        }
    })
}
