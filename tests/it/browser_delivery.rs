//! How the page reaches its user, in headless Chromium: without a network, from a host that fails, under its own policy.

use std::fs;

use accel_core::recipe::{Recipe, Workload};
use accel_core::units::format_count;
use accel_core::workload::model_run::ModelRun;
use accel_tests::accel;
use accel_tests::browser::{Browser, page_folder};
use accel_tests::host::{Fault, Host};
use infer_server::health::Health;
use infer_server::page::Page;
use infer_server::service::{Config, router};
use serde_json::{Value, json};

use crate::browser::{drop_file, wait_for_prediction};

const SIZE: &str = "--window-size=1280,1000";

/// A static host with the built page.
fn host() -> Host {
    Host::of_folder(page_folder())
}

async fn browser(host: Host) -> Browser {
    Browser::with(host, "some/folder/", &[SIZE]).await
}

/// Waits until the service worker keeps every file that it names.
async fn wait_until_kept(browser: &Browser) {
    let all_kept = "return (async () => {
        const text = await (await fetch('sw.js')).text();
        const names = text.match(/[\\w-]+-[0-9a-f]{16}\\w*\\.\\w+/g);
        for (const name of names) if (!(await caches.match(name))) return false;
        return names.length > 8 && !!(await caches.match('./')) && !!navigator.serviceWorker.controller;
    })()";
    browser.wait_for("the service worker to keep all files", all_kept).await;
}

/// Uses the page, its worker and both modules that are loaded on demand.
async fn use_everything(browser: &Browser) {
    browser.open("").await;
    browser.wait_for_results().await;
    browser.type_into("capacity_bytes", "4GiB").await;
    let new = "return document.querySelector('caption')?.innerText.includes('4,294,967,296 bytes')";
    browser.wait_for("a run by the worker", new).await;
    drop_trace(browser).await;
    browser.open("#kernel").await;
    wait_for_prediction(browser, "done").await;
}

/// Drops a trace, which a module loaded on demand reads.
async fn drop_trace(browser: &Browser) {
    let csv = accel(["trace", "generate", "--synthetic", "CNN"]).unwrap();
    let accesses = format_count(csv.lines().count() as u64 - 1);
    drop_file(browser, "cnn.csv", csv.as_bytes()).await;
    let shown = format!("return document.querySelector('#summary')?.innerText.startsWith('{accesses} accesses')");
    browser.wait_for("the trace", &shown).await;
}

#[tokio::test]
async fn after_one_visit_the_page_needs_no_network() {
    let mut browser = browser(host()).await;
    browser.open("").await;
    browser.wait_for_results().await;
    wait_until_kept(&browser).await;
    browser.host.stop();
    use_everything(&browser).await;
    browser.host.start();
    use_everything(&browser).await;
    browser.end().await;
}

/// A host whose page is replaced by another version: an old page goes on with its own files, a new one has none of them.
#[tokio::test]
async fn versions_are_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let publish = |version: &str| {
        let text = fs::read_to_string(page_folder().join("sw.js")).unwrap();
        let built = text.split('"').nth(1).unwrap().to_owned();
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for entry in fs::read_dir(page_folder()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap().replace(&built, version);
            let to = folder.path().join(&name);
            if name.ends_with(".js") || name.ends_with(".html") {
                let text = fs::read_to_string(entry.path()).unwrap();
                fs::write(to, text.replace(&built, version)).unwrap();
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    };
    let (old, new) = ("00000000000000aa", "00000000000000bb");
    publish(old);
    let mut browser = browser(Host::of_folder(folder.path().to_owned())).await;
    browser.open("").await;
    browser.wait_for_results().await;
    wait_until_kept(&browser).await;

    // The page that is open loads its modules, which the host has no more.
    publish(new);
    drop_trace(&browser).await;
    let versions = "return [...new Set(performance.getEntriesByType('resource')
        .map((entry) => /-([0-9a-f]{16})/.exec(entry.name)?.[1]).filter(Boolean))]";
    assert_eq!(browser.script(versions).await, json!([old]));

    // The next one is new, and once it is kept nothing is left of the old one.
    browser.open("").await;
    browser.wait_for_results().await;
    assert_eq!(browser.script(versions).await, json!([new]));
    let only_new = format!(
        "return (async () => {{
            const names = await caches.keys();
            return names.length === 1 && names[0].endsWith('{new}');
        }})()"
    );
    browser.wait_for("the old version to go", &only_new).await;
    wait_until_kept(&browser).await;
    browser.host.stop();
    browser.open("").await;
    browser.wait_for_results().await;
    drop_trace(&browser).await;
    assert_eq!(browser.script(versions).await, json!([new]));
    browser.end().await;
}

