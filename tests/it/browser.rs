//! The page as a user meets it, in headless Chromium.
//!
//! `cargo xtask test` builds the page and names it in ACCEL_PAGE, the browser in CHROME and its driver in
//! CHROMEDRIVER. The page is served from a sub-path by a plain file server, without any backend.

use accel_core::curve::Grid;
use accel_core::import::input::Input;
use accel_core::import::model_of_weights;
use accel_core::memory::device::DeviceRef;
use accel_core::memory::{Cost, Level, Memory, Physical};
use accel_core::policy::{Admission, POLICIES, PolicyKind};
use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::recipe::{FileSource, Workload};
use accel_core::run::{Outcome, run, run_with};
use accel_core::scenarios::SCENARIOS;
use accel_core::trace::views::Views;
use accel_core::trace::{Summary, Trace};
use accel_core::units::format_count;
use accel_core::validate::profile;
use accel_core::validate::realism::{Reference, realism};
use accel_core::workload::model_run::{Fields, ModelRun, Task};
use accel_core::workload::plan::Dataflow;
use accel_core::workload::synthetic::{ModelType, Pattern, Synthetic};
use accel_core::workload::{ModelRef, presets, presets::PRESETS};
use accel_kernel::predict;
use accel_kernel::report::{self, OptLevel, Request};
use accel_tests::browser::Browser;
use accel_tests::{accel, root, serve_model, shared_data, tiny_model};
use serde_json::Value;

/// The recipes that native and WASM must agree on, bit for bit.
fn recipes() -> Vec<Recipe> {
    let mut recipes = vec![Recipe::default()];
    for (i, preset) in PRESETS.iter().enumerate() {
        let config = preset.config().unwrap();
        let task = Task::ALL[i % 2];
        let means = Fields::of(&config, task);
        let workload = Workload::Model(ModelRun {
            model: ModelRef::Config(Box::new(config)),
            batch_size: 2,
            prompt_tokens: (means.prompt_tokens && preset.name != "vit-b-16").then_some(33),
            decode_tokens: means.decode_tokens.then_some(3),
            task,
            dataflow: (i % 3 == 0).then(|| Dataflow::ALL[i % 2]),
            // Large enough that dataflows do not make millions of accesses.
            tile_bytes: Some(32 << 20),
            ..ModelRun::default()
        });
        let mut recipe = Recipe { workload, ..Recipe::default() };
        recipe.memory.capacity_bytes = 1_234_567_891;
        recipes.push(recipe);
    }
    recipes.extend(SCENARIOS.iter().map(|scenario| Recipe { curve: None, ..scenario.recipe() }));
    for (i, model_type) in ModelType::ALL.into_iter().enumerate() {
        for (pattern, reuse_probability, num_layers) in
            [(Pattern::Interleaved, 0.3, 12), (Pattern::Interleaved, 0.123_456_789, 500), (Pattern::Burst, 0.9, 48)]
        {
            let synthetic = Synthetic { model_type, pattern, reuse_probability, num_layers, ..Synthetic::default() };
            let mut recipe =
                Recipe { workload: Workload::Synthetic(synthetic), seed: 1000 + i as u64, ..Recipe::default() };
            recipe.memory.capacity_bytes = 64_000_000 * (1 + i as u64);
            recipes.push(recipe);
        }
    }
    recipes.push(deep_recipe(Admission::Always));
    recipes.push(deep_recipe(Admission::Bypass));
    let mut ruled = deep_recipe(Admission::Always);
    ruled.memory.admission = "adaptsize(every=1000)".parse().unwrap();
    ruled.memory.pinned.push("*.h.0.*".parse().unwrap());
    ruled.memory.shares.push("kv_cache=0.2".parse().unwrap());
    ruled.memory.watermark = 0.9;
    recipes.push(ruled);
    recipes
}

