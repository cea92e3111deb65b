//! How the results are looked at: kept over runs, apart from what came out.

use accel_ui::over::Point;
use accel_ui::view::{show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

/// The places of the page, each with its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Lab,
    Trace,
    Scores,
    Compare,
    Kernel,
}

impl Tab {
    /// All of them in the order in which they are shown, each with its name in the address and on the page.
    pub(crate) const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Lab, "", "Lab"),
        (Self::Trace, "trace", "Trace"),
        (Self::Scores, "scores", "Scores"),
        (Self::Kernel, "kernel", "Kernel"),
        (Self::Compare, "compare", "Compare"),
    ];

    /// The tab that an address speaks of.
    pub(crate) fn of(fragment: &str) -> Self {
        if fragment.starts_with("k=") {
            return Self::Kernel;
        }
        let named = |part: &str| Self::ALL.iter().find(|(_, name, _)| *name == part && !part.is_empty());
        fragment.split('&').find_map(named).map_or(Self::Lab, |(tab, ..)| *tab)
    }

    /// Its name in the address; the Lab has none.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(tab, ..)| *tab == self).map_or("", |(_, name, _)| name)
    }
}

/// What is looked at, and how. Copies are the same.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) tab: RwSignal<Tab>,
    /// The policy that is looked at, by its title; the others are pale.
    pub(crate) isolated: RwSignal<Option<String>>,
    /// The place over the trace that is read in every chart.
    pub(crate) at: RwSignal<Option<Point>>,
    /// The part of the trace that the charts show: its first access, and the first one behind it. All where it is none.
    pub(crate) part: RwSignal<Option<(u64, u64)>>,
    /// The policy of the heatmap and of the reasons, by its title; the first where it is none.
    pub(crate) policy: RwSignal<Option<String>>,
    /// What the rows of the heatmap are; the first grouping where it is none.
    pub(crate) rows: RwSignal<Option<String>>,
    /// Whether the curve is of bytes.
    pub(crate) by_bytes: RwSignal<bool>,
    /// The row of the table that orders the policies, and whether the best comes first.
    pub(crate) sort: RwSignal<Option<(&'static str, bool)>>,
    /// Whether all panels of the Lab are there, or those of another tab are shown.
    pub(crate) whole: RwSignal<bool>,
    /// Whether the form is shown on a phone, where it lies over the results.
    pub(crate) sheet: RwSignal<bool>,
    /// Whether the Kernel tab prices a model, rather than source code.
    pub(crate) priced: RwSignal<bool>,
    /// The panels that are open.
    open: RwSignal<Vec<&'static str>>,
}

impl View {
    pub(crate) fn new(tab: Tab) -> Self {
        Self {
            tab: RwSignal::new(tab),
            isolated: RwSignal::new(None),
            at: RwSignal::new(None),
            part: RwSignal::new(None),
            policy: RwSignal::new(None),
            rows: RwSignal::new(None),
            by_bytes: RwSignal::new(true),
            sort: RwSignal::new(None),
            whole: RwSignal::new(true),
            sheet: RwSignal::new(false),
            priced: RwSignal::new(false),
            open: RwSignal::new(Vec::new()),
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

    /// Whether the tab is the one that is shown.
    pub(crate) fn shows(self, tab: Tab) -> Signal<bool> {
        yes(move || self.tab.get() == tab)
    }

    /// Which of `titles` is `chosen`; the first where none is.
    pub(crate) fn chosen(chosen: RwSignal<Option<String>>, titles: &[String]) -> usize {
        chosen.with(|chosen| titles.iter().position(|title| chosen.as_ref() == Some(title)).unwrap_or(0))
    }

    /// A panel that is shut until it is opened, and then built; it stays open over runs. Opening it the first time calls
    /// `opened`.
    pub(crate) fn fold<V: IntoView + 'static>(
        self,
        id: &'static str,
        title: impl Into<String>,
        content: impl Fn() -> V + 'static,
    ) -> accel_ui::built::Built {
        use accel_ui::built::Build as _;
        let title = title.into();
        let place = NodeRef::<Div>::new();
        let is_open = Memo::new(move |_| self.open.with(|open| open.contains(&id)));
        show_in(place, move || is_open.get().then(&content));
        let toggle = move |now: bool| {
            if now != is_open.get_untracked() {
                self.open.update(|open| match now {
                    true => open.push(id),
                    false => open.retain(|other| *other != id),
                });
            }
        };
        view! {
            <details
                class="panel"
                id=id
                open=yes(move || is_open.get())
                on:toggle:target=move |event| toggle(event.target().open())
            >
                <summary>{title}</summary>
                <div class="stack" node_ref=place></div>
            </details>
        }
        .built()
    }
}
