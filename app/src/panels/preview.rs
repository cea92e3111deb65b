//! The beginning of the trace file, before it is run.

use accel_ui::built::{Build, Built};
use accel_ui::view::{show_in, table, yes};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;

/// Lines of the file that are shown.
pub(crate) const LINES: usize = 20;

/// The first lines of the file that was given last.
pub(super) fn preview(app: App) -> Built {
    let place = NodeRef::<Div>::new();
    show_in(place, move || {
        let (name, lines) = app.preview.get()?;
        let separator = separator(&lines);
        let cells = |line: &String| -> Vec<String> {
            match separator {
                Some(separator) => line.split(separator).map(|cell| cell.trim().to_owned()).collect(),
                None => vec![line.clone()],
            }
        };
        let mut rows = lines.iter().map(cells);
        let head = rows.next().unwrap_or_default();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let shown = match lines.is_empty() {
            true => view! { <p class="hint">"It is no text: there is nothing to show before it is read."</p> }.built(),
            false => table("preview-table", &head, rows.collect()),
        };
        Some(view! {
            <h2>{format!("The beginning of {name}")}</h2>
            {shown}
        })
    });
    view! {
        <section class="panel" id="preview" hidden=yes(move || app.preview.with(Option::is_none))>
            <div node_ref=place></div>
        </section>
    }
    .built()
}

/// What parts the columns of a table of text, if it is one.
fn separator(lines: &[String]) -> Option<char> {
    let first = lines.first()?;
    [',', '\t', ';', ' '].into_iter().find(|separator| {
        let columns = first.matches(*separator).count();
        columns > 0 && lines.iter().take(3).all(|line| line.matches(*separator).count() == columns)
    })
}

/// The first lines of a file, from its first bytes; none where it is no text.
pub(crate) fn first_lines(head: &[u8]) -> Vec<String> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A letter may be cut at the end.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Vec::new(),
    };
    if text.contains('\0') {
        return Vec::new();
    }
    let cut = |line: &str| line.chars().take(200).collect::<String>();
    text.lines().map(cut).take(LINES + 1).collect()
}
