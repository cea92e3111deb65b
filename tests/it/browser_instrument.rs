//! The page as an instrument: charts that are read, brushed and dragged, comparisons, files, and the way back.

use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::recipe::Workload;
use accel_core::run::after::Cell;
use accel_core::run::{Details, Job, Plan, run};
use accel_core::units::format_count;
use accel_core::workload::synthetic::Synthetic;
use accel_tests::browser::Browser;
use serde_json::Value;

use crate::browser::{drop_file, show_tab};

/// Fires a pointer's event at a place of the layer above the chart `id`, shares of its width and height.
async fn point(browser: &Browser, id: &str, event: &str, x: f64, y: f64) {
    let script = format!(
        "const over = document.querySelector('#{id}').parentElement.querySelector('.over');
         const r = over.getBoundingClientRect();
         over.dispatchEvent(new PointerEvent('{event}', {{
            clientX: r.left + r.width * {x}, clientY: r.top + r.height * {y}, pointerId: 1, pointerType: 'mouse', bubbles: true }}));
         return true"
    );
    browser.script(&script).await;
}

async fn reading(browser: &Browser, id: &str) -> String {
    let script =
        format!("return document.querySelector('#{id}').parentElement.nextSibling.querySelector('.reading').innerText");
    browser.script(&script).await.as_str().unwrap().to_owned()
}

fn synthetic() -> Recipe {
    let mut recipe = Recipe { workload: Workload::Synthetic(Synthetic::default()), ..Recipe::default() };
    recipe.memory.capacity_bytes = 64_000_000;
    recipe
}

/// One pointer reads every chart over the trace; a part that is brushed is counted anew; a cell tells what happened.
#[tokio::test]
async fn charts_are_read_together_and_brushed() {
    let browser = Browser::start(1280, 2400).await;
    let recipe = synthetic();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    browser.wait_for("charts", "return !!document.querySelector('#hit-rates svg')").await;
    let before = browser.script("return document.querySelector('#hit-rates').innerHTML").await;
    point(&browser, "hit-rates", "pointermove", 0.5, 0.5).await;
    for id in ["hit-rates", "traffic-over-time"] {
        let text = reading(&browser, id).await;
        assert!(text.starts_with("Accesses ") && text.contains("LRU "), "{id}: {text}");
    }
    assert!(reading(&browser, "heatmap").await.contains("resident"));
    assert_eq!(browser.script("return document.querySelector('#hit-rates').innerHTML").await, before, "drawn anew");

    point(&browser, "hit-rates", "pointerdown", 0.3, 0.5).await;
    point(&browser, "hit-rates", "pointermove", 0.5, 0.5).await;
    point(&browser, "hit-rates", "pointerup", 0.5, 0.5).await;
    browser.wait_for("the part", "return document.querySelector('#part').innerText.startsWith('Accesses ')").await;
    let part = browser.script("return document.querySelector('#part').innerText").await;
    let numbers: Vec<u64> = part
        .as_str()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect();
    browser
        .wait_for(
            "the part's charts",
            &format!("return document.querySelector('#hit-rates').textContent.trim().startsWith('{}') || document.querySelector('#heatmap').textContent.includes('{}')",
                format_count(numbers[0]), format_count(numbers[0])),
        )
        .await;
    // The figures of the part, as the core counts them.
    let plan = Plan::new(&recipe, None, None, Details::ALL).unwrap();
    let mut job = Job::of(plan);
    while !job.is_done() {
        job.step(1 << 20).unwrap();
    }
    let (outcome, finished) = job.finish().unwrap();
    let mut window = finished.window(numbers[0]..numbers[1]).unwrap();
    while !window.is_done() {
        window.step(1 << 20).unwrap();
    }
    let charts = window.finish().unwrap().0.charts;
    point(&browser, "hit-rates", "pointermove", 0.999, 0.5).await;
    point(&browser, "traffic-over-time", "pointermove", 0.5, 0.5).await;
    let text = reading(&browser, "traffic-over-time").await;
    let first: u64 = text.split(['–', ' ']).nth(1).unwrap().replace(',', "").parse().unwrap();
    let column = ((first - numbers[0]) / charts.accesses_per_column) as usize;
    let bytes = accel_core::units::format_bytes(charts.timelines[0].miss_bytes[column]);
    assert!(text.contains(&format!("LRU {bytes}")), "{bytes} is not in {text}");

    // A cell of the heatmap.
    browser.find("#show-all").await.click().await.unwrap();
    browser.wait_for("all of it", "return document.querySelector('#part').innerText.startsWith('Brush')").await;
    for event in ["pointerdown", "pointerup"] {
        point(&browser, "heatmap", event, 0.5, 0.4).await;
    }
    browser.wait_for("the cell", "return !!document.querySelector('#cell-tensors')").await;
    let shown = browser.script("return document.querySelectorAll('#cell-tensors tbody tr').length").await;
    let heading = browser.script("return document.querySelector('#cell h3').innerText").await;
    let group = heading.as_str().unwrap().split(" under ").next().unwrap().to_owned();
    let row = outcome.charts.groupings[0].labels.iter().position(|label| *label == group).unwrap();
    let Cell { tensors, .. } = finished.cell(0, 0, row, 0..1).unwrap();
    assert_eq!(shown, tensors.len());
    browser.end().await;
}

