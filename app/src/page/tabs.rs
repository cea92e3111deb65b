//! The way between the places of the page, each with its own address and its own state.

use accel_ui::address;
use accel_ui::built::{Build, Built};
use leptos::ev::MouseEvent;
use leptos::prelude::*;

use crate::app::App;
use crate::view::Tab;

/// The links. A click keeps the experiment, and a kernel that was looked at.
pub(super) fn tabs(app: App) -> Built {
    let links = Tab::ALL
        .into_iter()
        .map(|(tab, name, title)| {
            let current = move || (app.view.tab.get() == tab).then_some("page");
            let go = move |event: MouseEvent| {
                event.prevent_default();
                go(app, tab);
            };
            view! {
                <a href=format!("#{name}") aria-current=current on:click=go>
                    {title}
                </a>
            }
        })
        .collect_view();
    view! { <nav aria-label="Pages">{links}</nav> }.built()
}

/// Shows `tab`.
pub(super) fn go(app: App, tab: Tab) {
    let from = app.view.tab.get_untracked();
    if from == tab {
        return;
    }
    if from == Tab::Kernel {
        app.kernel.set_value(address::fragment());
    }
    app.view.tab.set(tab);
    let shown = match tab {
        Tab::Kernel => address::visit(&app.kernel.get_value()),
        // A form at fault has no address: that of the tab alone.
        _ => match app.fragment() {
            Ok(fragment) => address::visit(&fragment),
            Err(_) => address::visit(tab.name()),
        },
    };
    if let Err(error) = shown {
        app.notice.set(Some(error.to_string()));
    }
    window().scroll_to_with_x_and_y(0.0, 0.0);
}