#[tokio::test]
async fn a_module_that_could_not_be_loaded_is_tried_again_when_it_is_needed() {
    let host = host();
    for name in ["accel-worker", "accel-extra", "accel-kernel-page", "split_tabs"] {
        host.breaks(name, Fault::Fails);
    }
    let browser = browser(host).await;
    browser.open("").await;
    browser.wait_for_results().await;
    let failed = |name: &str| {
        format!(
            "const text = document.querySelector('#error')?.innerText ?? '';
             return text.includes('the server answers 503 for {name}') && text.includes('try again')"
        )
    };

    browser.find("#run").await.click().await.unwrap();
    browser.wait_for("why there is no worker", &failed("accel-worker")).await;
    browser.host.heals();
    for name in ["accel-extra", "accel-kernel-page", "split_tabs"] {
        browser.host.breaks(name, Fault::Fails);
    }
    browser.find("nav a[href='#compare']").await.click().await.unwrap();
    let told = "return document.querySelector('#comparison .error:not([hidden])')?.innerText.includes('try again')";
    browser.wait_for("why there is no comparison", told).await;
    browser.host.heals();
    browser.find("#comparison button").await.click().await.unwrap();
    browser.wait_for("the comparison", "return !!document.querySelector('#past')").await;
    browser.find("nav a[href='#']").await.click().await.unwrap();
    for name in ["accel-extra", "accel-kernel-page"] {
        browser.host.breaks(name, Fault::Fails);
    }
    browser.find("#run").await.click().await.unwrap();
    browser.wait_for("a run", "return !document.querySelector('#error')?.innerText").await;
    browser.wait_for_results().await;

    let csv = accel(["trace", "generate", "--synthetic", "CNN"]).unwrap();
    drop_file(&browser, "cnn.csv", csv.as_bytes()).await;
    browser.wait_for("why the file cannot be read", &failed("accel-extra")).await;
    browser.find("nav a[href='#kernel']").await.click().await.unwrap();
    let told = "return document.querySelector('#kernel .error')?.innerText.includes('the server answers 503')";
    browser.wait_for("why there is no Kernel page", told).await;
    browser.host.heals();
    browser.find("#kernel button").await.click().await.unwrap();
    wait_for_prediction(&browser, "done").await;
    browser.find("nav a[href='#']").await.click().await.unwrap();
    drop_trace(&browser).await;

    // What the host refused, and nothing else.
    let errors = browser.console_errors().await;
    assert!(errors.iter().all(|error| error.contains("503")), "{errors:#?}");
    browser.end().await;
}

/// Nothing tells a page that its worker closed itself, as one may whose memory is at an end.
#[tokio::test]
async fn a_worker_that_closes_itself_leaves_no_run_behind() {
    let host = host();
    host.breaks(
        "start-",
        Fault::Begins(
            "if (self.document) {
                const Started = self.Worker;
                self.Worker = class extends Started { constructor(...a) { super(...a); self.newestWorker = this; } };
            } else self.addEventListener('message', (event) => {
                if (event.data !== 'close') return;
                event.stopImmediatePropagation();
                self.close();
            });",
        ),
    );
    let browser = browser(host).await;
    // A run that takes long enough to be interrupted.
    let run = ModelRun { decode_tokens: Some(400), tile_bytes: Some(1 << 20), ..ModelRun::default() };
    let recipe = Recipe { workload: Workload::Model(run), ..Recipe::default() };
    browser.open(&format!("#{}", recipe.to_fragment().unwrap())).await;
    let running = "const p = document.querySelector('progress[value]'); return !!p && p.position > 0";
    browser.wait_for("progress", running).await;
    browser.script("newestWorker.postMessage('close'); return true").await;
    browser
        .wait_for("what happened", "return document.querySelector('#error')?.innerText.includes('the worker stopped')")
        .await;
    assert_eq!(browser.script("return document.querySelector('progress').hidden").await, Value::Bool(true));
    // And a new worker takes the next run.
    browser.type_into("decode_tokens", "1").await;
    browser.find("#run").await.click().await.unwrap();
    browser.wait_for_results().await;
    browser.end().await;
}