/// A policy is looked at alone in every chart, over runs; the table sorts; figures are saved.
#[tokio::test]
async fn views_are_kept_and_figures_are_saved() {
    let browser = Browser::start(1280, 2400).await;
    let mut recipe = synthetic();
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    browser.find("#over-time .legend button").await.click().await.unwrap();
    let alone = "return [...document.querySelectorAll('.series[aria-pressed=true]')].map(b => b.innerText.trim())";
    // In the legend of each chart and in the ranking.
    assert_eq!(browser.script(alone).await, serde_json::json!(["LRU", "LRU", "LRU"]));
    browser.script("[...document.querySelectorAll('#metrics th button')].find(b => b.innerText === 'DRAM traffic').click(); return true").await;
    let order = "return [...document.querySelectorAll('#metrics thead th')].slice(1).map(th => th.innerText.trim())";
    let mut runs = run(&recipe, &mut Unattended).unwrap().runs;
    runs.sort_by_key(|run| run.miss_bytes);
    let titles: Vec<String> = runs.iter().map(|run| run.policy.title()).collect();
    assert_eq!(browser.script(order).await, serde_json::json!(titles));
    browser.unfold("why").await;

    recipe.memory.capacity_bytes = 96_000_000;
    browser.type_into("capacity_bytes", "96MB").await;
    browser.find("#run").await.click().await.unwrap();
    browser
        .wait_for("new results", "return document.querySelector('caption')?.innerText.includes('96,000,000 bytes')")
        .await;
    assert_eq!(browser.script(alone).await, serde_json::json!(["LRU", "LRU", "LRU"]));
    assert_eq!(
        browser
            .script("return document.querySelector('#why').open && !!document.querySelector('#families-table')")
            .await,
        true
    );

    // What is saved is read back.
    browser
        .script("window.saved = []; const make = URL.createObjectURL; URL.createObjectURL = blob => { blob.text().then(t => window.saved.push(t)); return make(blob); }; return true")
        .await;
    browser.find("#metrics").await;
    browser.script("const menu = document.querySelector('#details .menu'); menu.open = true; [...menu.querySelectorAll('button')].find(b => b.innerText === 'JSON').click(); return true").await;
    browser.wait_for("the file", "return window.saved.length === 1").await;
    let saved = browser.script("return window.saved[0]").await;
    let saved: Value = serde_json::from_str(saved.as_str().unwrap()).unwrap();
    let native = run(&recipe, &mut Unattended).unwrap();
    for (row, run) in saved.as_array().unwrap().iter().zip(&native.runs) {
        assert_eq!(row["policy"], run.policy.name());
        assert_eq!((&row["misses"], &row["miss_bytes"]), (&run.misses.into(), &run.miss_bytes.into()));
    }
    browser.script("const menu = document.querySelector('#hit-rates').parentElement.nextSibling.querySelector('.menu'); menu.open = true; [...menu.querySelectorAll('button')].find(b => b.innerText === 'SVG').click(); return true").await;
    browser.wait_for("the picture", "return window.saved.length === 2").await;
    let svg = browser.script("return window.saved[1]").await;
    let svg = svg.as_str().unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("xmlns=") && !svg.contains("var(--"), "{svg}");
    browser.find("#report").await.click().await.unwrap();
    browser.wait_for("the report", "return window.saved.length === 3").await;
    let report = browser.script("return window.saved[2]").await;
    let report = report.as_str().unwrap();
    assert!(report.contains(&native.headline) && report.contains("<svg") && !report.contains("<script"));
    browser.end().await;
}