/// Everything at once: all policies, a device with two levels below, bounds and curves.
fn deep_recipe(admission: Admission) -> Recipe {
    let level = |name: &str, capacity_bytes, policy| Level {
        name: name.into(),
        capacity_bytes,
        policy,
        gb_s: 31.5,
        latency_ns: 1000.0,
    };
    let physical = Physical {
        device: DeviceRef::Known("h100-sxm".into()),
        prefetch_depth: 3,
        below: vec![
            level("HBM", 1_000_000_000, PolicyKind::Sieve.into()),
            level("host", 3_000_000_000, PolicyKind::Gdsf.into()),
        ],
    };
    let model = ModelRef::Preset("gpt2-large".into());
    Recipe {
        workload: Workload::Model(ModelRun { model, decode_tokens: Some(3), ..ModelRun::default() }),
        memory: Memory { admission: admission.into(), cost: Cost::Physical(physical), ..Memory::new(700_000_001) },
        policies: POLICIES.iter().map(|p| p.kind.into()).collect(),
        curve: Some(Grid { points: 4, capacities: Vec::new() }),
        ..Recipe::default()
    }
}

#[tokio::test]
async fn run_on_the_mistral_preset_shows_the_numbers_of_the_command_line() {
    let browser = Browser::start(1280, 1000).await;
    browser.open("").await;
    browser.wait_for_results().await;
    // The first experiment explains itself, and its policies differ.
    let words = browser.script("return document.querySelector('#explanation').textContent").await;
    let words = words.as_str().unwrap();
    assert!(words.contains("ML hits") && words.contains("LRU puts each one out"), "{words}");

    browser.type_into("model", "mistral-7b").await;
    browser.type_into("capacity_bytes", "6GB").await;
    browser.wait_for("the note on changed settings", "return !!document.querySelector('#stale')").await;
    browser.find("#run").await.click().await.unwrap();
    browser
        .wait_for("new results", "return document.querySelector('caption')?.innerText.includes('6,000,000,000 bytes')")
        .await;
    browser.wait_for_results().await;

    let fragment = browser.script("return location.hash").await.as_str().unwrap().to_owned();
    let printed = accel(["simulate", "--recipe", &fragment, "--json"]).unwrap();
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["runs"].as_array().unwrap().len(), 3);
    for run in printed["runs"].as_array().unwrap() {
        let policy = run["policy"].as_str().unwrap();
        for metric in ["hits", "misses", "evictions", "bypassed"] {
            let expected = run[metric].as_u64().unwrap();
            assert_eq!(
                browser.metric(policy, metric).await,
                (format_count(expected), expected as f64),
                "{policy} {metric}"
            );
        }
        assert_eq!(browser.metric(policy, "miss_bytes").await.1, run["miss_bytes"].as_f64().unwrap(), "{policy}");
        // The device that fits a model counts the time, and that of its tokens.
        let timed = &run["physical"];
        for (metric, place) in [
            ("total_ms", &timed["total_ms"]),
            ("stall_ms", &timed["stall_ms"]),
            ("ttft_ms", &timed["tokens"]["ttft_ms"]),
            ("ms_per_token", &timed["tokens"]["ms_per_token"]),
            ("tokens_per_s", &timed["tokens"]["tokens_per_s"]),
        ] {
            // Read like the figure of the command line: serde_json may miss the last digit of a number.
            let shown = serde_json::to_string(&browser.metric(policy, metric).await.1).unwrap();
            let shown: f64 = serde_json::from_str(&shown).unwrap();
            assert_eq!(shown, place.as_f64().unwrap(), "{policy} {metric}");
        }
        assert_eq!(run["capacity_bytes"], 6_000_000_000u64);
    }
    let summary = browser.find("#summary").await.text().await.unwrap();
    assert!(summary.contains(&format_count(printed["trace"]["accesses"].as_u64().unwrap())), "{summary}");
    browser.end().await;
}

