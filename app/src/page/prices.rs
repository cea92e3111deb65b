//! What the operators of a model take on a device, one by one. The model and its run are those of the Lab.

use std::sync::Arc;
use std::time::Duration;

use accel_core::error::Error;
use accel_core::memory::device::{DEVICES, DeviceRef};
use accel_core::recipe::Workload;
use accel_core::recipe::fields::Field as Row;
use accel_core::units::{format_bytes, format_count};
use accel_core::workload::presets::PRESETS;
use accel_price::{Advice, DEFAULT_GPU, PriceList, Priced, Question};
use accel_ui::address;
use accel_ui::built::{Build, Built};
use accel_ui::field::Field;
use accel_ui::number::{short, time};
use accel_ui::view::{show_in, yes};
use accel_worker::protocol::{Answer, read};
use leptos::ev;
use leptos::html::Div;
use leptos::prelude::*;

use super::field::field_at;
use crate::app::App;
use crate::form::{CUSTOM, MODEL_FILE};
use crate::view::Tab;

/// How long nothing must change before a question is asked.
const STILL: Duration = Duration::from_millis(300);
/// More operators are left to the JSON.
const MOST_OPERATORS: usize = 100;
/// What begins a question in the address, as JSON with its letters escaped.
const ASKED: &str = "q=";

/// The fields of the run that say most about its operators, and their elements here.
const RUN: [(Row, &str); 5] = [
    (Row::Task, "price-task"),
    (Row::BatchSize, "price-batch"),
    (Row::PromptTokens, "price-prompt"),
    (Row::DecodeTokens, "price-decode"),
    (Row::WeightDtype, "price-weights"),
];

/// What is typed here.
#[derive(Clone, Copy)]
struct Asking {
    layer: RwSignal<String>,
    phase: RwSignal<String>,
    device: RwSignal<String>,
    /// The parts of the run that can be chosen.
    phases: RwSignal<Vec<String>>,
    /// The newest answer, and to which question.
    list: RwSignal<Option<(String, Told)>>,
    /// Why the link that was opened asks nothing.
    notice: RwSignal<Option<String>>,
}

/// A price list, or why there is none.
type Told = Result<Arc<PriceList>, Error>;

impl Asking {
    fn new() -> Self {
        let text = || RwSignal::new(String::new());
        Self {
            layer: text(),
            phase: text(),
            device: text(),
            phases: RwSignal::new(Vec::new()),
            list: RwSignal::new(None),
            notice: RwSignal::new(None),
        }
    }

    /// The question as JSON, or which field is at fault.
    fn question(self, app: App) -> Result<String, Error> {
        let layer = self.layer.get().trim().to_owned();
        let number = |layer: &str| {
            let cure = "Write a number such as 0, or leave it empty for all layers";
            layer.parse().map_err(|_| Error::field("layer", format!("\"{layer}\""), "no whole number", cure))
        };
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let question = Question {
            layer: some(layer).map(|layer| number(&layer)).transpose()?,
            phase: some(self.phase.get()),
            device: some(self.device.get()).map(|device| device_of(&device)).transpose()?,
            ..Question::of(app.form.model_run()?)
        };
        serde_json::to_string(&question).map_err(|e| Error::Internal(e.to_string()))
    }

    /// Shows the question of the address, where there is one.
    fn open_address(self, app: App) {
        self.notice.set(None);
        let Some(text) = question_of_address() else { return };
        let refused = |why: String| self.notice.set(Some(format!("The link cannot be opened: {why}")));
        match Question::from_json("link", text.as_bytes()) {
            Ok(Question { workload: Workload::Model(run), layer, phase, device }) => {
                app.view.priced.set(true);
                app.form.set_model_run(run);
                self.layer.set(layer.map_or_else(String::new, |layer| layer.to_string()));
                self.phase.set(phase.unwrap_or_default());
                self.device.set(match device {
                    None => String::new(),
                    Some(DeviceRef::Known(name)) => name.to_ascii_lowercase(),
                    Some(DeviceRef::Own(own)) => serde_json::to_string(&own).unwrap_or_default(),
                });
            }
            Ok(_) => refused("it names no run of a model".into()),
            Err(error) => refused(error.to_string()),
        }
    }