/// The line of the capacity is dragged, Back goes back, a draft survives a reload.
#[tokio::test]
async fn capacity_is_dragged_and_back_goes_back() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("").await;
    browser.wait_for_results().await;
    browser.wait_for("the curve", "return !!document.querySelector('#curve-chart svg')").await;
    let capacity = "return document.querySelector('#capacity_bytes').value";
    let before = browser.script(capacity).await;
    browser
        .script(
            "const h = document.querySelector('.handle'); const r = h.getBoundingClientRect(); const x = r.left + r.width / 2;
             const at = (type, x) => h.dispatchEvent(new PointerEvent(type, {clientX: x, clientY: r.top + 9, pointerId: 1, bubbles: true}));
             at('pointerdown', x); at('pointermove', x - 60); at('pointerup', x - 60); return true",
        )
        .await;
    let after = browser.script(capacity).await;
    assert_ne!(before, after);
    browser.wait_for("its run", "return location.hash.length > 10 && document.querySelector('#results').dataset.state === 'done' && !document.querySelector('#results.stale')").await;
    let recipe = Recipe::from_fragment(browser.script("return location.hash").await.as_str().unwrap()).unwrap();
    assert!(browser.outcome_json().await == serde_json::to_string(&run(&recipe, &mut Unattended).unwrap()).unwrap());
    // The curve is that of every capacity: it stays.
    assert_eq!(browser.script("return document.querySelector('#curve-waits').innerText").await, "");

    // Another step, and back.
    browser.type_into("capacity_bytes", "5GB").await;
    browser.find("#run").await.click().await.unwrap();
    browser
        .wait_for("5 GB", "return document.querySelector('caption')?.innerText.includes('5,000,000,000 bytes')")
        .await;
    browser.script("history.back(); return true").await;
    browser
        .wait_for(
            "the step before",
            &format!(
                "return document.querySelector('caption')?.innerText.includes('({} bytes)')",
                format_count(recipe.memory.capacity_bytes)
            ),
        )
        .await;
    browser.script("history.forward(); return true").await;
    browser
        .wait_for("5 GB again", "return document.querySelector('caption')?.innerText.includes('5,000,000,000 bytes')")
        .await;

    // Typed, not run, and reloaded.
    browser.type_into("decode_tokens", "not yet").await;
    browser.script("location.reload(); return true").await;
    browser.wait_for("the draft", "return document.querySelector('#decode_tokens')?.value === 'not yet'").await;
    browser.end().await;
}

