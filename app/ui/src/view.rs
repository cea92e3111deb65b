//! Parts of views.

use crate::built::{Build, Built};
use leptos::html::{Div, ElementType};
use leptos::mount::mount_to;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

/// Number of colours of lines in charts; the style sheet calls them `s0` to `s5`.
pub use accel_chart::canvas::SERIES;

/// A condition as a signal: all conditions of a page then share one piece of code.
pub fn yes(condition: impl Fn() -> bool + Send + Sync + 'static) -> Signal<bool> {
    Signal::derive(condition)
}

/// Shows in `place` what `make` returns, anew whenever a signal that it reads changes.
///
/// A whole tree is exchanged for another: comparing the two, as a view inside a view would, needs code for
/// each element and finds nothing in common.
pub fn show_in<E, V>(place: NodeRef<E>, make: impl Fn() -> Option<V> + 'static)
where
    E: ElementType<Output: JsCast + Clone + Into<web_sys::HtmlElement>> + 'static,
    V: IntoView + 'static,
{
    let shown = StoredValue::new_local(None);
    Effect::new(move |_| {
        let Some(place) = place.get() else { return };
        let view = make();
        // The old tree goes first: its identifiers may come again.
        shown.set_value(None);
        shown.set_value(view.map(|view| mount_to(place.into(), move || view)));
    });
}

/// Shows the views that `parts` make one after the other, a turn of the browser for each: made in one, many panels would
/// hold up whoever types. `whole` says whether all of them are there.
pub fn in_turns(parts: Vec<Box<dyn Fn() -> Built>>, whole: RwSignal<bool>) -> Built {
    let shown = RwSignal::new(0);
    whole.set(false);
    let last = parts.len();
    let places = parts.into_iter().enumerate().map(|(i, part)| {
        let place = NodeRef::<Div>::new();
        let due = Memo::new(move |_| shown.get() >= i);
        show_in(place, move || {
            due.get().then(|| {
                let next = move || match i + 1 == last {
                    true => whole.set(true),
                    // The results may have made way for others meanwhile.
                    false => drop(shown.try_set(i + 1)),
                };
                set_timeout(next, std::time::Duration::ZERO);
                // What the part reads is no reason to make it anew.
                untrack(&part)
            })
        });
        view! { <div node_ref=place></div> }
    });
    places.collect_view().built()
}

/// The options of a choice by number: the value of each is its index.
pub fn choices(names: Vec<String>) -> Built {
    let options = names.into_iter().enumerate();
    options.map(|(i, name)| view! { <option value=i.to_string()>{name}</option> }).collect_view().built()
}

/// The options of a choice, each a value and what people read for it; the one that `value` holds is selected.
pub fn options(value: RwSignal<String>, options: Vec<(String, String)>) -> Built {
    options
        .into_iter()
        .map(|(option, text)| {
            let selected = yes({
                let option = option.clone();
                move || value.get() == option
            });
            view! {
                <option value=option prop:selected=selected>
                    {text}
                </option>
            }
        })
        .collect_view()
        .built()
}

/// The classes of the mark of the line number `series` of a chart: its colour, and a shape for each round of colours.
pub fn dot(series: usize) -> String {
    format!("dot s{} r{}", series % SERIES, (series / SERIES).min(3))
}

/// The items of a legend, one for each line of a chart in their order.
pub fn legend(names: Vec<String>) -> Built {
    let items = names.into_iter().enumerate();
    items
        .map(|(i, name)| {
            view! {
                <li>
                    <span class=dot(i)></span>
                    {name}
                </li>
            }
        })
        .collect_view()
        .built()
}

/// The same as buttons: a click makes the other lines pale, or none again.
pub fn legend_of(names: Vec<String>, isolated: RwSignal<Option<String>>) -> Built {
    let items = names.into_iter().enumerate();
    items
        .map(|(i, name)| {
            let alone = {
                let name = name.clone();
                yes(move || isolated.with(|isolated| isolated.as_ref() == Some(&name)))
            };
            let click = {
                let name = name.clone();
                move |_| {
                    isolated.update(|isolated| *isolated = (isolated.as_ref() != Some(&name)).then(|| name.clone()))
                }
            };
            view! {
                <li>
                    <button
                        type="button"
                        class="series"
                        aria-pressed=move || if alone.get() { "true" } else { "false" }
                        on:click=click
                    >
                        <span class=dot(i)></span>
                        {name}
                    </button>
                </li>
            }
        })
        .collect_view()
        .built()
}

/// A table of text; the first column names its row.
pub fn table(id: &'static str, head: &[&str], rows: Vec<Vec<String>>) -> Built {
    let head = head.iter().map(|text| view! { <th scope="col">{(*text).to_owned()}</th> }).collect_view();
    let rows = rows
        .into_iter()
        .map(|row| {
            let mut cells = row.into_iter();
            let name = cells.next();
            let cells = cells.map(|text| view! { <td>{text}</td> }).collect_view();
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    {cells}
                </tr>
            }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=id>
            <table id=id>
                <thead>
                    <tr>{head}</tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .built()
}