    /// Takes the answer to `question`, if that is what was answered.
    fn take(self, question: &str, (asked, answer): &(String, Answer)) {
        if question != asked || self.list.with_untracked(|list| list.as_ref().is_some_and(|(of, _)| of == asked)) {
            return;
        }
        let told: Told = read(answer.clone()).map(Arc::new);
        if let Ok(list) = &told
            && self.phases.with_untracked(|phases| *phases != list.phases)
        {
            self.phases.set(list.phases.clone());
        }
        self.list.set(Some((asked.clone(), told)));
    }
}

/// The device of that name, or that the text describes.
fn device_of(text: &str) -> Result<DeviceRef, Error> {
    if !text.starts_with('{') {
        return Ok(DeviceRef::Known(text.to_owned()));
    }
    let broken = |e: serde_json::Error| Error::field("device", "not usable", e.to_string(), "Choose one of the list");
    serde_json::from_slice(text.as_bytes()).map_err(broken)
}

/// The question in the address.
fn question_of_address() -> Option<String> {
    let fragment = address::fragment();
    let text = fragment.split('&').find_map(|part| part.strip_prefix(ASKED))?;
    js_sys::decode_uri_component(text).ok().map(String::from)
}

/// Whether an address asks for the operators of a model.
pub(super) fn asks(fragment: &str) -> bool {
    Tab::of(fragment) == Tab::Kernel && fragment.split('&').any(|part| part.starts_with(ASKED))
}

/// The form and the list.
pub(super) fn prices(app: App) -> Built {
    let asking = Asking::new();
    asking.open_address(app);
    let _ = window_event_listener(ev::hashchange, move |_| asking.open_address(app));
    let question = Memo::new(move |_| asking.question(app));
    ask_when_still(app, asking, question);
    let problem = move |name: &'static str| {
        Signal::derive(move || match question.get() {
            Err(Error::Field { field, problem, cure, .. }) if field == name => format!("{problem}. {cure}"),
            _ => String::new(),
        })
    };
    view! {
        <form class="panel" id="price-form" aria-label="A model" on:submit=|event| event.prevent_default()>
            <fieldset>
                <legend>"Model"</legend>
                {model(app, asking)}
                {Field::new("price-layer", "Layer", asking.layer)
                    .placeholder("all")
                    .hint("Counted from 0. Without one, what stands outside is priced as well.")
                    .problem(problem("layer"))
                    .input()}
                {phase(asking)}
            </fieldset>
            <fieldset>
                <legend>"Run"</legend>
                {RUN
                    .map(|(row, id)| field_at(app, row.info(), id, problem(row.info().name)))
                    .into_iter()
                    .collect_view()}
                <p class="hint">"These fields are those of the Lab, where there are more of them."</p>
            </fieldset>
            <fieldset>
                <legend>"Machine"</legend>
                {device(asking)}
            </fieldset>
        </form>
        {results(asking, question)}
    }
    .built()
}

/// Asks once nothing has changed for a moment, and takes the answer.
fn ask_when_still(app: App, asking: Asking, question: Memo<Result<String, Error>>) {
    let wanted = yes(move || app.view.tab.get() == Tab::Kernel && app.view.priced.get());
    Effect::new(move |_| {
        let Ok(asked) = question.get() else { return };
        if !wanted.get() || asking.list.with_untracked(|list| list.as_ref().is_some_and(|(of, _)| *of == asked)) {
            return;
        }
        let ask = move || {
            if question.try_get_untracked() == Some(Ok(asked.clone())) && wanted.get_untracked() {
                let escaped = js_sys::encode_uri_component(&asked);
                if let Err(error) = address::show(&format!("{}&{ASKED}{escaped}", Tab::Kernel.name())) {
                    asking.notice.set(Some(error.to_string()));
                }
                let file = app.form.model.with_untracked(|model| model == MODEL_FILE);
                app.engine.ask_prices(asked, file.then(|| app.form.model_file.get_untracked()));
            }
        };
        set_timeout(ask, STILL);
    });
    Effect::new(move |_| {
        let Ok(asked) = question.get() else { return };
        app.engine.prices.with(|answer| {
            if let Some(answer) = answer {
                asking.take(&asked, answer);
            }
        });
    });
}

/// The choice of the model. Layers and parts of the run are those of one model: another begins with all of them.
fn model(app: App, asking: Asking) -> Built {
    let title = |name: &str, title: &str| (name.to_owned(), title.to_owned());
    let mut models: Vec<(String, String)> = PRESETS.iter().map(|preset| title(preset.name, preset.title)).collect();
    models.push(title(CUSTOM, "Your config.json"));
    models.push(title(MODEL_FILE, "Your ONNX graph or SCALE-Sim topology"));
    let afresh = move |_| {
        asking.layer.set(String::new());
        asking.phase.set(String::new());
    };
    let own = yes(move || app.form.model.with(|model| model != CUSTOM && model != MODEL_FILE));
    view! {
        {Field::new("price-model", "Model", app.form.model).choice_then(models, afresh)}
        <p class="hint" hidden=own>
            "Drop the file anywhere on the page."
        </p>
    }
    .built()
}

