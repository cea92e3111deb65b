//! The Kernel page: a module of its own, loaded when it is first opened.

use accel_ui::view::yes;
use accel_ui::{address, module};
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::app::App;

/// Whether the address is that of the Kernel page: `#kernel`, or a link to a kernel.
pub(super) fn in_address() -> bool {
    let fragment = address::fragment();
    fragment == "kernel" || fragment.starts_with("k=")
}

/// The links between the pages.
pub(super) fn links(kernel: RwSignal<bool>) -> impl IntoView {
    let current = move |of_kernel: bool| (kernel.get() == of_kernel).then_some("page");
    view! {
        <nav aria-label="Pages">
            <a href="#" aria-current=move || current(false)>
                "Lab"
            </a>
            <a href="#kernel" aria-current=move || current(true)>
                "Kernel"
            </a>
        </nav>
    }
}

/// The place of the Kernel page.
pub(super) fn place(app: App) -> impl IntoView {
    let kernel = app.kernel;
    let problem = RwSignal::new(None);
    let _ = window_event_listener(ev::hashchange, move |_| kernel.set(in_address()));
    Effect::new(move |_| {
        if kernel.get() {
            load(problem);
        }
    });
    view! {
        <main id="kernel" hidden=yes(move || !kernel.get())>
            <p class="hint" hidden=yes(move || problem.with(Option::is_some))>
                "The Kernel page is on its way."
            </p>
            <p class="error" role="alert">
                {move || problem.get()}
            </p>
            <button type="button" hidden=yes(move || problem.with(Option::is_none)) on:click=move |_| load(problem)>
                "Try again"
            </button>
        </main>
    }
}

/// Loads and starts the module, unless it was before; it finds its place. `problem` tells why it cannot be loaded.
fn load(problem: RwSignal<Option<String>>) {
    problem.set(None);
    spawn_local(async move {
        if let Err(error) = module::load("accel-kernel-page", "the Kernel page").await {
            problem.set(Some(error.to_string()));
        }
    });
}
