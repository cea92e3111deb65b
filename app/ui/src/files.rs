//! Files that are dropped on the page.

use leptos::ev;
use leptos::prelude::*;
use web_sys::{File, FileList};

/// Hands `take` the first of the files that are dropped anywhere on the page, for as long as the page lives.
pub fn on_drop(take: impl Fn(File) + 'static) {
    let _ = window_event_listener(ev::drop, move |event| {
        // Otherwise the browser would leave the page to show the file.
        event.prevent_default();
        if let Some(file) = first(event.data_transfer().and_then(|data| data.files())) {
            take(file);
        }
    });
}

/// The first file of a list.
pub fn first(files: Option<FileList>) -> Option<File> {
    files.and_then(|files| files.get(0))
}