/// The choice among the parts of the run, which are known once one was priced.
fn phase(asking: Asking) -> Built {
    let place = NodeRef::<Div>::new();
    show_in(place, move || {
        let mut phases = vec![(String::new(), "All of it".to_owned())];
        phases.extend(asking.phases.get().into_iter().map(|phase| (phase.clone(), phase)));
        Some(Field::new("price-phase", "Part of the run", asking.phase).choice(phases))
    });
    view! { <div node_ref=place></div> }.built()
}

/// The choice among devices that work as a whole.
fn device(asking: Asking) -> Built {
    let devices = DEVICES.iter().filter(|device| !device.is_core()).map(|device| {
        // The usual one is that of a question that names none.
        let name = if device.name == DEFAULT_GPU { "" } else { device.name };
        (name.to_owned(), device.title.to_owned())
    });
    Field::new("price-device", "Device", asking.device).choice(devices.collect())
}

/// The list, or why there is none; the old one is pale while another is made.
fn results(asking: Asking, question: Memo<Result<String, Error>>) -> Built {
    let place = NodeRef::<Div>::new();
    show_in(place, move || asking.list.get().and_then(|(asked, told)| told.ok().map(|list| shown(&asked, &list))));
    let state = Signal::derive(move || match (question.get(), asking.list.get()) {
        (Err(_), _) => "failed",
        (Ok(asked), Some((of, told))) if asked == of => {
            if told.is_ok() {
                "done"
            } else {
                "failed"
            }
        }
        _ => "running",
    });
    let problem = move || {
        let of_form = question.get().err();
        let of_answer = || asking.list.get().and_then(|(_, told)| told.err());
        let error = of_form.or_else(|| (state.get() == "failed").then(of_answer).flatten());
        asking.notice.get().or(error.map(|error| error.to_string())).unwrap_or_default()
    };
    view! {
        <section
            id="price-results"
            aria-label="Price list"
            class:stale=yes(move || state.get() != "done")
            data-state=state
            tabindex="-1"
        >
            <p class="hint" hidden=yes(move || state.get() != "running" || asking.list.with(Option::is_some))>
                "The first price list is on its way."
            </p>
            <div role="alert" id="price-error" class="error">
                {Signal::derive(problem)}
            </div>
            <div class="stack" node_ref=place></div>
        </section>
    }
    .built()
}

/// What a price list says.
fn shown(question: &str, list: &PriceList) -> Built {
    let json = serde_json::to_string_pretty(list).unwrap_or_default();
    let command = format!("curl http://127.0.0.1:8000/v1/price --json '{}'", question.replace('\'', "'\\''"));
    view! {
        {totals(list)}
        {operators(list)}
        {advice(list)}
        <section class="panel" id="price-assumptions">
            <h2>"Assumptions"</h2>
            <ul>{list.assumptions.iter().map(|text| view! { <li>{text.clone()}</li> }).collect_view()}</ul>
        </section>
        <section class="panel" id="price-json">
            <h2>"The same list elsewhere"</h2>
            <p>
                <code>{command}</code>
            </p>
            <details>
                <summary>"Everything as JSON"</summary>
                <textarea
                    id="price-outcome"
                    rows="16"
                    readonly
                    aria-label="The price list as JSON"
                    prop:value=json
                ></textarea>
            </details>
        </section>
    }
    .built()
}

/// The sum over the operators, as often as each runs.
fn sum(list: &PriceList, of: impl Fn(&Priced) -> f64) -> f64 {
    list.operators.iter().map(of).sum()
}