/// A first visitor sees an answer before anything is computed; the line above it opens fields, and runs by itself what is
/// quick.
#[tokio::test]
async fn the_first_answer_comes_with_the_page() {
    let browser = Browser::start(1440, 900).await;
    browser.open("").await;
    browser.wait_for_results().await;
    let worker = "return performance.getEntriesByType('resource').some(e => e.initiatorType === 'other' && e.name.includes('start'))";
    assert_eq!(browser.script(worker).await, Value::Bool(false), "the worker is loaded before it is needed");
    let native = run(&Recipe::default(), &mut Unattended).unwrap();
    assert_eq!(browser.find("#verdict").await.text().await.unwrap(), native.headline);
    assert!(browser.outcome_json().await == serde_json::to_string(&native).unwrap());
    assert_eq!(browser.script("return document.querySelectorAll('#cards .card').length").await, 5);

    // The policies by what they fetch; one may be looked at alone.
    let mut runs: Vec<_> = native.runs.iter().collect();
    runs.sort_by_key(|run| run.miss_bytes);
    let titles: Vec<String> = runs.iter().map(|run| run.policy.title()).collect();
    let shown =
        browser.script("return [...document.querySelectorAll('.ranking button')].map(b => b.innerText.trim())").await;
    assert_eq!(shown, serde_json::json!(titles));
    browser.find(".ranking li:first-child button").await.click().await.unwrap();
    let pale = "return document.querySelectorAll('.ranking li.pale').length";
    assert_eq!(browser.script(pale).await, titles.len() as u64 - 1);

    // A field at fault is told in the line that is always in view, with the way to it.
    browser.type_into("capacity_bytes", "lots").await;
    browser
        .wait_for("the error", "return document.querySelector('#error')?.innerText.includes('unit is not one of')")
        .await;
    browser.find("#show-field").await.click().await.unwrap();
    // Once the form is there, which on a phone it is not before.
    browser.wait_for("the field", "return document.activeElement.id === 'capacity_bytes'").await;
    browser.type_into("capacity_bytes", "4GiB").await;
    // By itself: what came with the page took no time.
    let new = "return document.querySelector('caption')?.innerText.includes('4,294,967,296 bytes')";
    browser.wait_for("new results", new).await;
    browser.wait_for("results that are not pale", "return !document.querySelector('#results.stale')").await;
    assert_eq!(browser.script(worker).await, Value::Bool(true));
    browser.end().await;
}

#[tokio::test]
async fn native_and_wasm_agree_bit_for_bit() {
    let browser = Browser::start(1280, 1000).await;
    for recipe in recipes() {
        browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
        browser.wait_for_results().await;
        let native = run(&recipe, &mut Unattended).unwrap();
        let native = serde_json::to_string(&native).unwrap();
        assert!(browser.outcome_json().await == native, "different outcomes for {}", recipe.to_json().unwrap());
    }
    browser.end().await;
}

#[tokio::test]
async fn bad_input_shows_what_is_wrong_beside_the_field() {
    let browser = Browser::start(1280, 1000).await;
    browser.open("").await;
    browser.wait_for_results().await;
    for (field, text, wanted) in [
        ("capacity_bytes", "0", "A memory without capacity holds nothing"),
        ("capacity_bytes", "-3MB", "finite number"),
        ("capacity_bytes", "lots", "The unit is not one of"),
        ("prompt_tokens", "0", "Out of range. Choose a value from 1 to 131072"),
        ("prompt_tokens", "NaN", "Not a number"),
        ("decode_tokens", "9999999", "Out of range"),
        ("batch_size", "", "Not a number"),
        ("seed", "-1", "Not a number"),
    ] {
        let before = browser.script(&format!("return document.getElementById('{field}').value")).await;
        browser.type_into(field, text).await;
        let problem = browser.find(&format!("#{field}-problem")).await.text().await.unwrap();
        assert!(problem.contains(wanted), "{field} = {text:?} shows {problem:?}");
        assert!(browser.find("#run").await.attr("disabled").await.unwrap().is_some());
        browser.type_into(field, before.as_str().unwrap()).await;
        assert_eq!(browser.find(&format!("#{field}-problem")).await.text().await.unwrap(), "");
    }
    browser.type_into("model", "config.json").await;
    browser.type_into("config", "{\"model_type\": \"mystery\"}").await;
    let problem = browser.find("#config-problem").await.text().await.unwrap();
    assert!(problem.contains("\"mystery\" is not supported"), "{problem}");
    let config = serde_json::to_string(&presets::find("gpt2-large").unwrap().config().unwrap()).unwrap();
    browser.type_into("config", &config).await;
    assert_eq!(browser.find("#config-problem").await.text().await.unwrap(), "");
    browser.find("#run").await.click().await.unwrap();
    browser
        .wait_for("GPT-2", "return document.querySelector('#details')?.innerText.includes('774,030,080 parameters')")
        .await;

    for policy in ["lru", "fifo", "ml"] {
        browser.find(&format!("#policy-{policy}")).await.click().await.unwrap();
    }
    let problem = browser.find("#policies-problem").await.text().await.unwrap();
    assert!(problem.contains("Choose at least one policy"), "{problem}");

    // A fault in a folded part of the form unfolds it.
    let run = ModelRun { tile_bytes: Some(5), ..ModelRun::default() };
    let recipe = Recipe { workload: Workload::Model(run), ..Recipe::default() };
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    let visible = "const p = document.querySelector('#tile_bytes-problem'); return p?.innerText.includes('1024') && p.checkVisibility()";
    browser.wait_for("the error of the folded field", visible).await;

    browser.open("#r=garbage").await;
    browser
        .wait_for(
            "the link's error",
            "return document.querySelector('#error')?.innerText.includes('link cannot be opened')",
        )
        .await;
    browser.end().await;
}

