//! The form: what the user typed, and the request it stands for.

use std::iter;

use accel_ground::closed::Closed;
use accel_ground::device::{DEVICES, DeviceInfo, DeviceRef};
use accel_ground::error::{Error, Place};
use accel_ground::units::format_bytes;
use accel_kernel::nest::Element;
use accel_kernel::report::{
    Compiler, DEFAULT_DEVICE, DEFAULT_GPU, FRAGMENT, Language, OptLevel, Request, define, level,
};
use accel_kernel::source::MAX_BYTES;
use accel_ui::address;
use accel_ui::field::Field;
use accel_ui::files::on_drop;
use accel_ui::run::{Phase, RunBar};
use accel_ui::view::{show_in, yes};
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

use crate::engine::{Engine, PLACE};
use crate::examples::{EXAMPLES, Example};
use crate::panels;

/// Every field as the user typed it.
#[derive(Clone, Copy)]
struct Form {
    example: RwSignal<String>,
    code: RwSignal<String>,
    language: RwSignal<String>,
    function: RwSignal<String>,
    defines: RwSignal<String>,
    shapes: RwSignal<String>,
    element: RwSignal<String>,
    probability: RwSignal<String>,
    device: RwSignal<String>,
    levels: RwSignal<String>,
    line_bytes: RwSignal<String>,
    opt_level: RwSignal<String>,
    compiler: RwSignal<String>,
    backward: RwSignal<String>,
    warm: RwSignal<String>,
    cores: RwSignal<String>,
    budget: RwSignal<String>,
}

/// The values of a closed list to choose from: name and title.
fn choices<T: Closed>() -> impl Iterator<Item = (String, String)> {
    T::ALL.iter().map(|value| (value.name().to_owned(), value.title().to_owned()))
}