/// The totals, and what they wait for.
fn totals(list: &PriceList) -> Built {
    let [low, high] = list.latency_range_ms;
    let bytes = sum(list, |own| own.runs as f64 * own.bytes);
    let operations = sum(list, |own| own.runs as f64 * own.operations);
    let runs: u64 = list.operators.iter().map(|own| own.runs).sum();
    let mut limits: Vec<(String, f64)> = Vec::new();
    for own in &list.operators {
        match limits.iter_mut().find(|(limit, _)| *limit == own.limit) {
            Some((_, ms)) => *ms += own.ms,
            None => limits.push((own.limit.clone(), own.ms)),
        }
    }
    limits.sort_by(|a, b| b.1.total_cmp(&a.1));
    let bound = limits.iter().map(|(limit, ms)| format!("{limit} {:.1} %", percent(list, *ms)));
    let bound = format!("Bound by, in shares of the time: {}.", bound.collect::<Vec<_>>().join(", "));
    view! {
        <section class="panel" id="price-totals">
            <h2>{format!("What its operators take on {}", title(&list.device))}</h2>
            <p class="figures">
                <span>
                    <b id="price-latency">{time(list.latency_ms)}</b>
                    <small>{format!("between {} and {}", time(low), time(high))}</small>
                </span>
                <span>
                    <b>{format_bytes(bytes as u64)}</b>
                    <small>"read and written"</small>
                </span>
                <span>
                    <b>{many(operations)}</b>
                    <small>"operations"</small>
                </span>
                <span>
                    <b>{format_count(runs)}</b>
                    <small>"operators run"</small>
                </span>
            </p>
            <div class="words">
                <p>{bound}</p>
            </div>
        </section>
    }
    .built()
}

/// What people call the device of that name.
fn title(device: &str) -> String {
    DEVICES.iter().find(|row| row.name == device).map_or(device, |row| row.title).to_owned()
}

/// A number of operations with the prefix that suits.
fn many(operations: f64) -> String {
    let (factor, prefix) = match operations {
        1e12.. => (1e12, "T"),
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        _ => (1e3, "k"),
    };
    format!("{} {prefix}", short(operations / factor))
}

/// A share of the whole time.
fn percent(list: &PriceList, ms: f64) -> f64 {
    if list.latency_ms > 0.0 { 100.0 * ms / list.latency_ms } else { 0.0 }
}

/// A row for each operator.
fn operators(list: &PriceList) -> Built {
    let most = list.operators.iter().map(|own| own.ms).fold(f64::MIN_POSITIVE, f64::max);
    let row = |own: &Priced| {
        let [low, high] = own.range_ms;
        let width = format!("{:.1}%", 100.0 * own.ms / most);
        view! {
            <tr>
                <th scope="row">{format!("{} {}", own.phase, own.name).trim().to_owned()}</th>
                <td>{format!("{:.1} %", percent(list, own.ms))}</td>
                <td class="bars">
                    <i style:width=width></i>
                </td>
                <td>{own.limit.clone()}</td>
                <td>{time(own.ms)}</td>
                <td>{format!("{} to {}", time(low), time(high))}</td>
                <td>{format_count(own.runs)}</td>
                <td>{own.sizes.clone()}</td>
                <td>{own.class.clone()}</td>
            </tr>
        }
    };
    let head = ["Operator", "% of all", "As a bar", "Bound by", "Time", "Between", "Runs", "Sizes", "Priced as"];
    let head = head.map(|text| view! { <th scope="col">{text}</th> }).into_iter().collect_view();
    let rest = list.operators.get(MOST_OPERATORS..).unwrap_or_default();
    let more = (!rest.is_empty()).then(|| {
        let ms = rest.iter().map(|own| own.ms).sum();
        let text = format!("{} more operators take {}: they are in the JSON below.", rest.len(), time(ms));
        view! { <p class="hint">{text}</p> }
    });
    view! {
        <section class="panel" id="price-operators-panel">
            <h2>"Operator by operator"</h2>
            <div class="scroll" tabindex="0" role="region" aria-label="Operators">
                <table id="price-table">
                    <caption>"In the order in which they first run; alike ones are one row."</caption>
                    <thead>
                        <tr>{head}</tr>
                    </thead>
                    <tbody>{list.operators.iter().take(MOST_OPERATORS).map(row).collect_view()}</tbody>
                </table>
            </div>
            {more}
        </section>
    }
    .built()
}

/// What would help.
fn advice(list: &PriceList) -> Option<Built> {
    let row = |own: &Advice| {
        let text = format!("{}: {}, {:.2} times as fast.", own.change, time(own.ms), own.factor);
        view! { <li>{text}</li> }
    };
    (!list.advice.is_empty()).then(|| {
        view! {
            <section class="panel" id="price-advice">
                <h2>"What would help"</h2>
                <ul>{list.advice.iter().map(row).collect_view()}</ul>
            </section>
        }
        .built()
    })
}