/// Hands `content` to the page as if it were dropped on it.
pub(crate) async fn drop_file(browser: &Browser, name: &str, content: &[u8]) {
    let bytes = content.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    browser
        .script(&format!(
            "const data = new DataTransfer(); data.items.add(new File([new Uint8Array([{bytes}])], {name:?}));
             window.dispatchEvent(new DragEvent('drop', {{dataTransfer: data, bubbles: true, cancelable: true}})); return true"
        ))
        .await;
}

#[tokio::test]
async fn files_may_be_dropped_anywhere() {
    let browser = Browser::start(1280, 1000).await;
    browser.open("").await;
    browser.wait_for_results().await;

    let csv = accel(["trace", "generate", "--synthetic", "CNN"]).unwrap();
    drop_file(&browser, "cnn.csv", csv.as_bytes()).await;
    let accesses = format_count(csv.lines().count() as u64 - 1);
    browser
        .wait_for(
            "the CSV",
            &format!("return document.querySelector('#summary')?.innerText.startsWith('{accesses} accesses')"),
        )
        .await;

    if let Some(file) = shared_data("block_io.oracleGeneral.bin") {
        let bytes = std::fs::read(file).unwrap();
        // Only the first records: the whole file would be a very long script.
        let head = &bytes[..24 * 2000];
        drop_file(&browser, "head.bin", head).await;
        browser
            .wait_for(
                "the binary trace",
                "return document.querySelector('#summary')?.innerText.startsWith('2,000 accesses')",
            )
            .await;
    }

    // Two whole records that are never used again, and the first byte of a third.
    let record = [[0; 16].as_slice(), &[0xff; 8]].concat();
    drop_file(&browser, "cut.bin", &[record.as_slice(), &record, &[0]].concat()).await;
    browser
        .wait_for("an error", "return document.querySelector('#error')?.innerText.includes('cut.bin, byte 48')")
        .await;
    drop_file(&browser, "broken.json", b"{\"hidden_size\": }").await;
    browser
        .wait_for("an error", "return document.querySelector('#config-problem')?.innerText.includes('line 1, column')")
        .await;
    let config = serde_json::to_string(&PRESETS[1].config().unwrap()).unwrap();
    drop_file(&browser, "config.json", config.as_bytes()).await;
    browser
        .wait_for("Llama", "return document.querySelector('#details')?.innerText.includes('6,738,415,616 parameters')")
        .await;
    let recipe = Recipe { policies: vec![PolicyKind::Fifo.into()], ..Recipe::default() };
    drop_file(&browser, "recipe.json", recipe.to_json().unwrap().as_bytes()).await;
    browser.wait_for("the recipe", "return document.querySelectorAll('#metrics thead th').length === 2").await;
    browser.end().await;
}

/// Goes to a tab by its name.
pub(crate) async fn show_tab(browser: &Browser, name: &str) {
    let click =
        format!("[...document.querySelectorAll('nav a')].find(a => a.innerText === '{name}').click(); return true");
    browser.script(&click).await;
}

/// Waits for the results of a run over `trace`.
async fn wait_for_trace(browser: &Browser, trace: &Trace) {
    let Summary { accesses, tensors, .. } = trace.summary();
    let wanted = format!("{} accesses to {} tensors", format_count(accesses), format_count(tensors));
    let shown = format!("return document.querySelector('#summary')?.innerText.startsWith('{wanted}')");
    browser.wait_for(&wanted, &shown).await;
    browser.wait_for_results().await;
}

