//! Headless Chromium with the page, for tests and the page's benchmark.
//!
//! A failure here is a failed test: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::host::Host;
use crate::root;

/// What takes longer hangs: a busy machine may take minutes.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// A browser with a page to show.
#[derive(Debug)]
pub struct Browser {
    driver: WebDriver,
    /// Where the page comes from.
    pub host: Host,
    page: String,
    _process: Child,
    _profile: tempfile::TempDir,
}

fn required(variable: &str) -> PathBuf {
    let value = std::env::var_os(variable);
    value.unwrap_or_else(|| panic!("{variable} is not set. Run the browser tests with `cargo xtask test`")).into()
}

/// The folder of the built page.
pub fn page_folder() -> PathBuf {
    required("ACCEL_PAGE")
}

impl Browser {
    /// Starts a browser with a window of that size, and the page under /some/folder/ on a static host.
    pub async fn start(width: u32, height: u32) -> Self {
        Self::with(Host::of_folder(page_folder()), "some/folder/", &[&format!("--window-size={width},{height}")]).await
    }

    /// Starts Firefox with the page under /some/folder/ on a static host; none where it is not installed.
    pub async fn firefox() -> Option<Self> {
        let firefox = std::env::var_os("FIREFOX")?;
        let mut capabilities = DesiredCapabilities::firefox();
        capabilities.set_headless().unwrap();
        capabilities.set_firefox_binary(firefox.to_str().unwrap()).unwrap();
        let host = Host::of_folder(page_folder());
        let profile = tempfile::tempdir().unwrap();
        Some(Self::driven("GECKODRIVER", capabilities, (host, "some/folder/"), profile).await)
    }