/// Served with the policy as a header, which workers have as well.
#[tokio::test]
async fn the_page_works_under_its_own_policy() {
    let page = Page::open(page_folder()).unwrap();
    let host = Host::new(router(&Config { page: Some(page), ..Config::default() }, Health::default()));
    let mut browser = Browser::with(host, "", &[SIZE]).await;
    use_everything(&browser).await;
    browser.open("").await;
    browser.wait_for_results().await;
    wait_until_kept(&browser).await;
    browser.host.stop();
    use_everything(&browser).await;
    assert!(browser.console_errors().await.is_empty());

    // The policy holds: what is not a file of the page does not run.
    let script = "const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.ran = true\">');
        // What a driver runs itself may make functions of texts: the page's own turn may not.
        const made = await new Promise((done) => setTimeout(() => {
            try { done(new Function('return true')()); } catch { done(false); }
        }));
        return !!window.ran || made";
    assert_eq!(browser.script(&format!("return (async () => {{ {script} }})()")).await, Value::Bool(false));
    let errors = browser.console_errors().await;
    assert!(!errors.is_empty() && errors.iter().all(|e| e.contains("Content Security Policy")), "{errors:#?}");
    browser.end().await;
}

/// Waits until the page says in words why it did not start.
async fn wait_for_words(browser: &Browser, words: &[&str]) {
    let conditions: Vec<String> = words.iter().map(|words| format!("text.includes({words:?})")).collect();
    let script =
        format!("const text = document.querySelector('#failed')?.innerText ?? ''; return {}", conditions.join(" && "));
    browser.wait_for(&words.join(", "), &script).await;
    // What stood in the HTML stands there still.
    assert_eq!(browser.script("return document.querySelector('#standing').innerText.length > 20").await, true);
}

#[tokio::test]
async fn a_page_that_cannot_start_says_why() {
    for (name, fault, words) in [
        ("accel-app", Fault::Fails, ["the server answers 503 for accel-app-", "reload the page"]),
        (".wasm", Fault::Fails, ["the server answers 503 for accel-app-", "_bg.wasm"]),
        ("accel-app", Fault::SentAs("text/plain"), ["as text/plain, not as text/javascript", "reload the page"]),
        (".wasm", Fault::Begins("<!doctype html>"), ["magic", "reload the page"]),
    ] {
        // A browser keeps what came whole, so each has one of its own.
        let browser = browser(host()).await;
        browser.host.breaks(name, fault);
        browser.open("").await;
        wait_for_words(&browser, &words).await;
        browser.console_errors().await;
        browser.end().await;
    }
    let browser = browser(host()).await;
    // The first answer stands without the rest, which is tried again.
    browser.host.breaks("split_rest", Fault::Fails);
    browser.open("").await;
    let told = "return document.querySelector('.runbar .error:not([hidden])')?.innerText.includes('try again')";
    browser.wait_for("why the rest is missing", told).await;
    browser.host.heals();
    browser.find(".runbar button").await.click().await.unwrap();
    browser.wait_for("the rest", "return !!document.querySelector('#run')").await;
    browser.console_errors().await;
    // A host that knows nothing of WASM has always been good enough.
    browser.host.breaks(".wasm", Fault::SentAs("application/octet-stream"));
    browser.open("").await;
    browser.wait_for_results().await;

    browser.open_address(&format!("file://{}/index.html", page_folder().display())).await;
    wait_for_words(&browser, &["was opened as a file", "http://127.0.0.1:8000"]).await;
    browser.console_errors().await;
    browser.end().await;
}
