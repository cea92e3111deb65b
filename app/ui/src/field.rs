//! Labelled fields, which may show what is wrong with them.

use leptos::prelude::*;

use crate::built::{Build, Built};
use crate::view::options;

/// A labelled field of text.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Identifier of its element.
    pub id: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// Its text.
    pub value: RwSignal<String>,
    /// A slider for the usual range, beyond which the text may go: least, most and step.
    pub slider: Option<[&'static str; 3]>,
    /// What may be written, or what it means.
    pub hint: &'static str,
    /// What stands for an empty field.
    pub placeholder: &'static str,
    /// Whether it is hidden.
    pub hidden: Option<Signal<bool>>,
    /// What is wrong with it; empty where nothing is.
    pub problem: Option<Signal<String>>,
}

impl Field {
    /// The field with the element `id`.
    pub fn new(id: &'static str, label: &'static str, value: RwSignal<String>) -> Self {
        Self { id, label, value, slider: None, hint: "", placeholder: "", hidden: None, problem: None }
    }

    /// The same field with what stands for it where it is empty.
    pub fn placeholder(self, placeholder: &'static str) -> Self {
        Self { placeholder, ..self }
    }

    /// The same field with what may be written, or what it means.
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// The same field, showing what is wrong with it.
    pub fn problem(self, problem: Signal<String>) -> Self {
        Self { problem: Some(problem), ..self }
    }

    /// A line of text.
    pub fn input(self) -> Built {
        self.input_of(Vec::new())
    }

    /// A line of text, for which some are suggested.
    pub fn input_of(self, suggested: Vec<&'static str>) -> Built {
        let Self { id, label, value, slider, hint, placeholder, hidden, problem } = self;
        let mode = if slider.is_some() { "decimal" } else { "text" };
        let slider = slider.map(|[min, max, step]| {
            view! {
                <input
                    type="range"
                    min=min
                    max=max
                    step=step
                    aria-label=format!("{label}, slider")
                    prop:value=value
                    on:input:target=move |event| value.set(event.target().value())
                />
            }
        });
        let list = (!suggested.is_empty()).then(|| format!("{id}-list"));
        let options = list.clone().map(|list| {
            let options = suggested.into_iter().map(|value| view! { <option value=value></option> }).collect_view();
            view! { <datalist id=list>{options}</datalist> }
        });
        view! {
            <div class="field" hidden=hidden>
                <label for=id>{label}</label>
                {options}
                <input
                    id=id
                    list=list
                    type="text"
                    inputmode=mode
                    autocomplete="off"
                    spellcheck="false"
                    placeholder=placeholder
                    aria-invalid=problem.map(invalid)
                    aria-describedby=problem.map(|_| line_id(id))
                    prop:value=value
                    on:input:target=move |event| value.set(event.target().value())
                />
                {slider}
                <p class="hint">{hint}</p>
                {problem.map(|problem| problem_line(id, problem))}
            </div>
        }
        .built()
    }

    /// A choice among values, each with what people read for it.
    pub fn choice(self, values: Vec<(String, String)>) -> Built {
        self.choice_then(values, |_| ())
    }

    /// The same choice, which calls `chosen` with each value that is chosen.
    pub fn choice_then(self, values: Vec<(String, String)>, chosen: impl Fn(String) + 'static) -> Built {
        let Self { id, label, value, hint, hidden, problem, .. } = self;
        let change = move |name: String| {
            value.set(name.clone());
            chosen(name);
        };
        view! {
            <div class="field" hidden=hidden>
                <label for=id>{label}</label>
                <select
                    id=id
                    aria-invalid=problem.map(invalid)
                    aria-describedby=problem.map(|_| line_id(id))
                    on:change:target=move |event| change(event.target().value())
                >
                    {options(value, values)}
                </select>
                <p class="hint">{hint}</p>
                {problem.map(|problem| problem_line(id, problem))}
            </div>
        }
        .built()
    }
}

/// Identifier of the line that says what is wrong with the field `id`.
fn line_id(id: &str) -> String {
    format!("{id}-problem")
}

/// The line that says what is wrong with the field `id`.
pub fn problem_line(id: &str, problem: Signal<String>) -> Built {
    view! {
        <p class="problem" id=line_id(id) role="alert">
            {problem}
        </p>
    }
    .built()
}

/// `true` or `false`, as `aria-invalid` of a field with this problem.
pub fn invalid(problem: Signal<String>) -> Signal<String> {
    Signal::derive(move || problem.with(|problem| !problem.is_empty()).to_string())
}