/// Every kind of file, read by the module that the page loads for it, gives what the same file gives natively.
#[tokio::test]
async fn files_read_by_the_page_and_natively_agree() {
    let browser = Browser::start(1280, 1000).await;
    browser.open("").await;
    browser.wait_for_results().await;
    for name in [
        "onnx/tiny_attention.onnx",
        "weights/tiny.safetensors",
        "chakra/tiny.et",
        "kineto/mlp_train.json.gz",
        "et/mlp_train_schema_1_0_1.json.gz",
        "et/transformer_train.json.gz",
    ] {
        let bytes = std::fs::read(root().join("tests/fixtures").join(name)).unwrap();
        let short = name.rsplit('/').next().unwrap();
        let source = FileSource::named(short);
        let workload = match name.starts_with("onnx") {
            true => Workload::Model(ModelRun { model: ModelRef::File { file: short.into() }, ..ModelRun::default() }),
            false => Workload::File(source),
        };
        let (trace, _) = workload.trace_with((42, u64::MAX), &Input::new(short, &bytes), &mut Unattended).unwrap();
        drop_file(&browser, short, &bytes).await;
        wait_for_trace(&browser, &trace).await;
        let fragment = browser.script("return location.hash").await.as_str().unwrap().to_owned();
        let recipe = Recipe::from_fragment(&fragment).unwrap();
        assert_eq!(recipe.workload, workload);
        let native = run_with(&recipe, Some(trace), &mut Unattended).unwrap();
        assert!(
            browser.outcome_json().await == serde_json::to_string(&native).unwrap(),
            "different outcomes for {name}"
        );
    }
    // The header of whole weights is a model.
    let bytes = std::fs::read(root().join("tests/fixtures/weights/tiny.gguf")).unwrap();
    let config = model_of_weights("tiny.gguf", &bytes).unwrap();
    drop_file(&browser, "tiny.gguf", &bytes).await;
    browser
        .wait_for("the model", "return document.querySelector('#note').innerText.startsWith('Capacity set to ') && location.hash.length > 10")
        .await;
    browser.wait_for_results().await;
    let fragment = browser.script("return location.hash").await.as_str().unwrap().to_owned();
    let recipe = Recipe::from_fragment(&fragment).unwrap();
    let Workload::Model(run) = &recipe.workload else { panic!("{fragment}") };
    assert_eq!(run.model, ModelRef::Config(Box::new(config)));
    let native = run_with(&recipe, None, &mut Unattended).unwrap();
    assert!(browser.outcome_json().await == serde_json::to_string(&native).unwrap(), "different outcomes for GGUF");
    drop_file(&browser, "broken.onnx", b"\x08\x07\x3a\x02\x0a\x09").await;
    browser
        .wait_for(
            "an error",
            "return document.querySelector('#error')?.innerText.includes('broken.onnx, whole input: not an ONNX model')",
        )
        .await;
    browser.end().await;
}

/// The views and the comparison of the trace are those that the core computes.
#[tokio::test]
async fn views_and_realism() {
    let name = "transformer_train.json.gz";
    let bytes = std::fs::read(root().join("tests/fixtures/et").join(name)).unwrap();
    let source = FileSource::named(name);
    let (trace, _) =
        Workload::File(source).trace_with((0, u64::MAX), &Input::new(name, &bytes), &mut Unattended).unwrap();
    let views = Views::of(&trace);
    let compared = realism(&trace, Reference::Profile(profile::find("gpt2-large").unwrap())).unwrap();
    for (shot, width, height, dark) in [("trace-desktop", 1280, 6000, false), ("trace-phone", 500, 8000, true)] {
        let browser = Browser::start(width, height).await;
        browser.open("").await;
        browser.wait_for_results().await;
        if dark {
            browser.script("[...document.querySelectorAll('button')].find(b => b.innerText === 'Dark theme').click(); return true").await;
        }
        drop_file(&browser, name, &bytes).await;
        let accesses = format_count(trace.summary().accesses);
        browser
            .wait_for(
                "the trace",
                &format!("return document.querySelector('#summary')?.innerText.startsWith('{accesses} accesses')"),
            )
            .await;
        show_tab(&browser, "Trace").await;
        browser.unfold("trace-views").await;
        browser.wait_for("the views", "return document.querySelectorAll('#trace-views .chart svg').length === 5").await;
        let rows = browser.script("return document.querySelectorAll('#trace-kinds tbody tr').length").await;
        assert_eq!(rows, views.kinds.len());
        browser.unfold("realism").await;
        browser.type_into("reference", "gpt2-large").await;
        browser
            .wait_for("the comparison", "return document.querySelectorAll('#realism .chart svg').length === 2")
            .await;
        assert_eq!(browser.find("#realism-words").await.text().await.unwrap(), compared.interpretation);
        // The file is the trace itself: nothing lies nearer.
        browser.type_into("reference", "file").await;
        browser
            .wait_for(
                "the file",
                "return document.querySelector('#realism-table')?.innerText.includes('0.000 (negligible)')",
            )
            .await;
        let overflow =
            browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, 0, "{shot} scrolls sideways");
        browser.screenshot(&format!("{shot}.png")).await;
        browser.end().await;
    }
}

