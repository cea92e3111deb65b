//! The other tabs, and the form on a phone.

use accel_core::import::input::Input;
use accel_core::import::{self, Format};
use accel_core::progress::Unattended;
use accel_core::recipe::fields::Field;
use accel_core::recipe::{Recipe, Workload};
use accel_core::recommend::{Design, Wanted, recommend};
use accel_core::run::{run, run_with};
use accel_core::sweep::Sweep;
use accel_core::units::{format_bytes, format_count};
use accel_core::workload::synthetic::Synthetic;
use accel_kernel::report::{Compiler, Language, Request};
use accel_tests::browser::Browser;
use serde_json::{Value, json};

use crate::browser::{drop_file, show_tab, wait_for_prediction};

fn synthetic() -> Recipe {
    let mut recipe = Recipe { workload: Workload::Synthetic(Synthetic::default()), ..Recipe::default() };
    recipe.memory.capacity_bytes = 64_000_000;
    recipe
}

/// The trace is saved in each format that is written, and the core reads the same back.
#[tokio::test]
async fn a_trace_is_saved_in_every_format() {
    let browser = Browser::start(1280, 1400).await;
    let recipe = synthetic();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    show_tab(&browser, "Trace").await;
    browser
        .script(
            "window.saved = []; const make = URL.createObjectURL;
             URL.createObjectURL = (blob) => {
                 blob.arrayBuffer().then((bytes) => window.saved.push([...new Uint8Array(bytes)]));
                 return make(blob);
             };
             return true",
        )
        .await;
    let native = recipe.trace(None).unwrap();
    for (i, format) in Format::all().filter(|format| format.writable()).enumerate() {
        browser.find(&format!("#save-format option[value='{i}']")).await.click().await.unwrap();
        browser.find("#save").await.click().await.unwrap();
        browser.wait_for(format.name(), &format!("return window.saved.length === {}", i + 1)).await;
        let bytes: Vec<u8> =
            serde_json::from_value(browser.script(&format!("return window.saved[{i}]")).await).unwrap();
        assert!(bytes == import::write(format, &native).unwrap(), "{}", format.name());
        let again = import::read(format, &Input::new("trace", &bytes), None, &mut Unattended).unwrap();
        assert_eq!(again.summary().accesses, native.summary().accesses, "{}", format.name());
        let told = browser.script("return document.querySelector('#save-trace [role=status]').innerText").await;
        for lost in import::lost(format, &native) {
            assert!(told.as_str().unwrap().contains(&lost), "{}: {told}", format.name());
        }
    }
    browser.end().await;
}

/// Of the scores only those in sight are made; what is scrolled to is what the core has there.
#[tokio::test]
async fn scores_are_scrolled() {
    let browser = Browser::start(1280, 1400).await;
    let recipe = synthetic();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    show_tab(&browser, "Scores").await;
    let rows = "return [...document.querySelectorAll('#scores tbody tr')].map((row) => row.children[0].innerText)";
    let count = "return document.querySelectorAll('#scores tbody tr').length === 20";
    browser.wait_for("rows", count).await;
    browser.script("document.querySelectorAll('[name=order]')[1].click(); return true").await;
    let begins_with = |number: u64| {
        format!("return document.querySelector('#scores tbody td')?.innerText.replaceAll(',', '') === '{number}'")
    };
    browser.wait_for("the order of the trace", &begins_with(0)).await;
    browser.script("document.querySelector('.rows').scrollTop = 50 * 32; return true").await;
    browser.wait_for("the row scrolled to", &begins_with(50)).await;
    browser.script("document.querySelector('.rows').scrollTop = 1e9; return true").await;
    let accesses = recipe.trace(None).unwrap().summary().accesses;
    browser.wait_for("the last rows", &begins_with(accesses - 20)).await;
    let shown = browser.script(rows).await;
    let last = shown.as_array().unwrap().last().unwrap().as_str().unwrap().replace(',', "");
    assert_eq!(last, (accesses - 1).to_string());
    browser.end().await;
}

