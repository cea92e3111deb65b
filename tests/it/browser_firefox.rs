//! The page in Firefox, where it is installed.

use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::run::run;
use accel_tests::browser::Browser;

use crate::browser::{show_tab, wait_for_prediction};

/// The same numbers, every tab, charts that are read, and no error that a script raised.
#[tokio::test]
async fn the_page_works_in_firefox() {
    let Some(browser) = Browser::firefox().await else {
        return accel_tests::skipped("Firefox is not installed: on Debian, apt-get install firefox-esr");
    };
    browser.open("").await;
    browser.script("window.raised = []; addEventListener('error', (e) => window.raised.push(e.message)); addEventListener('unhandledrejection', (e) => window.raised.push(String(e.reason))); return true").await;
    browser.wait_for_results().await;
    let mut recipe = Recipe::default();
    recipe.memory.capacity_bytes = 6_000_000_000;
    browser.type_into("capacity_bytes", "6GB").await;
    browser.find("#run").await.click().await.unwrap();
    browser
        .wait_for("6 GB", "return document.querySelector('caption')?.innerText.includes('6,000,000,000 bytes')")
        .await;
    let native = serde_json::to_string(&run(&recipe, &mut Unattended).unwrap()).unwrap();
    assert!(browser.outcome_json().await == native, "Firefox computes something else");
    browser
        .script(
            "const over = document.querySelector('#hit-rates').parentElement.querySelector('.over');
             const r = over.getBoundingClientRect();
             over.dispatchEvent(new PointerEvent('pointermove', { clientX: r.left + r.width / 2, clientY: r.top + r.height / 2, pointerId: 1, bubbles: true }));
             return true",
        )
        .await;
    let reading = "return document.querySelector('#hit-rates').parentElement.nextSibling.querySelector('.reading').innerText.startsWith('Accesses ')";
    browser.wait_for("what is read", reading).await;
    for (tab, there) in [
        ("Trace", "return !!document.querySelector('#trace-views')"),
        ("Scores", "return document.querySelectorAll('#scores tbody tr').length === 20"),
        ("Compare", "return !!document.querySelector('#pin')"),
    ] {
        show_tab(&browser, tab).await;
        browser.wait_for(tab, there).await;
    }
    show_tab(&browser, "Kernel").await;
    wait_for_prediction(&browser, "done").await;
    browser.screenshot("firefox.png").await;
    assert_eq!(browser.script("return window.raised").await, serde_json::json!([]));
    browser.quit().await;
}