    /// Starts a browser with further arguments and the page at `path` of `host`.
    pub async fn with(host: Host, path: &str, arguments: &[&str]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(required("CHROME").to_str().unwrap()).unwrap();
        let profile_argument = format!("--user-data-dir={}", profile.path().display());
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            &profile_argument,
        ]
        .iter()
        .chain(arguments)
        {
            capabilities.add_arg(argument).unwrap();
        }
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        Self::driven("CHROMEDRIVER", capabilities, (host, path), profile).await
    }

    /// A browser by the driver that `variable` names.
    async fn driven<C>(variable: &str, capabilities: C, (host, path): (Host, &str), profile: tempfile::TempDir) -> Self
    where
        C: Clone + Into<thirtyfour::Capabilities>,
    {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let process = Command::new(required(variable))
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the driver starts");
        let url = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        accel_model::client::choose_tls();
        let driver = loop {
            match WebDriver::new(&url, capabilities.clone()).await {
                Ok(driver) => break driver,
                Err(error) if started.elapsed() > HANGS_AFTER => panic!("no browser: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        Self { driver, page: format!("http://{}/{path}", host.address()), host, _process: process, _profile: profile }
    }

    /// Opens another address than the page's.
    pub async fn open_address(&self, address: &str) {
        self.driver.goto(address).await.unwrap();
    }

    /// Opens the page at `fragment` (may be empty), loading it anew.
    pub async fn open(&self, fragment: &str) {
        // A page is not loaded again for another fragment alone.
        self.driver.goto("about:blank").await.unwrap();
        self.driver.goto(format!("{}{fragment}", self.page)).await.unwrap();
    }

    /// The origin of the page, as servers see it.
    pub fn origin(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// The first element that `css` selects.
    pub async fn find(&self, css: &str) -> WebElement {
        self.driver.query(By::Css(css)).first().await.unwrap()
    }

    /// Runs a script and returns what it returns.
    pub async fn script(&self, script: &str) -> Value {
        let answer = self.driver.execute(script, vec![]).await.unwrap();
        answer.json().clone()
    }

    /// Waits until the script returns true.
    pub async fn wait_for(&self, what: &str, script: &str) {
        let started = Instant::now();
        while self.script(script).await != Value::Bool(true) {
            if started.elapsed() > HANGS_AFTER {
                let body = self.script("return document.body.innerText").await;
                panic!("waited in vain for {what}. The page reads: {body}");
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until the run is finished.
    pub async fn wait_for_results(&self) {
        self.wait_for("results", "return document.querySelector('#results')?.dataset.state === 'done'").await;
    }

    /// What the page hands to scripts as JSON.
    pub async fn outcome_json(&self) -> String {
        self.script("document.querySelector('#json').open = true; return true").await;
        self.wait_for("JSON", "return document.querySelector('#outcome-json').value.length > 0").await;
        self.script("return document.querySelector('#outcome-json').value").await.as_str().unwrap().to_owned()
    }

    /// The text of a cell of the metrics, without notes, and the number behind it.
    pub async fn metric(&self, policy: &str, metric: &str) -> (String, f64) {
        let cell = self.find(&format!("td[data-policy='{policy}'][data-metric='{metric}']")).await;
        let script = format!(
            "return document.querySelector(\"td[data-policy='{policy}'][data-metric='{metric}']\").firstChild.textContent"
        );
        let text = self.script(&script).await;
        let value = cell.attr("data-value").await.unwrap().unwrap().parse().unwrap();
        (text.as_str().unwrap().to_owned(), value)
    }

    /// Opens a part of the page by a click on its heading. What grows above may carry the heading away from under the
    /// pointer, as from under a reader's: then it is clicked again.
    pub async fn unfold(&self, id: &str) {
        let opened = format!("return document.querySelector('#{id}').open");
        let started = Instant::now();
        loop {
            let clicked = self.find(&format!("#{id} > summary")).await.click().await;
            if self.script(&opened).await == Value::Bool(true) {
                break;
            }
            assert!(started.elapsed() < HANGS_AFTER, "#{id} stays shut: {clicked:?}");
        }
    }

    /// Types into a field, or chooses in a list, once it is there: what is opened is built a turn later.
    pub async fn type_into(&self, id: &str, text: &str) {
        let there = format!("return !!document.getElementById('{id}')");
        self.wait_for(&format!("the field {id}"), &there).await;
        let script = format!(
            "const e = document.getElementById('{id}'); e.value = {text:?};
             e.dispatchEvent(new Event('input', {{bubbles: true}})); e.dispatchEvent(new Event('change', {{bubbles: true}})); return true"
        );
        self.script(&script).await;
    }

    /// Clicks on the first element that an XPath selects, as a hand does.
    pub async fn press(&self, path: &str) {
        self.driver.query(By::XPath(path)).first().await.unwrap().click().await.unwrap();
    }

    /// Drags from a place of an element to another, as a hand does: shares of its width and height from its middle.
    pub async fn drag(&self, css: &str, from: f64, to: f64) {
        let element = self.find(css).await;
        element.scroll_into_view().await.unwrap();
        let width = element.rect().await.unwrap().width;
        let chain = self.driver.action_chain().move_to_element_center(&element);
        let chain = chain.move_by_offset((width * from) as i64, 0).click_and_hold();
        let way = (width * (to - from) / 10.0) as i64;
        let chain = (0..10).fold(chain, |chain, _| chain.move_by_offset(way, 0));
        chain.release().perform().await.unwrap();
    }

    /// Gives the window another size.
    pub async fn resize(&self, width: u32, height: u32) {
        self.driver.set_window_rect(0, 0, width, height).await.unwrap();
    }

    /// Saves what the window shows.
    pub async fn screenshot(&self, name: &str) {
        let folder =
            std::env::var_os("ACCEL_SCREENSHOTS").map_or_else(|| root().join("target/screenshots"), PathBuf::from);
        std::fs::create_dir_all(&folder).unwrap();
        self.driver.screenshot(&folder.join(name)).await.unwrap();
    }

    /// From now on the page looks as it does on paper: what holds for paper holds for the screen.
    pub async fn as_printed(&self) {
        let rules = "for (const sheet of document.styleSheets) for (const rule of sheet.cssRules)
            if (rule.media?.mediaText === 'print') rule.media.mediaText = 'all';
            return true";
        self.script(rules).await;
    }

    /// The errors that the browser's console shows since they were last asked for: what a test brings about on purpose.
    pub async fn console_errors(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap();
        entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }

    /// Closes the browser; no error may be in its console.
    pub async fn end(self) {
        let errors = self.console_errors().await;
        assert!(errors.is_empty(), "the browser's console shows errors: {errors:#?}");
        self.quit().await;
    }

    /// Closes a browser that tells nothing of its console, as Firefox does not.
    pub async fn quit(self) {
        self.driver.quit().await.unwrap();
    }
}