/// Two experiments side by side, from a link as well; every tab has its address.
#[tokio::test]
async fn experiments_are_compared() {
    let browser = Browser::start(1280, 1400).await;
    let a = synthetic();
    browser.open(&format!("#{}", a.to_fragment().unwrap())).await;
    browser.wait_for_results().await;
    show_tab(&browser, "Compare").await;
    browser.find("#pin").await.click().await.unwrap();
    browser.type_into("capacity_bytes", "96MB").await;
    browser.find("#run").await.click().await.unwrap();
    let differs = "return document.querySelector('#differences')?.innerText.includes('memory.capacity_bytes')";
    browser.wait_for("what differs", differs).await;
    let rows =
        "return [...document.querySelectorAll('#compared tbody tr')].map(tr => [...tr.children].map(c => c.innerText))";
    let shown = browser.script(rows).await;
    let mut b = a.clone();
    b.memory.capacity_bytes = 96_000_000;
    let [of_a, of_b] = [&a, &b].map(|recipe| run(recipe, &mut Unattended).unwrap());
    for (row, (a, b)) in shown.as_array().unwrap().iter().zip(of_a.runs.iter().zip(&of_b.runs)) {
        let bytes = [a, b].map(|run| accel_core::units::format_bytes(run.miss_bytes));
        assert_eq!((&row[1], &row[2]), (&bytes[0].clone().into(), &bytes[1].clone().into()));
    }
    browser.script("location.reload(); return true").await;
    browser.wait_for("the comparison after a reload", differs).await;
    assert_eq!(browser.script(rows).await, shown);
    // What was run is listed.
    assert_eq!(browser.script("return document.querySelectorAll('#past li').length >= 2").await, true);
    for (tab, address) in [("Trace", "#trace&r="), ("Scores", "#scores&r="), ("Lab", "#r="), ("Kernel", "#k")] {
        show_tab(&browser, tab).await;
        browser.wait_for(tab, &format!("return location.hash.startsWith('{address}') && document.querySelector('nav a[aria-current]').innerText === '{tab}'")).await;
    }
    browser.end().await;
}

/// The sum of what a device holds is that of the core.
#[tokio::test]
async fn a_model_is_asked_whether_it_fits() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("").await;
    browser.wait_for_results().await;
    browser.unfold("fit").await;
    browser.type_into("fit-budget", "16GB").await;
    let Workload::Model(run) = Recipe::default().workload else { panic!("the default recipe is of a model") };
    let fit = accel_core::fit::fit(&run, 16_000_000_000).unwrap();
    let sum = format_count(fit.bytes);
    browser.wait_for("the sum", &format!("return document.querySelector('#fit-held')?.innerText.includes('{sum}') && document.querySelector('#fit-verdict').innerText.includes('16.0 GB')")).await;
    browser.end().await;
}

/// Of files that are dropped together one is taken and the others are told; a folder is named; a model sets the capacity.
#[tokio::test]
async fn files_that_come_together() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("").await;
    browser.wait_for_results().await;
    let config =
        serde_json::to_string(&accel_core::workload::presets::find("gpt2-large").unwrap().config().unwrap()).unwrap();
    let drop = format!(
        "const data = new DataTransfer(); const file = (name, text) => data.items.add(new File([text], name));
         file('tokenizer.json', '{{}}'); file('model.safetensors', 'x'); file('config.json', {config:?}); file('README.md', '#');
         window.dispatchEvent(new DragEvent('drop', {{dataTransfer: data, bubbles: true, cancelable: true}})); return true"
    );
    browser.script(&drop).await;
    browser
        .wait_for("GPT-2", "return document.querySelector('#details')?.innerText.includes('774,030,080 parameters')")
        .await;
    let note = browser.find("#note").await.text().await.unwrap();
    assert!(note.contains("half of the model's"), "{note}");
    let fragment = browser.script("return location.hash").await.as_str().unwrap().to_owned();
    let recipe = Recipe::from_fragment(&fragment).unwrap();
    let runs = run(&recipe, &mut Unattended).unwrap().runs;
    assert!(runs.iter().any(|run| run.miss_bytes != runs[0].miss_bytes), "the policies tie");
    browser
        .script("const data = new DataTransfer(); data.items.add(new File([], 'weights')); window.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})); return true")
        .await;
    browser
        .wait_for("the folder", "return document.querySelector('#error').innerText.includes('weights is a folder')")
        .await;
    drop_file(&browser, "trace.csv", b"tensor_id,size_mb\n<img src=x onerror=alert(1)>,1\nb,2\n").await;
    show_tab(&browser, "Trace").await;
    browser.wait_for("the preview", "return document.querySelectorAll('#preview-table tbody tr').length === 2").await;
    assert_eq!(browser.script("return document.querySelectorAll('#preview img').length").await, 0);
    browser.end().await;
}