/// Curves and bars of two experiments are drawn together, without being asked for.
#[tokio::test]
async fn curves_and_bars_are_compared() {
    let browser = Browser::start(1280, 1400).await;
    let a = synthetic();
    browser.open(&format!("#{}", a.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    let drawn = "return !!document.querySelector('#curve-chart svg')";
    browser.wait_for("the curve of A", drawn).await;
    show_tab(&browser, "Compare").await;
    browser.find("#pin").await.click().await.unwrap();
    browser.type_into("batch_size", "2").await;
    browser.type_into("seed", "43").await;
    browser.find("#run").await.click().await.unwrap();
    let lines = "return document.querySelectorAll('#compared-chart svg polyline, #compared-chart svg line').length > 6
        && document.querySelector('#differences')?.innerText.includes('seed')";
    browser.wait_for("the curves of both", lines).await;
    let mut b = a.clone();
    b.seed = 43;
    let [of_a, of_b] = [&a, &b].map(|recipe| run(recipe, &mut Unattended).unwrap());
    let bars = browser.script("return [...document.querySelectorAll('.pairs li')].map((row) => [row.children[0].innerText, row.children[2].innerText])").await;
    let wanted: Vec<[String; 2]> = of_a
        .runs
        .iter()
        .zip(&of_b.runs)
        .flat_map(|(a, b)| [["A".into(), format_bytes(a.miss_bytes)], ["B".into(), format_bytes(b.miss_bytes)]])
        .collect();
    assert_eq!(bars, json!(wanted));
    browser.end().await;
}

/// A parameter of a kernel is a slider, and what it sets stands in the form.
#[tokio::test]
async fn parameters_of_a_kernel_are_sliders() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("#kernel").await;
    wait_for_prediction(&browser, "done").await;
    let slide = "const slider = [...document.querySelectorAll('.slide')].find((s) => s.innerText.startsWith('K')).querySelector('input');
        slider.value = 6; slider.dispatchEvent(new Event('input', { bubbles: true }));
        slider.dispatchEvent(new Event('change', { bubbles: true })); return true";
    browser.script(slide).await;
    browser
        .wait_for("the prediction for K = 64", "return document.querySelector('#assumptions')?.innerText.length > 0 && document.querySelector('#kernel-results').innerText.includes('K = 64')")
        .await;
    assert_eq!(browser.script("return document.querySelector('#defines').value").await, "K=64");
    browser.end().await;
}

/// What a link says of a kernel stands in the form, and the next link says it again.
#[tokio::test]
async fn a_link_of_a_kernel_keeps_everything() {
    let request = Request {
        code: "for (int i = 0; i < 4096; i++) y[i] += a * x[i];".into(),
        language: Some(Language::C),
        line_bytes: Some(128),
        compiler: Some(Compiler::Gcc),
        warm: true,
        cores: 1,
        budget: 5_000_000,
        ..Request::default()
    };
    let browser = Browser::start(1280, 1400).await;
    browser.open(&format!("#{}", request.to_fragment().unwrap())).await;
    wait_for_prediction(&browser, "done").await;
    let fields = "return ['compiler', 'warm', 'budget', 'line_bytes'].map((id) => document.getElementById(id).value)";
    assert_eq!(browser.script(fields).await, json!(["gcc", "warm", "5000000", "128"]));
    browser
        .script("history.replaceState(null, '', '#k'); document.getElementById('predict').click(); return true")
        .await;
    browser.wait_for("the link", "return location.hash.length > 10").await;
    let fragment = browser.script("return location.hash").await;
    assert_eq!(Request::from_fragment(fragment.as_str().unwrap().trim_start_matches('#')).unwrap(), request);
    browser.end().await;
}

/// On a phone results come first; a chip opens the form as a sheet, Run and Escape shut it.
#[tokio::test]
async fn on_a_phone_the_form_is_a_sheet() {
    let browser = Browser::start(500, 900).await;
    browser.open("").await;
    browser.wait_for_results().await;
    let shown = "return getComputedStyle(document.querySelector('#experiment')).visibility === 'visible'";
    let hidden = "return getComputedStyle(document.querySelector('#experiment')).visibility === 'hidden'";
    browser.wait_for("no form", hidden).await;
    let chip =
        "[...document.querySelectorAll('.chip')].find((chip) => chip.innerText.trim() === '8GiB').click(); return true";
    browser.script(chip).await;
    browser.wait_for("the form", shown).await;
    browser.wait_for("the field", "return document.activeElement.id === 'capacity_bytes'").await;
    browser.type_into("capacity_bytes", "6GB").await;
    browser.find(".sheet button[type=submit]").await.click().await.unwrap();
    browser.wait_for("no form again", hidden).await;
    browser
        .wait_for("6 GB", "return document.querySelector('caption')?.innerText.includes('6,000,000,000 bytes')")
        .await;
    browser.script("document.querySelector('.chip').click(); return true").await;
    browser.wait_for("the form again", shown).await;
    browser.script("dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' })); return true").await;
    browser.wait_for("no form at last", hidden).await;
    browser.end().await;
}

/// Each question has a curve; a click runs it.
#[tokio::test]
async fn questions_have_a_curve() {
    let browser = Browser::start(1280, 900).await;
    browser.open("").await;
    browser.wait_for_results().await;
    let curves = "return [...document.querySelectorAll('.question .spark polyline')].map((line) => line.getAttribute('points').split(' ').length)";
    let Value::Array(points) = browser.script(curves).await else { panic!("no list") };
    assert_eq!(points.len(), accel_core::scenarios::SCENARIOS.len());
    assert!(points.iter().all(|points| points.as_u64().unwrap() >= 8), "{points:?}");
    browser.end().await;
}

/// The best designs are those of the core; a click runs one.
#[tokio::test]
async fn designs_are_recommended() {
    let browser = Browser::start(1280, 1400).await;
    let recipe = synthetic();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    browser.wait_for("the panel", "return !!document.querySelector('#advice-panel > summary')").await;
    browser.unfold("advice-panel").await;
    browser.find("#recommend").await.click().await.unwrap();
    browser.wait_for("the designs", "return !!document.querySelector('#designs')").await;
    let native = recommend(&recipe, None, Wanted::default(), &[], &mut Unattended).unwrap();
    let shown = browser
        .script("return [...document.querySelectorAll('#designs tbody tr')].map((row) => [...row.children].slice(0, 9).map((cell) => cell.innerText))")
        .await;
    let wanted: Vec<[String; 9]> = native.designs.iter().chain([&native.baseline]).map(Design::cells).collect();
    assert_eq!(shown, json!(wanted));
    browser.find("#designs button").await.click().await.unwrap();
    let first = native.designs[0].recipe.to_fragment().unwrap();
    browser.wait_for("the design's run", &format!("return location.hash === '#{first}'")).await;
    browser.end().await;
}

/// A sweep's rows are those of the core; a file's trace is that of the answer; its grid is read by the command line; what
/// cannot be swept is told.
#[tokio::test]
async fn experiments_are_swept() {
    let browser = Browser::start(1280, 1400).await;
    let recipe = synthetic();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    browser.wait_for("the panel", "return !!document.querySelector('#sweep-panel > summary')").await;
    browser.unfold("sweep-panel").await;
    browser.type_into("values-1", "32MB to 256MB in 4").await;
    browser.find(&format!("#axis-2 option[value='{}']", Field::Seed.info().id)).await.click().await.unwrap();
    browser.type_into("values-2", "1, 2").await;
    browser.find("#run-sweep").await.click().await.unwrap();
    browser.wait_for("the rows", "return !!document.querySelector('#swept')").await;
    let axes = [(Field::Capacity.info(), "32MB to 256MB in 4"), (Field::Seed.info(), "1, 2")];
    let cells = Sweep::varied(&recipe, &axes).unwrap().cells().unwrap();
    let script = "return [...document.querySelectorAll('#swept tbody tr')].map((row) => row.children[5].innerText)";
    let Value::Array(shown) = browser.script(script).await else { panic!("no list") };
    let mut evicted = Vec::new();
    for cell in 0..cells.len() {
        let outcome = run(&cells.recipe(cell).unwrap(), &mut Unattended).unwrap();
        evicted.extend(outcome.runs.iter().map(|run| json!(format_count(run.evictions))));
    }
    assert_eq!(shown, evicted);
    browser.screenshot("sweep.png").await;
    browser.type_into("values-2", "many").await;
    browser.find("#run-sweep").await.click().await.unwrap();
    let told = "return document.querySelector('#sweep-panel .error')?.innerText.includes('seed is \"many\"') ?? false";
    browser.wait_for("the refusal", told).await;
    // A file of accesses is read once; what is made of it for one capacity is not taken for another.
    let requests: String = (0..400u64).map(|n| format!("{n},{},4096\n", n * n % 37)).collect();
    drop_file(&browser, "t.csv", format!("time,obj_id,obj_size\n{requests}").as_bytes()).await;
    let read = "return document.querySelector('#summary')?.innerText.startsWith('400 accesses') ?? false";
    browser.wait_for("the file", read).await;
    browser.wait_for_results().await;
    browser.wait_for("the panel", "return !!document.querySelector('#run-sweep')").await;
    browser.type_into("values-1", "8192 to 65536 in 2").await;
    browser.find("#run-sweep").await.click().await.unwrap();
    let rows = "return [...document.querySelectorAll('#swept tbody tr')].map((row) => row.innerText).join()";
    let figures = format!("const text = (() => {{ {rows} }})(); return text.includes('65.5 kB') && text.includes('%')");
    browser.wait_for("the rows of a file", &figures).await;
    browser.end().await;
}

/// Of a long file only the beginning is read where that is asked, and a very long one waits until it is.
#[tokio::test]
async fn of_long_files_the_beginning_is_read() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("").await;
    browser.wait_for_results().await;
    browser.type_into("accesses", "500").await;
    // Some 12 MB of requests as lines, and as records of 24 bytes: the time, the object, its size, and when it is next used.
    let line = |n: u64| format!("{n},{},4096\n", n * 7 % 1000);
    let records = |n: u64| {
        let n32 = (n as u32).to_le_bytes();
        [&n32[..], &(n * 7 % 1000).to_le_bytes(), &4096u32.to_le_bytes(), &(-1i64).to_le_bytes()].concat()
    };
    let csv: String = std::iter::once("time,obj_id,obj_size\n".into()).chain((0..2000).map(line)).collect();
    let binary: Vec<u8> = (0..2000).flat_map(records).collect();
    let drop = "const data = new DataTransfer(); data.items.add(file);
        window.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); return true";
    for (name, make, content) in [
        (
            "long.csv",
            "let text = 'time,obj_id,obj_size\\n';
             for (let n = 0; n < 750000; n++) text += `${n},${n * 7 % 1000},4096\\n`;
             const file = new File([text], 'long.csv');",
            csv.as_bytes(),
        ),
        (
            "long.oracleGeneral",
            "const view = new DataView(new ArrayBuffer(24 * 500000));
             for (let n = 0; n < 500000; n++) {
                 view.setUint32(24 * n, n, true); view.setBigUint64(24 * n + 4, BigInt(n * 7 % 1000), true);
                 view.setUint32(24 * n + 12, 4096, true); view.setBigInt64(24 * n + 16, -1n, true);
             }
             const file = new File([view.buffer], 'long.oracleGeneral');",
            &binary[..],
        ),
    ] {
        browser.script(&format!("{make} {drop}")).await;
        let ran = format!(
            "return document.querySelector('#summary')?.innerText.startsWith('500 accesses')
                && document.querySelector('.chip').innerText.trim() === '{name}' && location.hash.length > 10"
        );
        browser.wait_for(name, &ran).await;
        browser.wait_for_results().await;
        let fragment = browser.script("return location.hash").await.as_str().unwrap().to_owned();
        let recipe = Recipe::from_fragment(&fragment).unwrap();
        let of = (recipe.seed, recipe.memory.capacity_bytes);
        let (trace, _) = recipe.workload.trace_with(of, &Input::new(name, content), &mut Unattended).unwrap();
        let native = run_with(&recipe, Some(trace), &mut Unattended).unwrap();
        assert!(browser.outcome_json().await == serde_json::to_string(&native).unwrap(), "{name}");
    }
    browser.type_into("accesses", "").await;
    let large = "const file = new File(['time,obj_id,obj_size\\n', new Uint8Array(101e6)], 'large.csv');";
    browser.script(&format!("{large} {drop}")).await;
    let told = "const note = document.querySelector('#note').innerText;
        return note.includes('large.csv') && note.includes('354 MB of memory') && note.includes('Accesses, at most')";
    browser.wait_for("what it takes", told).await;
    browser.end().await;
}

