//! A price list of a model: its operators as `accel-core` lists them, priced as `accel-kernel` prices operators.
//!
//! Command line, server and page ask one [`Question`] and show one [`PriceList`].

use accel_core::error::{Error, Place};
use accel_core::import::input::Input;
use accel_core::memory::device::DeviceRef;
use accel_core::progress::Progress;
use accel_core::recipe::{Workload, default_seed};
use accel_core::trace::Op;
use accel_core::workload::plan::listing::{Form, Listed, Listing};
use accel_kernel::list::{Item, price};
use accel_kernel::nest::Element;
use accel_kernel::operator::{Class, Operator, Product, Rows};
use serde::{Deserialize, Serialize};

pub use accel_kernel::DEFAULT_GPU;
pub use accel_kernel::list::{PriceList, Priced};
pub use accel_kernel::report::Advice;

/// What is asked: a run of a model, and a device.
///
/// ```
/// use accel_core::progress::Unattended;
/// use accel_price::Question;
///
/// let asked = br#"{"workload": {"model": {"model": "llama-3-8b"}}, "layer": 0, "phase": "decode"}"#;
/// let list = Question::from_json("question", asked)?.answer(None, &mut Unattended)?;
/// assert_eq!((list.device.as_str(), list.phases.len()), ("h100-sxm", 2));
/// # Ok::<(), accel_core::error::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The run of a model, as a recipe has it; other workloads have no operators.
    pub workload: Workload,
    /// The layer of the model, counted from 0; where absent all of them, and what stands outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u32>,
    /// The part of the run, such as `prefill` or `decode`; all parts where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The device, which must be one that works as a whole; [`DEFAULT_GPU`] where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceRef>,
}

impl Question {
    /// All operators of `workload`, on the device where nobody names another.
    pub fn of(workload: Workload) -> Self {
        Self { workload, layer: None, phase: None, device: None }
    }

    /// Reads a question as JSON; `input` is named in the errors.
    ///
    /// # Errors
    ///
    /// Where the text is no question, at which line and column.
    pub fn from_json(input: &str, text: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(text).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            let cure = "Write {\"workload\": {\"model\": {\"model\": NAME, ...}}, \"layer\": N, \"device\": NAME}";
            let problem = e.to_string();
            // serde_json repeats the place at the end of its message.
            let problem = problem.split(" at line ").next().unwrap_or_default();
            Error::input(input, place, format!("not a question about the operators of a model: {problem}"), cure)
        })
    }

    /// What the operators take. Of a model that a file describes, `file` is that file.
    ///
    /// # Errors
    ///
    /// Where the workload is no run of a model or one of its fields is out of range, where there is no such layer, part or
    /// device, where the device is one core, and where the sum is larger than a number can be.
    pub fn answer(&self, file: Option<&Input<'_>>, progress: &mut dyn Progress) -> Result<PriceList, Error> {
        if let Workload::Model(run) = &self.workload {
            run.check_fields()?;
        }
        let listing = self.workload.list((default_seed(), self.layer), file, progress)?;
        let phases = phases(&listing);
        let items: Vec<Item> = self.wanted(&listing, &phases)?.into_iter().map(item).collect();
        let device = self.device.clone().unwrap_or_else(|| DeviceRef::Known(DEFAULT_GPU.to_owned()));
        let mut list = price(&items, &device)?;
        list.phases = phases;
        list.assumptions.extend(listing.notes);
        Ok(list)
    }

    /// The operators of the part of the run that is asked for.
    fn wanted<'a>(&self, listing: &'a Listing, phases: &[String]) -> Result<Vec<&'a Listed>, Error> {
        let Some(phase) = &self.phase else { return Ok(listing.operators.iter().collect()) };
        let own: Vec<&Listed> = listing.operators.iter().filter(|own| own.phase == phase).collect();
        if !own.is_empty() {
            return Ok(own);
        }
        let (problem, cure) = match phases {
            [] => ("the run of this model has one part", "Leave it out".to_owned()),
            _ => ("there is no such part", format!("Choose one of {}", phases.join(", "))),
        };
        Err(Error::field("phase", format!("\"{phase}\""), problem, cure))
    }
}

/// The parts of a run, in the order in which they first run.
fn phases(listing: &Listing) -> Vec<String> {
    let mut phases: Vec<String> = Vec::new();
    for own in &listing.operators {
        if !own.phase.is_empty() && !phases.iter().any(|known| known == own.phase) {
            phases.push(own.phase.to_owned());
        }
    }
    phases
}

