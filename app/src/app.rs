//! What every part of the page may use.

use accel_core::error::Error;
use leptos::prelude::*;

use crate::engine::Engine;
use crate::form::{Form, recipe_from_address, show_in_address};

/// The state of the page; copies are the same state.
#[derive(Clone, Copy)]
pub(crate) struct App {
    pub(crate) form: Form,
    pub(crate) engine: Engine,
    /// The recipe that the form stands for, as JSON, or what is wrong with it.
    pub(crate) recipe: RwSignal<Result<String, Error>>,
    /// Whether the Kernel page is shown.
    pub(crate) kernel: RwSignal<bool>,
    /// The policy that is looked at, by its title; the others are pale.
    pub(crate) isolated: RwSignal<Option<String>>,
    /// Number of the newest file given to the page.
    pub(crate) files: StoredValue<u32>,
    /// What went wrong outside the form: an unreadable link, a refused file.
    pub(crate) notice: RwSignal<Option<String>>,
}

impl App {
    /// Runs what the form says; a bad field is shown where it stands.
    pub(crate) fn run(self) {
        self.notice.set(None);
        // Read afresh: the form may have changed a moment ago.
        if let Ok(recipe) = untrack(|| self.form.recipe()) {
            if let Err(error) = show_in_address(&recipe) {
                self.notice.set(Some(error.to_string()));
            }
            let scorer = untrack(|| self.form.scorer(&recipe));
            self.engine.run(&recipe, scorer);
        }
    }

    /// Whether `title` is not what is looked at.
    pub(crate) fn is_pale(self, title: &str) -> bool {
        self.isolated.with(|isolated| isolated.as_ref().is_some_and(|isolated| isolated != title))
    }

    /// Looks at one policy, or at all again.
    pub(crate) fn isolate(self, title: &str) {
        self.isolated.update(|isolated| {
            *isolated = (isolated.as_deref() != Some(title)).then(|| title.to_owned());
        });
    }

    /// Shows and runs the recipe of the address, if there is one.
    pub(crate) fn open_address(self) {
        match recipe_from_address() {
            Some(Ok(recipe)) => {
                self.form.set(&recipe);
                self.run();
            }
            Some(Err(error)) => self.notice.set(Some(format!("The link cannot be opened: {error}"))),
            None => {}
        }
    }
}