/// On paper stands what came out: nothing that acts, and nothing wider than the sheet (A4 at 96 dots per inch).
#[tokio::test]
async fn results_are_printed() {
    let browser = Browser::start(794, 1100).await;
    browser.open("").await;
    browser.wait_for_results().await;
    browser.as_printed().await;
    let acts = "return [...document.querySelectorAll('.runbar, nav, form, .actions, #questions, .menu, .handle')]
        .filter((element) => element.getClientRects().length > 0).map((element) => element.className || element.id)";
    assert_eq!(browser.script(acts).await, json!([]));
    let wide = "return [...document.querySelectorAll('#results svg, #results .card, #results h2')]
        .map((element) => element.getBoundingClientRect()).filter((box) => box.width > 0 && box.right > innerWidth).length";
    assert_eq!(browser.script(wide).await, json!(0));
    let stands = "return ['#verdict', '#cards', '#curve-chart svg', '#policies', '#hit-rates svg']
        .filter((css) => !(document.querySelector(css)?.getBoundingClientRect().width > 0))";
    assert_eq!(browser.script(stands).await, json!([]));
    browser.end().await;
}

/// Who follows a broken link reads why it cannot be opened, and sees the first experiment.
#[tokio::test]
async fn a_broken_link_shows_the_first_answer() {
    let browser = Browser::start(1280, 900).await;
    browser.open("#r=broken").await;
    browser.wait_for_results().await;
    let told = "return document.querySelector('#error')?.innerText.includes('The link cannot be opened')";
    browser.wait_for("what is wrong with the link", told).await;
    assert_eq!(browser.script("return !!document.querySelector('#verdict')").await, json!(true));
    browser.end().await;
}