#[tokio::test]
async fn a_question_fills_the_form_and_runs() {
    let browser = Browser::start(1280, 1000).await;
    browser.open("").await;
    browser.wait_for_results().await;
    for scenario in SCENARIOS {
        browser.type_into("scenario", scenario.name).await;
        let recipe = scenario.recipe();
        wait_for_trace(&browser, &recipe.trace(None).unwrap()).await;
        let fragment = browser.script("return location.hash").await.as_str().unwrap().to_owned();
        assert_eq!(Recipe::from_fragment(&fragment).unwrap(), scenario.recipe(), "{}", scenario.name);
    }
    browser.end().await;
}

/// The page, a plain file elsewhere, asks a server's model to score, and gets what the command line gets.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_model_scores_for_the_page() {
    let browser = Browser::start(1280, 1000).await;
    let folder = tempfile::tempdir().unwrap();
    let origins = vec![browser.origin().parse().unwrap()];
    let server = serve_model(tiny_model(folder.path()).unwrap(), origins).await.unwrap();
    let recipe = Recipe {
        workload: Workload::Synthetic(Synthetic::default()),
        memory: Memory::default(),
        policies: vec![PolicyKind::Lru.into(), PolicyKind::Ml.into()],
        ..Recipe::default()
    };
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    let by_heuristic: Outcome = serde_json::from_str(&browser.outcome_json().await).unwrap();

    browser.type_into("scorer", "http://127.0.0.1:9").await;
    browser.find("#run").await.click().await.unwrap();
    let script = "return document.querySelector('#error')?.innerText.includes('the server cannot be reached')";
    browser.wait_for("what is wrong", script).await;
    // The console shows it as well.
    browser.console_errors().await;

    browser.type_into("scorer", &server).await;
    browser.find("#run").await.click().await.unwrap();
    browser.wait_for_results().await;
    show_tab(&browser, "Scores").await;
    let script = "return document.body.textContent.includes('asked for each access how long')";
    browser.wait_for("who scored", script).await;
    let asked: Outcome = serde_json::from_str(&browser.outcome_json().await).unwrap();
    assert_eq!(asked.runs[0], by_heuristic.runs[0]);
    assert_ne!(asked.runs[1], by_heuristic.runs[1]);

    let file = folder.path().join("recipe.json");
    std::fs::write(&file, recipe.to_json().unwrap()).unwrap();
    let natively = tokio::task::spawn_blocking(move || {
        let arguments = ["simulate", "--recipe", file.to_str().unwrap(), "--json", "--scorer", &server];
        serde_json::from_str::<Value>(&accel(arguments).unwrap()).unwrap()
    });
    let natively = natively.await.unwrap();
    assert_eq!(natively["runs"][1]["hits"], asked.runs[1].hits);
    assert_eq!(natively["runs"][1]["miss_bytes"], asked.runs[1].miss_bytes);
    browser.end().await;
}

#[tokio::test]
async fn a_long_run_shows_progress_and_can_be_cancelled() {
    let browser = Browser::start(1280, 1000).await;
    let run = ModelRun { decode_tokens: Some(400), tile_bytes: Some(1 << 20), ..ModelRun::default() };
    let recipe = Recipe { workload: Workload::Model(run), ..Recipe::default() };
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser
        .wait_for(
            "progress",
            "const p = document.querySelector('progress[value]'); return !!p && p.position > 0 && p.position <= 1",
        )
        .await;
    browser.find("#cancel").await.click().await.unwrap();
    browser.wait_for("the end", "return document.querySelector('#error')?.innerText.includes('cancelled')").await;
    // And the worker takes the next run.
    browser.type_into("decode_tokens", "1").await;
    browser.find("#run").await.click().await.unwrap();
    browser.wait_for_results().await;
    browser.end().await;
}

