//! What every part of the page may use.

use accel_core::curve::Grid;
use accel_core::error::Error;
use accel_core::recipe::Recipe;
use accel_core::scenarios::SCENARIOS;
use accel_ui::address;
use accel_ui::run::Phase;
use leptos::prelude::*;

use crate::engine::Engine;
use crate::form::{Form, Meaning};
use crate::places::{self, Place};
use crate::view::{Tab, View};

/// What was run before: its recipe as JSON, and what came out in a sentence.
pub(crate) type Experiment = (String, String);

/// What is asked for where the code that does it may be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The worker: it will be needed.
    Start,
    /// A run of what the form says.
    Run,
    /// The curves of the newest answer.
    Curves,
    /// The question with this number.
    Question(usize),
    /// The default experiment, whose answer should have come with the page.
    First,
}

/// The state of the page; copies are the same state.
#[derive(Clone, Copy)]
pub(crate) struct App {
    pub(crate) form: Form,
    pub(crate) engine: Engine,
    pub(crate) view: View,
    /// What was asked for and is not done yet.
    pub(crate) asked: RwSignal<Option<Ask>>,
    /// The recipe that the form stands for, as JSON, or what is wrong with it; empty before there is a form.
    pub(crate) recipe: RwSignal<Result<String, Error>>,
    /// The recipe that the newest answer is compared with, as JSON.
    pub(crate) other: RwSignal<Option<String>>,
    /// The last experiments on this machine, the newest first.
    pub(crate) past: RwSignal<Vec<Experiment>>,
    /// The address of the kernel that was looked at last.
    pub(crate) kernel: StoredValue<String>,
    /// Number of the newest file given to the page.
    pub(crate) files: StoredValue<u32>,
    /// The beginning of the trace file that was given last, as text lines.
    pub(crate) preview: RwSignal<Option<(String, Vec<String>)>>,
    /// What each scenario misses as memory grows, in 255ths of the bytes requested.
    pub(crate) sparks: RwSignal<Vec<Vec<u8>>>,
    /// What went wrong outside the form: an unreadable link, a refused file.
    pub(crate) notice: RwSignal<Option<String>>,
    /// What the page did by itself, and why.
    pub(crate) note: RwSignal<Option<String>>,
}

impl App {
    /// The state of a page that nobody has used yet, which shows `tab`.
    pub(crate) fn new(tab: Tab, meaning: RwSignal<Option<Meaning>>) -> Self {
        Self {
            form: Form::new(meaning),
            engine: Engine::new(),
            view: View::new(tab),
            asked: RwSignal::new(None),
            recipe: RwSignal::new(Ok(String::new())),
            other: RwSignal::new(None),
            past: RwSignal::new(Vec::new()),
            kernel: StoredValue::new("kernel".into()),
            files: StoredValue::new(0),
            preview: RwSignal::new(None),
            sparks: RwSignal::new(Vec::new()),
            notice: RwSignal::new(None),
            note: RwSignal::new(None),
        }
    }

    /// Whether the form says something else than what was run.
    pub(crate) fn differs(self) -> bool {
        let shown = self.engine.answer.with(|answer| answer.as_ref().map(|answer| answer.recipe.clone()));
        self.recipe.with(|recipe| {
            let typed = recipe.as_ref().is_ok_and(|recipe| !recipe.is_empty());
            typed && shown.is_some_and(|shown| *recipe != Ok(shown))
        })
    }

    /// Does what was asked for.
    pub(crate) fn answer(self, ask: Ask) {
        match ask {
            Ask::Start => self.engine.start(),
            Ask::Run => self.run(),
            Ask::Curves => self.engine.ask_curve(Grid::default().points),
            Ask::Question(number) => {
                if let Some(scenario) = SCENARIOS.get(number) {
                    self.form.set(&scenario.recipe());
                    self.run();
                }
            }
            Ask::First => {
                let busy = self.engine.phase.with_untracked(Phase::is_running);
                if !busy && self.engine.answer.with_untracked(Option::is_none) {
                    self.engine.run(&Recipe::default(), None);
                }
            }
        }
    }

    /// Runs what the form says, as a step that the browser can go back from; a bad field is shown where it stands.
    pub(crate) fn run(self) {
        self.notice.set(None);
        // Read afresh: the form may have changed a moment ago.
        if let Ok(recipe) = untrack(|| self.form.recipe()) {
            let tab = self.view.tab.get_untracked();
            let shown = places::fragment(tab, &recipe, self.other.get_untracked().as_deref());
            if let Err(error) = shown.and_then(|fragment| address::visit(&fragment)) {
                self.notice.set(Some(error.to_string()));
            }
            self.run_recipe(&recipe);
        }
    }

    fn run_recipe(self, recipe: &Recipe) {
        let scorer = untrack(|| self.form.scorer(recipe));
        self.engine.run(recipe, scorer);
    }

    /// Shows and runs what the address says: its tab, and the recipe, if there is one.
    pub(crate) fn open_address(self) {
        match Place::of(&address::fragment()) {
            Ok(Place { tab, recipe, other }) => {
                self.view.tab.set(tab);
                if tab == Tab::Compare && other.is_some() {
                    self.other.set(other);
                }
                let Some(recipe) = recipe else { return };
                let same = recipe.to_json().ok();
                let shown =
                    self.engine.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone()));
                self.form.set(&recipe);
                // Another tab of the same experiment runs nothing.
                if same != shown && !self.engine.show_again(&recipe) {
                    self.run_recipe(&recipe);
                }
            }
            Err(error) => {
                self.notice.set(Some(format!("The link cannot be opened: {error}")));
                self.answer(Ask::First);
            }
        }
    }

    /// Pins the experiment that is shown, to compare with.
    pub(crate) fn pin(self) {
        let shown = self.engine.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone()));
        self.other.set(shown);
        // A form at fault has no address; the comparison stands all the same.
        let _ = self.show_in_address();
    }

    /// The address of what is shown. Before anything was chosen or run, the Lab has none.
    ///
    /// # Errors
    ///
    /// Where the form is at fault.
    pub(crate) fn fragment(self) -> Result<String, Error> {
        let recipe = untrack(|| self.form.recipe())?;
        let tab = self.view.tab.get_untracked();
        if recipe == Recipe::default() && tab != Tab::Compare {
            return Ok(tab.name().to_owned());
        }
        places::fragment(tab, &recipe, self.other.get_untracked().as_deref())
    }

    /// Brings the address up to date with tab and form, without a step to go back from.
    ///
    /// # Errors
    ///
    /// Where the form is at fault, or the browser refuses.
    pub(crate) fn show_in_address(self) -> Result<(), Error> {
        let recipe = untrack(|| self.form.recipe())?;
        let (tab, other) = (self.view.tab.get_untracked(), self.other.get_untracked());
        address::show(&places::fragment(tab, &recipe, other.as_deref())?)
    }
}
