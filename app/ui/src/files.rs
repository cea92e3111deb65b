//! Files that are dropped on the page.

use leptos::ev;
use leptos::prelude::*;
use web_sys::{File, FileList};

/// Hands `take` the files that are dropped anywhere on the page, for as long as the page lives.
pub fn on_drop(take: impl Fn(Vec<File>) + 'static) {
    let _ = window_event_listener(ev::drop, move |event| {
        // Otherwise the browser would leave the page to show the file.
        event.prevent_default();
        let files = event.data_transfer().and_then(|data| data.files());
        let files: Vec<File> =
            files.map_or(Vec::new(), |files| (0..files.length()).filter_map(|i| files.get(i)).collect());
        if !files.is_empty() {
            take(files);
        }
    });
}

/// The first file of a list.
pub fn first(files: Option<FileList>) -> Option<File> {
    files.and_then(|files| files.get(0))
}
