//! Chromium without a window, driven through ChromeDriver.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::wd::TimeoutConfiguration;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the page may take to show what it is waited for: a limit for failures.
const PATIENCE: Duration = Duration::from_secs(100);

/// Calls `probe` now and after each change of the page, until it returns something: no state is too short to be seen.
const UNTIL: &str = "
const [args, done] = [[...arguments].slice(0, -1), arguments[arguments.length - 1]];
const probe = (args) => { PROBE };
let observer;
const look = () => {
  const found = probe(args);
  if (!found) return;
  observer.disconnect();
  done(found);
};
observer = new MutationObserver(look);
observer.observe(document, { attributes: true, characterData: true, childList: true, subtree: true });
look();
";

/// One browser with a profile of its own. Dropping it ends it, also when a test fails.
pub struct Browser {
    client: Client,
    driver: String,
    // Before the profile that it writes to.
    _process: Child,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        // For the one command that WebDriver's client does not have.
        rustls::crypto::ring::default_provider().install_default().ok();
        let profile = tempfile::tempdir().unwrap();
        let (process, driver) = start_driver().await;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(&profile))
            .connect(&driver)
            .await
            .expect("ChromeDriver cannot start Chromium; set CHROME to its path");
        let patience =
            TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), Some(Duration::ZERO));
        client.update_timeouts(patience).await.unwrap();
        Self { client, driver, _process: process, _profile: profile }
    }

    pub async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// What a function body returns in the page.
    pub async fn ask<T: DeserializeOwned>(&self, body: &str) -> T {
        let found = self.client.execute(body, Vec::new()).await.unwrap();
        serde_json::from_value(found).unwrap()
    }

    /// What the body of a function of `args` returns in the page, as soon as it is truthy.
    pub async fn until<T: DeserializeOwned>(&self, what: &str, body: &str, args: &[Value]) -> T {
        let script = UNTIL.replace("PROBE", body);
        match self.client.execute_async(&script, args.to_vec()).await {
            Ok(found) => serde_json::from_value(found).unwrap(),
            Err(error) => {
                let page: String = self.ask("return document.body.outerHTML").await;
                panic!("waited for: {what}: {error}\n{page}");
            }
        }
    }

    /// As PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// What the console holds of errors since the last time.
    pub async fn errors(&self) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let driver = reqwest::Client::builder().no_proxy().build().unwrap();
        let log: Value = driver
            .post(format!("{}/session/{session}/se/log", self.driver))
            .json(&json!({ "type": "browser" }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let entries = log["value"].as_array().expect("a list of log entries");
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}

async fn start_driver() -> (Child, String) {
    let program = variable("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
    let mut process = Command::new(&program)
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}; set CHROMEDRIVER: {error}"));
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let port = loop {
        let line = lines.next_line().await.unwrap().expect("ChromeDriver ended at once");
        eprintln!("chromedriver: {line}");
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            break port.trim_end_matches('.').to_owned();
        }
    };
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("chromedriver: {line}");
        }
    });
    (process, format!("http://127.0.0.1:{port}"))
}

fn capabilities(profile: &TempDir) -> serde_json::Map<String, Value> {
    let mut options = json!({
        "args": [
            format!("--user-data-dir={}", profile.path().display()),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,900",
            // Chromium ends with ChromeDriver, however that ends.
            "--remote-debugging-pipe",
        ],
    });
    // Without it, ChromeDriver looks in the usual places.
    if let Some(chrome) = variable("CHROME") {
        options["binary"] = chrome.into();
    }
    [
        ("goog:chromeOptions".to_owned(), options),
        ("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" })),
    ]
    .into_iter()
    .collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
