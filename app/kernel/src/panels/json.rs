//! The same prediction from the command line and as JSON.

use accel_kernel::report::{OptLevel, Report, Request};
use leptos::prelude::*;

pub(super) fn json(request: &Request, report: &Report) -> impl IntoView + use<> {
    let extension = report.language.extensions()[0];
    let mut command = format!("accel kernel kernel.{extension}");
    for (name, value) in &request.defines {
        command += &format!(" --define {name}={value}");
    }
    for shape in &request.shapes {
        command += &format!(" --shape '{shape}'");
    }
    if let Some(function) = &request.function {
        command += &format!(" --function {function}");
    }
    if let Some(accel_ground::device::DeviceRef::Known(name)) = &request.device {
        command += &format!(" --device {name}");
    }
    for level in request.levels.iter().flatten() {
        command += &format!(" --level {}={}", level.name, level.capacity_bytes);
    }
    if let Some(line) = request.line_bytes {
        command += &format!(" --line-bytes {line}");
    }
    if let Some(compiler) = request.compiler {
        command += &format!(" --compiler {}", compiler.name());
    }
    if request.backward {
        command += " --backward";
    }
    if request.warm {
        command += " --warm";
    }
    let usual = accel_kernel::report::Request::default();
    if request.cores != usual.cores {
        command += &format!(" --cores {}", request.cores);
    }
    if request.budget != usual.budget {
        command += &format!(" --budget {}", request.budget);
    }
    if request.opt_level != OptLevel::default() {
        command += &format!(" --opt-level {:?}", request.opt_level);
    }
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    view! {
        <section class="panel" id="kernel-json">
            <h2>"The same prediction elsewhere"</h2>
            <p>
                <code>{command}</code>
            </p>
            <details>
                <summary>"Everything as JSON"</summary>
                <textarea
                    id="kernel-outcome"
                    rows="16"
                    readonly
                    aria-label="The prediction as JSON"
                    prop:value=text
                ></textarea>
            </details>
        </section>
    }
}