#[tokio::test]
async fn scores_charts_validation_and_both_themes() {
    for (name, width, height, dark) in [
        ("desktop-light", 1280, 2100, false),
        ("desktop-dark", 1280, 2100, true),
        ("phone-light", 500, 3600, false),
        ("phone-dark", 500, 3600, true),
    ] {
        let browser = Browser::start(width, height).await;
        browser.open("").await;
        browser.wait_for_results().await;
        if dark {
            browser.script("[...document.querySelectorAll('button')].find(b => b.innerText === 'Dark theme').click(); return true").await;
            browser.wait_for("the dark theme", "return document.documentElement.className === 'dark'").await;
        }
        browser.wait_for("charts", "return document.querySelectorAll('#heatmap svg rect').length > 100 && !!document.querySelector('#hit-rates svg')").await;
        browser.screenshot(&format!("{name}.png")).await;
        show_tab(&browser, "Scores").await;
        browser.wait_for("scores", "return document.querySelectorAll('#scores tbody tr').length === 20").await;
        browser.wait_for("scatters", "return document.querySelectorAll('#scatter .chart svg').length === 3").await;
        let overflow =
            browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, 0, "{name} scrolls sideways");
        browser.screenshot(&format!("scores-{name}.png")).await;
        browser.end().await;
    }
    let browser = Browser::start(1280, 2100).await;
    let recipe =
        Recipe { workload: Workload::Synthetic(Synthetic::default()), memory: Memory::default(), ..Recipe::default() };
    let expected: Outcome = run(&recipe, &mut Unattended).unwrap();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    show_tab(&browser, "Trace").await;
    let verdict = browser.find("#interpretation").await.text().await.unwrap();
    assert_eq!(verdict, expected.validation.unwrap().interpretation);
    browser.screenshot("synthetic.png").await;
    browser.end().await;
}

#[tokio::test]
async fn bounds_curves_devices_and_reasons() {
    let recipe = deep_recipe(Admission::Bypass);
    let expected = run(&recipe, &mut Unattended).unwrap();
    for (name, width, height, dark) in [
        ("deep-desktop-light", 1280, 3600, false),
        ("deep-desktop-dark", 1280, 3600, true),
        ("deep-phone-light", 500, 6000, false),
        ("deep-phone-dark", 500, 6000, true),
    ] {
        let browser = Browser::start(width, height).await;
        browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
        browser.wait_for_results().await;
        if dark {
            browser.script("[...document.querySelectorAll('button')].find(b => b.innerText === 'Dark theme').click(); return true").await;
            browser.wait_for("the dark theme", "return document.documentElement.className === 'dark'").await;
        }
        browser.wait_for("the curve", "return !!document.querySelector('#curve-chart svg polyline')").await;
        for panel in ["why", "bounds-panel", "on-device"] {
            browser.unfold(panel).await;
        }
        let rows = |table: &str| format!("return document.querySelectorAll('#{table} tbody tr').length");
        let policies = recipe.policies.len();
        for (table, expected) in [
            ("bounds-table", 3),
            ("curve-table", policies),
            ("device-table", policies),
            ("levels-table", 2 * policies),
            ("kinds-table", 3),
        ] {
            assert_eq!(browser.script(&rows(table)).await, expected, "{table}");
        }
        let text = browser.find("#bounds-table").await.text().await.unwrap();
        let lower = format_count(expected.bounds.as_ref().unwrap().misses.lower);
        assert!(text.contains(&lower), "{lower} is missing in {text}");
        // The reasons of another policy.
        let evictions = format_count(expected.runs[1].evictions);
        browser.type_into("why-policy", &expected.runs[1].policy.title()).await;
        browser
            .wait_for(
                "FIFO's reasons",
                &format!(
                    "return document.querySelector('#why p')?.innerText.includes('FIFO evicts {evictions} times')"
                ),
            )
            .await;
        let overflow =
            browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, 0, "{name} scrolls sideways");
        browser.screenshot(&format!("{name}.png")).await;
        browser.end().await;
    }
    let browser = Browser::start(1280, 1000).await;
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    for (field, text, wanted) in [
        ("physical", "{\"device\": \"h101\"}", "No such device. Choose one of reference"),
        ("physical", "{\"device\": ", "EOF while parsing"),
        ("points", "1", "Choose a value from 2 to 512"),
    ] {
        let before = browser.script(&format!("return document.getElementById('{field}').value")).await;
        browser.type_into(field, text).await;
        let shown = browser
            .script("return [...document.querySelectorAll('.problem, #error')].map(p => p.innerText).join(' ')")
            .await;
        assert!(shown.as_str().unwrap().contains(wanted), "{field} = {text:?} shows {shown:?}");
        browser.type_into(field, before.as_str().unwrap()).await;
    }
    browser.end().await;
}

