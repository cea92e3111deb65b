//! What the targets of model files share.

use accel_core::error::Error;
use accel_core::progress::Unattended;
use accel_core::import::Format;
use accel_core::import::input::Input;
use accel_core::recipe::{FileSource, Workload};

/// Reads the bytes in `format` and makes the trace of a run.
pub fn check(format: Format, bytes: &[u8]) {
    let source = FileSource { name: "input".into(), format: Some(format), columns: None };
    match Workload::File(source).trace_with(1, &Input::new("input", bytes), &mut Unattended) {
        Ok((trace, _)) => {
            let summary = trace.summary();
            assert!(summary.unique_bytes <= summary.requested_bytes && summary.tensors <= summary.accesses);
        }
        Err(Error::Internal(problem)) => panic!("{problem}"),
        Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
    }
}