/// No tab has a fault that axe finds, in either theme, on a desktop and on a phone.
#[tokio::test]
async fn nobody_is_kept_out() {
    let Some(axe) = std::env::var_os("ACCEL_AXE") else {
        return accel_tests::skipped("axe is installed by npm, which is missing");
    };
    let axe = std::fs::read_to_string(axe).unwrap();
    for (width, dark) in [(1280, false), (1280, true), (500, false)] {
        let browser = Browser::start(width, 900).await;
        browser.open("").await;
        browser.wait_for_results().await;
        if dark {
            browser.script("[...document.querySelectorAll('button')].find(b => b.innerText === 'Dark theme').click(); return true").await;
        }
        browser.script(&format!("{axe}; return true")).await;
        for tab in ["Lab", "Trace", "Scores", "Compare", "Kernel", "A model"] {
            match tab {
                "A model" => browser.press("//label[span='A model']").await,
                _ => show_tab(&browser, tab).await,
            }
            let ready = match tab {
                "Lab" => {
                    browser.script("document.querySelectorAll('#results details.panel').forEach(d => d.open = true); return true").await;
                    "return !!document.querySelector('#hit-rates svg') && !!document.querySelector('#families-table')"
                }
                "Scores" => "return document.querySelectorAll('#scatter .chart svg').length === 3",
                "Compare" => {
                    browser.find("#pin").await.click().await.unwrap();
                    "return !!document.querySelector('#compared')"
                }
                "Kernel" => "return document.querySelector('#kernel-results')?.dataset.state === 'done'",
                "A model" => "return document.querySelector('#price-results')?.dataset.state === 'done'",
                _ => "return !!document.querySelector('#trace-views')",
            };
            browser.wait_for(tab, ready).await;
            browser.script("window.faults = null; axe.run().then(r => window.faults = r.violations.map(v => v.id + ': ' + v.nodes[0].html)); return true").await;
            browser.wait_for("axe", "return window.faults !== null").await;
            assert_eq!(
                browser.script("return window.faults").await,
                serde_json::json!([]),
                "{tab} at {width}, dark: {dark}"
            );
        }
        browser.end().await;
    }
}

/// Keys act without a pointer.
#[tokio::test]
async fn keys_act() {
    let browser = Browser::start(1280, 1400).await;
    browser.open("").await;
    browser.wait_for_results().await;
    let key = |key: &str, more: &str| {
        format!(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true, {more}}})); return true"
        )
    };
    let capacity = "return document.querySelector('#capacity_bytes').value";
    let before = browser.script(capacity).await;
    browser.type_into("capacity_bytes", "5GB").await;
    browser.script(&key("z", "ctrlKey: true")).await;
    assert_eq!(browser.script(capacity).await, before);
    browser.script(&key("Z", "ctrlKey: true, shiftKey: true")).await;
    assert_eq!(browser.script(capacity).await, "5GB");
    browser.script(&key("?", "")).await;
    assert_eq!(browser.script("return document.querySelector('dialog').open").await, true);
    browser.find("dialog button").await.click().await.unwrap();
    browser.script(&key("2", "")).await;
    assert_eq!(browser.script("return document.querySelector('nav a[aria-current]').innerText").await, "Trace");
    browser.script(&key("1", "")).await;
    browser.wait_for("charts", "return !!document.querySelector('#hit-rates svg')").await;
    let arrows = "const over = document.querySelector('#hit-rates').parentElement.querySelector('.over'); over.focus();
         for (let i = 0; i < 3; i++) over.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
         return true";
    browser.script(arrows).await;
    let read = "return document.querySelector('#hit-rates').parentElement.querySelector('.over').getAttribute('aria-valuetext').startsWith('Accesses ')";
    browser.wait_for("what is read", read).await;
    browser.end().await;
}