/// Waits for the prediction of what was asked last.
pub(crate) async fn wait_for_prediction(browser: &Browser, state: &str) {
    let script = format!("return document.querySelector('#kernel-results')?.dataset.state === '{state}'");
    browser.wait_for("a prediction", &script).await;
}

#[tokio::test]
async fn kernels_are_predicted_as_on_the_command_line() {
    let browser = Browser::start(1280, 1000).await;
    let gemm = "for (int i = 0; i < D; i++) {\n  for (int j = 0; j < D; j++) C[i][j] *= beta;\n  for (int k = 0; k < D; k++)\n    for (int j = 0; j < D; j++) C[i][j] += alpha * A[i][k] * B[k][j];\n}\n";
    let softmax = "import numpy as np\ndef f(x):\n    y = np.exp(x - np.max(x, axis=1, keepdims=True))\n    return y / np.sum(y, axis=1, keepdims=True)\n";
    let positive = "float f(int n, const float *x) {\n  float sum = 0;\n  for (int i = 0; i < n; i++)\n    if (x[i] > 0) /* probability: 0.3 */\n      sum += x[i];\n  return sum;\n}\n";
    let large = report::Level { name: "L1".into(), capacity_bytes: 32 << 10 };
    let requests = [
        Request { code: gemm.into(), levels: Some(vec![large]), ..Request::default() },
        Request { code: softmax.into(), opt_level: OptLevel::O3, ..Request::default() },
        Request { code: positive.into(), defines: [("n".to_owned(), 100_000)].into(), ..Request::default() },
        Request {
            code: "def matmul(a, b): return a @ b".into(),
            device: Some(DeviceRef::Known("h100-sxm".into())),
            ..Request::default()
        },
    ];
    for request in requests {
        browser.open(&format!("#{}", request.to_fragment().unwrap())).await;
        wait_for_prediction(&browser, "done").await;
        let shown = browser.script("return document.querySelector('#kernel-outcome').value").await;
        let native = serde_json::to_string_pretty(&predict(&request, &mut Unattended).unwrap()).unwrap();
        assert!(shown.as_str() == Some(native.as_str()), "different predictions for {}", request.code);
    }
    assert_eq!(browser.script("return document.querySelectorAll('#roofline svg').length").await, 1);
    browser.end().await;
}

#[tokio::test]
async fn the_kernel_page_loads_when_it_is_opened() {
    let browser = Browser::start(390, 844).await;
    let loaded =
        "return performance.getEntriesByType('resource').some((file) => file.name.includes('accel-kernel-page'))";
    browser.open("").await;
    browser.wait_for_results().await;
    assert_eq!(browser.script(loaded).await, false);
    browser.find("nav a[href='#kernel']").await.click().await.unwrap();
    wait_for_prediction(&browser, "done").await;
    assert_eq!(browser.script(loaded).await, true);
    let assumptions = browser.find("#assumptions").await.text().await.unwrap();
    assert!(assumptions.contains("1024"), "{assumptions}");
    assert_eq!(browser.script("return document.documentElement.scrollWidth <= innerWidth").await, true);

    browser.type_into("code", "for (int i = 0; i < N; i++)\n  while (1) A[i] = 0;\n").await;
    browser.find("#predict").await.click().await.unwrap();
    wait_for_prediction(&browser, "failed").await;
    let error = browser.find("#kernel-error").await.text().await.unwrap();
    assert!(error.contains("line 2, column 3"), "{error}");

    // What is typed wrong never reaches the worker.
    browser.type_into("defines", "N=lots").await;
    browser.find("#predict").await.click().await.unwrap();
    let error = browser.find("#kernel-error").await.text().await.unwrap();
    assert!(error.contains("N=lots") && error.contains("whole number"), "{error}");

    browser.find("nav a[href='#']").await.click().await.unwrap();
    browser.wait_for("the memory page", "return document.querySelector('#kernel').hidden").await;
    browser.end().await;
}
