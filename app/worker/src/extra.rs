//! The worker's side of the module `accel-extra`, which is loaded when it is first needed.

use accel_core::error::Error;
use accel_core::trace::Trace;
use accel_ui::module;
use accel_worker::protocol::{self, Answer};
use js_sys::{Array, BigInt, Function, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};

/// The loaded module.
pub(crate) struct Extra(JsValue);

/// Loads the module, unless it was loaded before.
pub(crate) async fn load() -> Result<Extra, Error> {
    module::load("accel-extra", "the part of the page that reads files and compares traces").await.map(Extra)
}

impl Extra {
    fn call(&self, name: &str, arguments: &Array) -> Answer {
        let broken = |what: &str| Error::Internal(format!("{name} of the module: {what}"));
        let function: Function =
            Reflect::get(&self.0, &name.into()).and_then(JsCast::dyn_into).map_err(|_| broken("is missing"))?;
        let answer = function.apply(&JsValue::NULL, arguments).map_err(|_| Error::TooLarge {
            problem: "the browser ran out of memory, or the program broke".into(),
            cure: "Use the command line: accel simulate --trace FILE".into(),
        })?;
        let bytes: Uint8Array = answer.dyn_into().map_err(|_| broken("no bytes"))?;
        Ok(bytes.to_vec())
    }

    /// The trace of a workload with its file.
    pub(crate) fn trace(
        &self,
        workload: &str,
        (seed, capacity_bytes): (u64, u64),
        name: &str,
        bytes: &Uint8Array,
        report: &Closure<dyn Fn(f64, f64)>,
    ) -> Result<Trace, Error> {
        let arguments = [
            workload.into(),
            BigInt::from(seed).into(),
            BigInt::from(capacity_bytes).into(),
            name.into(),
            bytes.into(),
            report.as_ref().clone(),
        ];
        protocol::read(self.call("trace", &arguments.into_iter().collect()))
    }

    /// How the records of a file that begins with `head` follow one another: bytes of each, 1 where they are lines, 0
    /// where nobody knows.
    pub(crate) fn records(&self, head: &Uint8Array) -> u32 {
        let records: Result<Function, _> = Reflect::get(&self.0, &"records".into()).and_then(JsCast::dyn_into);
        let answer = records.and_then(|records| records.call1(&JsValue::NULL, head));
        answer.ok().and_then(|bytes| bytes.as_f64()).unwrap_or_default() as u32
    }

    /// The traffic of the operators of a workload with its file.
    pub(crate) fn traffic(
        &self,
        workload: &str,
        name: &str,
        bytes: &Uint8Array,
        report: &Closure<dyn Fn(f64, f64)>,
    ) -> Answer {
        let arguments = [workload.into(), name.into(), bytes.into(), report.as_ref().clone()];
        self.call("traffic", &arguments.into_iter().collect())
    }

    /// What the operators of a model take; the file is that which describes it, where it has a name.
    pub(crate) fn prices(&self, question: &str, name: &str, bytes: &Uint8Array) -> Answer {
        let arguments: [JsValue; 3] = [question.into(), name.into(), bytes.into()];
        self.call("prices", &arguments.into_iter().collect())
    }

    /// Distributions of a trace.
    pub(crate) fn views(&self, trace: &[u8]) -> Answer {
        self.call("views", &Array::of1(&Uint8Array::from(trace)))
    }

    /// A trace as a file.
    pub(crate) fn write(&self, trace: &[u8], format: &str) -> Answer {
        let arguments: [JsValue; 2] = [Uint8Array::from(trace).into(), format.into()];
        self.call("write", &arguments.into_iter().collect())
    }

    /// A trace beside a profile or a file.
    pub(crate) fn compare(&self, trace: &[u8], profile: &str, name: &str, bytes: &Uint8Array) -> Answer {
        // A function of a text would be against the policy of the page.
        let silent = Closure::<dyn Fn(f64, f64)>::new(|_, _| {});
        let silent = silent.as_ref().clone();
        let arguments: [JsValue; 5] =
            [Uint8Array::from(trace).into(), profile.into(), name.into(), bytes.into(), silent];
        self.call("compare", &arguments.into_iter().collect())
    }
}