/// An operator of a model as one of a library.
fn item(own: &Listed) -> Item {
    let element = element(own.bits);
    let (class, sizes, operations) = match own.form {
        Form::Product { batch, m, n, k } => {
            let product = Product { batch: batch as f64, m: m as f64, n: n as f64, k: k as f64 };
            let class = if batch > 1 { Class::Bmm(product) } else { Class::Linear(product) };
            let of = if batch > 1 { format!("{batch} of ") } else { String::new() };
            (class, format!("{of}{m} x {n} x {k}"), 0.0)
        }
        Form::Chain { rows, width } => {
            // As many columns as make the FLOPs: pairs that are masked are no work.
            let (m, k) = (rows as f64, width as f64);
            let n = if m * k > 0.0 { own.flops / (2.0 * m * k) } else { 0.0 };
            let product = Product { batch: 1.0, m, n, k };
            match own.op {
                Op::Attention => (Class::Attention(product), format!("{rows} x {n:.0} x {width}"), 0.0),
                _ => (Class::Linear(product), format!("{rows} x {n:.0} x {width}"), 0.0),
            }
        }
        Form::Rows { rows, columns } => {
            let elements = rows as f64 * columns as f64;
            let shape = Rows { rows: rows as f64, columns: columns as f64 };
            let class = match own.op {
                Op::Norm => Class::Norm(shape),
                Op::Softmax | Op::Gating => Class::Softmax(shape),
                Op::Embedding => Class::Gather { bytes: columns as f64 * own.bits as f64 / 8.0 },
                Op::Pool => Class::Reduction,
                _ => Class::Elementwise,
            };
            // Of what works on elements, no work is known but that there is one operation for each.
            (class, format!("{rows} x {columns}"), own.flops.max(elements))
        }
    };
    let operator = Operator {
        class,
        element,
        read_bytes: own.read_bytes as f64,
        written_bytes: own.written_bytes as f64,
        operations,
    };
    let name = format!("{} {}", own.op.name(), own.name);
    Item { phase: own.phase.to_owned(), name, sizes, operator, runs: own.times }
}

/// The type of elements of that width: of models, widths say enough.
fn element(bits: u64) -> Element {
    match bits {
        0..=8 => Element::I8,
        9..=16 => Element::Bf16,
        17..=32 => Element::F32,
        _ => Element::F64,
    }
}

#[cfg(test)]
mod tests {
    use accel_core::progress::Unattended;
    use accel_core::workload::ModelRef;
    use accel_core::workload::model_run::ModelRun;
    use accel_core::workload::synthetic::Synthetic;

    use super::*;

    fn of(model: &str) -> Question {
        Question::of(Workload::Model(ModelRun { model: ModelRef::Preset(model.into()), ..ModelRun::default() }))
    }

    fn answer(question: &Question) -> Result<PriceList, Error> {
        question.answer(None, &mut Unattended)
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let whole = answer(&of("llama-3-8b")).unwrap();
        assert_eq!(whole.phases, ["prefill", "decode"]);
        let parts: Vec<PriceList> = whole
            .phases
            .iter()
            .map(|phase| answer(&Question { phase: Some(phase.clone()), ..of("llama-3-8b") }).unwrap())
            .collect();
        let sum: f64 = parts.iter().map(|part| part.latency_ms).sum();
        assert!((sum / whole.latency_ms - 1.0).abs() < 1e-9, "{sum} {}", whole.latency_ms);
        for (part, phase) in parts.iter().zip(&whole.phases) {
            assert_eq!(part.phases, whole.phases);
            assert!(part.operators.iter().all(|own| own.phase == *phase));
        }
    }

    #[test]
    fn questions_are_json() {
        let own = Question { layer: Some(3), device: Some(DeviceRef::Known("l4".into())), ..of("gpt2-large") };
        let text = serde_json::to_vec(&own).unwrap();
        assert_eq!(Question::from_json("question", &text).unwrap(), own);
        let error = Question::from_json("body", b"{\"workload\":{},\n\"layers\":1}").unwrap_err().to_string();
        assert!(error.starts_with("body, line ") && error.contains("not a question about the operators"), "{error}");
        assert!(!error.contains(" at line "), "{error}");
    }

    #[test]
    fn what_cannot_be_priced_is_refused_with_the_cure() {
        let phase = |name: &str| Some(name.to_owned());
        let on = |name: &str| Some(DeviceRef::Known(name.into()));
        let no_model = Question::of(Workload::Synthetic(Synthetic::default()));
        let mut no_tokens = of("llama-3-8b");
        if let Workload::Model(run) = &mut no_tokens.workload {
            run.prompt_tokens = Some(0);
        }
        for (question, field, says) in [
            (Question { layer: Some(32), ..of("llama-3-8b") }, "layer", "the model has 32 layers"),
            (Question { phase: phase("forward"), ..of("llama-3-8b") }, "phase", "Choose one of prefill, decode"),
            (Question { phase: phase("decode"), ..of("resnet-18") }, "phase", "Leave it out"),
            (Question { device: on("epyc-7452"), ..of("gpt2-large") }, "device", "h100-sxm"),
            (Question { device: on("no-such"), ..of("gpt2-large") }, "device", "no such device"),
            (no_model, "workload", "Name a model"),
            (no_tokens, "prompt_tokens", "Choose"),
        ] {
            let error = answer(&question).unwrap_err();
            assert_eq!(error.field_name(), Some(field), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
