//! The Kernel tab's price list of a model.

use accel_core::import::input::Input;
use accel_core::memory::device::DeviceRef;
use accel_core::progress::Unattended;
use accel_core::recipe::Workload;
use accel_core::workload::ModelRef;
use accel_core::workload::model_run::ModelRun;
use accel_price::Question;
use accel_tests::browser::Browser;
use accel_tests::root;

use crate::browser::{drop_file, show_tab, wait_for_prediction};

/// Waits until the price list is that of `question`.
async fn wait_for_prices(browser: &Browser, question: &Question, file: Option<&Input<'_>>) {
    let list = question.answer(file, &mut Unattended).unwrap();
    let json = serde_json::to_string_pretty(&list).unwrap();
    let shown = format!(
        "return document.querySelector('#price-results')?.dataset.state === 'done'
            && document.querySelector('#price-outcome').value === {json:?}"
    );
    browser.wait_for(&format!("the prices of {question:?}"), &shown).await;
    let rows = browser.script("return document.querySelectorAll('#price-table tbody tr').length").await;
    assert_eq!(rows, list.operators.len().min(100));
}

fn of(model: &str) -> Question {
    Question::of(Workload::Model(ModelRun { model: ModelRef::Preset(model.into()), ..ModelRun::default() }))
}

/// The list is that of the command line and of the server, for what is typed and for what a link says.
#[tokio::test]
async fn prices_of_a_model() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("#kernel").await;
    wait_for_prediction(&browser, "done").await;
    let extra = "return performance.getEntriesByType('resource').some((file) => file.name.includes('accel-extra'))";
    assert_eq!(browser.script(extra).await, false);
    browser.press("//label[span='A model']").await;
    let Workload::Model(run) = accel_core::recipe::Recipe::default().workload else { panic!("no model") };
    wait_for_prices(&browser, &Question::of(Workload::Model(run)), None).await;

    browser.type_into("price-model", "llama-3-8b").await;
    browser.type_into("price-layer", "0").await;
    browser.type_into("price-device", "l4").await;
    let one = Question { layer: Some(0), device: Some(DeviceRef::Known("l4".into())), ..of("llama-3-8b") };
    wait_for_prices(&browser, &one, None).await;
    browser.type_into("price-phase", "decode").await;
    let decode = Question { phase: Some("decode".into()), ..one.clone() };
    wait_for_prices(&browser, &decode, None).await;

    // The link says all of it again.
    browser.script("location.reload(); return true").await;
    wait_for_prices(&browser, &decode, None).await;
    let fields = "return ['price-model', 'price-layer', 'price-phase', 'price-device'].map((id) => document.getElementById(id).value)";
    assert_eq!(browser.script(fields).await, serde_json::json!(["llama-3-8b", "0", "decode", "l4"]));

    // What cannot be priced says why and what to do; source code stands where it stood.
    browser.type_into("price-layer", "99").await;
    let says = |text: &str| format!("return document.querySelector('#price-error').innerText.includes({text:?})");
    browser.wait_for("the number of layers", &says("the model has 32 layers")).await;
    browser.type_into("price-layer", "first").await;
    browser.wait_for("what a layer is", &says("no whole number")).await;
    browser.press("//label[span='Source code']").await;
    wait_for_prediction(&browser, "done").await;
    assert_eq!(browser.script("return location.hash").await, "#kernel");
    browser.end().await;
}

/// A graph that is dropped on the list is priced.
#[tokio::test]
async fn prices_of_a_graph() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("#kernel").await;
    wait_for_prediction(&browser, "done").await;
    browser.press("//label[span='A model']").await;
    browser.wait_for("prices", "return document.querySelector('#price-results')?.dataset.state === 'done'").await;
    let name = "tiny_attention.onnx";
    let bytes = std::fs::read(root().join("tests/fixtures/onnx").join(name)).unwrap();
    drop_file(&browser, name, &bytes).await;
    let run = ModelRun { model: ModelRef::File { file: name.into() }, ..ModelRun::default() };
    wait_for_prices(&browser, &Question::of(Workload::Model(run)), Some(&Input::new(name, &bytes))).await;
    browser.end().await;
}

/// The list at both widths and in both themes; it never scrolls the page sideways.
#[tokio::test]
async fn prices_in_both_themes() {
    for (name, width, height, dark) in [
        ("desktop-light", 1280, 1500, false),
        ("desktop-dark", 1280, 1500, true),
        ("phone-light", 500, 2400, false),
        ("phone-dark", 500, 2400, true),
    ] {
        let browser = Browser::start(width, height).await;
        browser.open("").await;
        browser.wait_for_results().await;
        if dark {
            browser.script("[...document.querySelectorAll('button')].find(b => b.innerText === 'Dark theme').click(); return true").await;
        }
        show_tab(&browser, "Kernel").await;
        browser.press("//label[span='A model']").await;
        browser.wait_for("prices", "return document.querySelector('#price-results')?.dataset.state === 'done'").await;
        let overflow =
            browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, 0, "{name} scrolls sideways");
        browser.screenshot(&format!("prices-{name}.png")).await;
        browser.end().await;
    }
}
