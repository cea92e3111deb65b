//! Whether the model fits a device, and how much of it would.

use accel_core::fit::Fit;
use accel_core::memory::device::DEVICES;
use accel_core::units::{format_bytes, format_count, parse_bytes};
use accel_ui::built::{Build, Built};
use accel_ui::field::Field;
use accel_ui::view::{show_in, table};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;

/// The memory that is asked about first: of a card that many have.
const FIRST: &str = "24GB";

/// Asks about a size or a device's memory, and shows the sum.
pub(super) fn fit(app: App) -> Built {
    let budget = RwSignal::new(FIRST.to_owned());
    let bytes = move || parse_bytes("budget", &budget.get());
    let place = NodeRef::<Div>::new();
    Effect::new(move |_| {
        if let Ok(bytes) = bytes() {
            app.engine.ask_fit(bytes);
        }
    });
    show_in(place, move || {
        app.engine.fit.get().map(|answer| match answer {
            Ok(fit) => shown(&fit),
            Err(error) => view! { <p class="error">{error.to_string()}</p> }.built(),
        })
    });
    let problem = Signal::derive(move || bytes().map_or_else(|error| error.to_string(), |_| String::new()));
    let devices = DEVICES.iter().filter_map(|device| Some((device.dram_bytes?, device.title)));
    let devices = devices.map(|(bytes, title)| (format_bytes(bytes), format!("{title}: {}", format_bytes(bytes))));
    let devices = std::iter::once((String::new(), "Your own size".to_owned())).chain(devices).collect();
    view! {
        <div class="pair">
            {Field::new("fit-budget", "Memory of a device", budget).problem(problem).input()}
            {Field::new("fit-device", "Or that of", RwSignal::new(String::new()))
                .choice_then(
                    devices,
                    move |size| {
                        if !size.is_empty() {
                            budget.set(size);
                        }
                    },
                )}
        </div>
        <div node_ref=place></div>
    }
    .built()
}

fn shown(fit: &Fit) -> Built {
    let mut rows: Vec<Vec<String>> = fit
        .held
        .iter()
        .map(|held| vec![held.what.clone(), format_bytes(held.bytes), format_count(held.bytes)])
        .collect();
    rows.push(vec!["sum".into(), format_bytes(fit.bytes), format_count(fit.bytes)]);
    let most = |value: Option<u64>, limit: u64, all: &str| match value {
        None => "none fits".to_owned(),
        Some(value) if value >= limit => format!("{} ({all})", format_count(value)),
        Some(value) => format_count(value),
    };
    let verdict = format!(
        "{} sequences of {} tokens {} {}: {} of {}.",
        format_count(fit.batch_size),
        format_count(fit.context),
        if fit.fits { "fit" } else { "do not fit" },
        if fit.devices == 1 {
            "one device".to_owned()
        } else {
            format!("each of {} devices", format_count(fit.devices))
        },
        format_bytes(fit.bytes),
        format_bytes(fit.budget_bytes),
    );
    let limits = format!(
        "Longest context with this batch: {}. Largest batch with this context: {}.",
        most(fit.longest_context, fit.positions, "all that the model has positions for"),
        most(fit.largest_batch, 1 << 20, "no more were tried"),
    );
    let sent = (!fit.sent.is_empty()).then(|| {
        let rows =
            fit.sent.iter().map(|sent| vec![sent.what.clone(), sent.algorithm.clone(), format_bytes(sent.bytes)]);
        table("fit-sent", &["sent in a step", "by", "size"], rows.collect())
    });
    let notes = fit.notes.iter().map(|note| view! { <p class="hint">{format!("{note}.")}</p> }).collect_view();
    view! {
        <p id="fit-verdict">
            <b>{verdict}</b>
        </p>
        <p>{limits}</p>
        {table("fit-held", &["held", "size", "bytes"], rows)}
        {sent}
        {notes}
    }
    .built()
}