/// The parts of a list, separated by commas outside brackets, semicolons or ends of lines.
fn parts(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth <= 0) || c == ';' || c == '\n' {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

impl Form {
    fn new() -> Self {
        let text = || RwSignal::new(String::new());
        Self {
            example: text(),
            code: text(),
            language: text(),
            function: text(),
            defines: text(),
            shapes: text(),
            element: text(),
            probability: text(),
            device: text(),
            levels: text(),
            line_bytes: text(),
            opt_level: text(),
            compiler: text(),
            backward: text(),
            warm: text(),
            cores: text(),
            budget: text(),
        }
    }

    fn set(self, request: &Request) {
        self.code.set(request.code.clone());
        self.language.set(request.language.map_or("", Language::name).to_owned());
        self.function.set(request.function.clone().unwrap_or_default());
        let defines: Vec<String> = request.defines.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.defines.set(defines.join(", "));
        self.shapes.set(request.shapes.join("; "));
        self.element.set(request.element.name().to_owned());
        self.probability.set(request.probability.to_string());
        let device = match &request.device {
            None => String::new(),
            Some(DeviceRef::Known(name)) => name.to_ascii_lowercase(),
            Some(DeviceRef::Own(own)) => serde_json::to_string(own).unwrap_or_default(),
        };
        self.device.set(device);
        let level = |l: &accel_kernel::report::Level| format!("{}={}", l.name, l.capacity_bytes);
        let levels: Vec<String> = request.levels.iter().flatten().map(level).collect();
        self.levels.set(levels.join(", "));
        self.line_bytes.set(request.line_bytes.map_or_else(String::new, |bytes| bytes.to_string()));
        self.opt_level.set(request.opt_level.name().to_owned());
        self.compiler.set(request.compiler.map_or("", Compiler::name).to_owned());
        self.backward.set(if request.backward { BACKWARD } else { "" }.to_owned());
        self.warm.set(if request.warm { WARM } else { "" }.to_owned());
        // What is usual is left out, as in a link.
        let usual = Request::default();
        let unless_usual = |given: u64, usual: u64| if given == usual { String::new() } else { given.to_string() };
        self.cores.set(unless_usual(request.cores.into(), usual.cores.into()));
        self.budget.set(unless_usual(request.budget, usual.budget));
    }

    fn show(self, example: &Example) {
        self.code.set(example.code.to_owned());
        self.language.set(String::new());
        self.function.set(String::new());
        self.defines.set(example.defines.to_owned());
        self.shapes.set(example.shapes.to_owned());
        self.levels.set(example.levels.to_owned());
    }

    fn request(self) -> Result<Request, Error> {
        let optional = |signal: RwSignal<String>| Some(signal.get().trim().to_owned()).filter(|text| !text.is_empty());
        let number = |field: &str, text: String, cure: &str| {
            text.parse::<f64>().map_err(|_| Error::field(field, format!("\"{text}\""), "not a number", cure))
        };
        let levels: Vec<_> = parts(&self.levels.get()).iter().map(|text| level(text)).collect::<Result<_, _>>()?;
        let device = self.device.get();
        let whole = |field: &str, signal: RwSignal<String>, cure: &str| {
            let read = |text: String| number(field, text, cure).map(|value| value as u64);
            optional(signal).map(read).transpose()
        };
        let usual = Request::default();
        let cores = whole("cores", self.cores, "Write a number of cores such as 8")?.unwrap_or(usual.cores.into());
        Ok(Request {
            code: self.code.get(),
            language: optional(self.language).map(|name| Language::from_name(&name)).transpose()?,
            function: optional(self.function),
            defines: parts(&self.defines.get()).iter().map(|text| define(text)).collect::<Result<_, _>>()?,
            shapes: parts(&self.shapes.get()),
            element: Element::named(&self.element.get()).unwrap_or(Element::F32),
            probability: number("probability", self.probability.get(), "Write a number from 0 to 1")?,
            device: match device.as_str() {
                "" => None,
                own if own.starts_with('{') => serde_json::from_str(own)
                    .map_err(|e| Error::input("device", Place::Whole, e.to_string(), "Choose one of the list"))?,
                _ => Some(DeviceRef::Known(device)),
            },
            levels: Some(levels).filter(|levels| !levels.is_empty()),
            line_bytes: whole("line_bytes", self.line_bytes, "Write a power of two such as 64")?,
            opt_level: OptLevel::from_name(&self.opt_level.get())?,
            compiler: optional(self.compiler).map(|name| Compiler::from_name(&name)).transpose()?,
            backward: self.backward.get() == BACKWARD,
            warm: self.warm.get() == WARM,
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            budget: whole("budget", self.budget, "Write a number such as 120000000")?.unwrap_or(usual.budget),
        })
    }
}

/// What the form says where the backward pass is asked for.
const BACKWARD: &str = "backward";
/// What it says where caches are warm.
const WARM: &str = "warm";
/// The largest power of two that a parameter's slider reaches: 2^14 = 16,384.
const MOST_LOG2: u32 = 14;

/// A slider for each parameter of the newest prediction, over powers of two; letting go of one predicts again.
fn sliders(app: App) -> impl IntoView {
    let place = NodeRef::new();
    let parameters =
        Memo::new(move |_| app.engine.answer.with(|answer| answer.as_ref().map(|a| a.report.parameters.clone())));
    show_in(place, move || {
        let slider = |(name, value): (String, i64)| {
            let (shown, label) = (RwSignal::new(value), format!("{name}, slider"));
            let position = (value.max(1) as u64).ilog2().min(MOST_LOG2).to_string();
            let of =
                |event: &web_sys::HtmlInputElement| 1i64 << event.value().parse::<u32>().unwrap_or(0).min(MOST_LOG2);
            let changed = {
                let name = name.clone();
                move |value: i64| {
                    let mut defines = parts(&app.form.defines.get_untracked());
                    let is_other = |text: &String| text.split('=').next().is_none_or(|known| known.trim() != name);
                    defines.retain(is_other);
                    defines.push(format!("{name}={value}"));
                    app.form.defines.set(defines.join(", "));
                    app.run();
                }
            };
            view! {
                <label class="slide">
                    <span>{move || format!("{name} = {}", shown.get())}</span>
                    <input
                        type="range"
                        min="0"
                        max=MOST_LOG2.to_string()
                        step="1"
                        aria-label=label
                        value=position
                        on:input:target=move |event| shown.set(of(&event.target()))
                        on:change:target=move |event| changed(of(&event.target()))
                    />
                </label>
            }
        };
        let parameters = parameters.get().filter(|parameters| !parameters.is_empty())?;
        Some(view! { <div class="slides">{parameters.into_iter().map(slider).collect_view()}</div> })
    });
    view! { <div node_ref=place></div> }
}

/// What everything on the page may use.
#[derive(Clone, Copy)]
struct App {
    form: Form,
    engine: Engine,
    notice: RwSignal<Option<String>>,
}

impl App {
    fn run(self) {
        self.notice.set(None);
        match untrack(|| self.form.request()) {
            Ok(request) => {
                if let Err(error) = show_in_address(&request) {
                    self.notice.set(Some(error.to_string()));
                }
                self.engine.run(request);
            }
            Err(error) => self.notice.set(Some(error.to_string())),
        }
    }

    /// Shows and runs the kernel of the address.
    fn open_address(self) -> bool {
        let fragment = address::fragment();
        if !fragment.starts_with(FRAGMENT) {
            return false;
        }
        match Request::from_fragment(&fragment) {
            Ok(request) => {
                self.form.set(&request);
                self.run();
            }
            Err(error) => self.notice.set(Some(format!("The link cannot be opened: {error}"))),
        }
        true
    }
}

fn show_in_address(request: &Request) -> Result<(), Error> {
    address::show(&request.to_fragment()?)
}

/// The whole page.
pub(crate) fn page() -> impl IntoView {
    let app = App { form: Form::new(), engine: Engine::new(), notice: RwSignal::new(None) };
    app.form.set(&Request::default());
    if !app.open_address() {
        app.form.show(&EXAMPLES[0]);
        app.form.example.set(EXAMPLES[0].name.to_owned());
        if let Ok(request) = untrack(|| app.form.request()) {
            app.engine.run(request);
        }
    }
    let _ = window_event_listener(ev::hashchange, move |_| {
        app.open_address();
    });
    on_drop(move |files| {
        // While this page is hidden, the file is for the other.
        let shown = document().get_element_by_id(PLACE).is_some_and(|place| !place.has_attribute("hidden"));
        if let Some(file) = files.into_iter().next().filter(|_| shown) {
            take(app, file);
        }
    });
    let place = NodeRef::new();
    show_in(place, move || app.engine.answer.get().map(panels::panels));
    let state = Signal::derive(move || app.engine.phase.with(Phase::name).to_owned());
    view! {
        <form
            class="panel"
            id="kernel-form"
            aria-label="Kernel"
            on:submit=move |event| {
                event.prevent_default();
                app.run();
            }
        >
            {fields(app)}
            {run_bar(app)}
        </form>
        <section id="kernel-results" aria-label="Prediction" data-state=state tabindex="-1">
            <div class="stack" node_ref=place></div>
        </section>
    }
}

/// Reads a dropped file into the form.
fn take(app: App, file: File) {
    if file.size() > MAX_BYTES as f64 {
        let problem = format!("it has {} bytes; at most {MAX_BYTES} are read", file.size());
        let error = Error::input(file.name(), Place::Whole, problem, "Give only the kernel and what it calls");
        return app.notice.set(Some(error.to_string()));
    }
    spawn_local(async move {
        let text = JsFuture::from(file.text()).await.ok().and_then(|text| text.as_string());
        match text {
            Some(text) => {
                app.form.code.set(text);
                app.form.language.set(Language::of_file(&file.name()).map_or("", Language::name).to_owned());
                app.run();
            }
            None => app.notice.set(Some(format!("{} cannot be read", file.name()))),
        }
    });
}

fn fields(app: App) -> impl IntoView {
    let form = app.form;
    let examples = EXAMPLES.iter().map(|e| (e.name.to_owned(), e.title.to_owned())).collect();
    let chosen = move |name: String| {
        if let Some(example) = EXAMPLES.iter().find(|example| example.name == name) {
            form.show(example);
            app.run();
        }
    };
    let languages = iter::once((String::new(), "Detect".to_owned())).chain(choices::<Language>()).collect();
    let device = |device: &DeviceInfo| {
        let memory = device.on_chip_bytes.map_or_else(String::new, |bytes| format!(", {}", format_bytes(bytes)));
        (device.name.to_owned(), format!("{}{memory}", device.title))
    };
    let suits = (String::new(), format!("{DEFAULT_DEVICE}; GPU code: {DEFAULT_GPU}"));
    let devices = iter::once(suits).chain(DEVICES.iter().map(device)).collect();
    let elements = Element::FLOATING.map(|e| (e.name().to_owned(), e.name().to_owned())).to_vec();
    let opt_levels = choices::<OptLevel>().collect();
    let compilers = iter::once((String::new(), "Clang or GCC".to_owned())).chain(choices::<Compiler>()).collect();
    let two = |pairs: [(&str, &str); 2]| pairs.map(|(name, title)| (name.to_owned(), title.to_owned())).to_vec();
    let passes = two([("", "Forward alone"), (BACKWARD, "Forward and backward (Python)")]);
    let caches = two([("", "Cold: nothing is in them"), (WARM, "Warm: as after the same run")]);
    view! {
        <fieldset>
            <legend>"Kernel"</legend>
            {Field::new("example", "Example", form.example).choice_then(examples, chosen)}
            <div class="field">
                <label for="code">"Source code"</label>
                <textarea
                    id="code"
                    rows="14"
                    wrap="off"
                    spellcheck="false"
                    autocomplete="off"
                    prop:value=form.code
                    on:input:target=move |event| form.code.set(event.target().value())
                ></textarea>
                <p class="hint">
                    "C, CUDA, or Python (loops, NumPy, PyTorch, JAX, Triton): a function, a module or a fragment; or StableHLO."
                </p>
            </div>
            {Field::new("defines", "Parameters", form.defines)
                .placeholder("N=1024, M=64")
                .hint("Trip counts and extents. Those without a value get a stated default.")
                .input()}
            {sliders(app)}
            {Field::new("shapes", "Shapes of arrays", form.shapes)
                .placeholder("a: f32[M, K]; b: f32[K, N]")
                .hint("Where the source does not say.")
                .input()}
            <details>
                <summary>"Language, function, types"</summary>
                {Field::new("language", "Language", form.language).choice(languages)}
                {Field::new("function", "Function", form.function)
                    .placeholder("the only one")
                    .hint("If there are several that no other calls.")
                    .input()}
                {Field::new("element", "Element type", form.element).choice(elements)}
                {Field::new("probability", "Conditions on data hold with probability", form.probability)
                    .placeholder("0.5")
                    .hint("Or a comment beside the condition: probability: 0.3")
                    .input()}
            </details>
        </fieldset>
        <fieldset>
            <legend>"Machine"</legend>
            {Field::new("kernel-device", "Device", form.device).choice(devices)}
            {Field::new("opt_level", "Compiled with", form.opt_level).choice(opt_levels)}
            {Field::new("compiler", "Compiler", form.compiler).choice(compilers)}
            {Field::new("backward", "Passes", form.backward).choice(passes)}
            {Field::new("warm", "Caches", form.warm).choice(caches)}
            {Field::new("cores", "Cores", form.cores)
                .placeholder("1")
                .hint("They share loops behind #pragma omp parallel for, or over prange.")
                .input()}
            {Field::new("levels", "Caches instead of the device's", form.levels)
                .placeholder("L1=32KiB, L2=512KiB")
                .hint("Fully associative, LRU, nearest first.")
                .input()}
            {Field::new("line_bytes", "Bytes per cache line", form.line_bytes).placeholder("the device's").input()}
            {Field::new("budget", "Work for misses, in lines touched", form.budget)
                .placeholder("120000000")
                .hint("Beyond it misses are sampled, and the answer says so.")
                .input()}
        </fieldset>
    }
}

/// Predict, Cancel, progress, and what went wrong.
const RUN_BAR: RunBar = RunBar {
    form_id: "kernel-form",
    run_id: "predict",
    run: "Predict",
    cancel_id: "kernel-cancel",
    status_id: "kernel-status",
    stale_id: "kernel-stale",
    stale: "The prediction is of the last run. Press Predict for these settings.",
    error_id: "kernel-error",
    cancelled: "The prediction was cancelled.",
};

fn run_bar(app: App) -> impl IntoView {
    let changed = yes(move || {
        let asked = app.form.request().ok();
        let shown = app.engine.answer.with(|answer| answer.as_ref().map(|answer| answer.request.clone()));
        shown.is_some_and(|shown| asked.is_some_and(|asked| asked != shown))
    });
    RUN_BAR.view(app.engine.phase, yes(|| false), changed, app.notice.into(), move || app.engine.cancel())
}
