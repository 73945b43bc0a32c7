//! Chromium by the DevTools protocol: JSON messages that end with a zero byte, over two pipes
//! (`--remote-debugging-pipe`: it reads descriptor 3 and writes descriptor 4).
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub struct Chromium {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Its profile; removed with it.
    _home: tempfile::TempDir,
    asked: u64,
    events: Vec<Value>,
}

/// A page that is open.
pub struct Tab<'a> {
    browser: &'a mut Chromium,
    session: String,
}

impl Chromium {
    /// Starts it, or says why it cannot be had.
    pub fn start() -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|e| e.to_string())?;
        let found = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find(|name| {
                let probe = Command::new(name)
                    .arg("--version")
                    .env("HOME", home.path())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                probe.is_ok_and(|status| status.success())
            });
        let name = found.ok_or("no chromium on the path (Debian: apt-get install chromium)")?;
        // The shell moves its own standard streams to where Chromium looks.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null";
        let mut process = Command::new("sh")
            .args(["-c", script, name])
            .args([
                "--headless",
                "--disable-gpu",
                "--no-first-run",
                "--disable-dev-shm-usage",
            ])
            // Its own sandbox refuses root; the page is ours.
            .args(["--no-sandbox", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", home.path().display()))
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        let mut browser = Self {
            process,
            to,
            from,
            _home: home,
            asked: 0,
            events: Vec::new(),
        };
        match browser.try_ask("Browser.getVersion", json!({}), None) {
            Some(_) => Ok(browser),
            None => Err(format!("{name} does not start here")),
        }
    }

    /// Opens a page on a screen of this size, and waits until it has loaded.
    pub fn open(&mut self, page: &Path, fragment: &str, (width, height): (u32, u32)) -> Tab<'_> {
        let target = self.ask("Target.createTarget", json!({"url": "about:blank"}), None);
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask("Target.attachToTarget", attach, None)["sessionId"]
            .as_str()
            .unwrap()
            .to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.ask(domain, json!({}), Some(&session));
        }
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", screen, Some(&session));
        let url = format!("file://{}{fragment}", page.display());
        self.ask("Page.navigate", json!({"url": url}), Some(&session));
        let mut tab = Tab {
            browser: self,
            session,
        };
        let patience = Instant::now() + Duration::from_secs(60);
        while tab.text("document.readyState + location.protocol") != "completefile:" {
            assert!(Instant::now() < patience, "the page does not load");
            std::thread::sleep(Duration::from_millis(20));
        }
        tab
    }

    fn ask(&mut self, method: &str, params: Value, session: Option<&str>) -> Value {
        self.try_ask(method, params, session)
            .unwrap_or_else(|| panic!("the browser ended at {method}"))
    }

    /// The answer; `None` where the browser has ended. Events that come before it are kept.
    fn try_ask(&mut self, method: &str, params: Value, session: Option<&str>) -> Option<Value> {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).ok()?;
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).ok()?;
            answer.pop()?;
            let answer: Value = serde_json::from_slice(&answer).ok()?;
            if answer["id"] == json!(self.asked) {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Some(answer["result"].clone());
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It ends with its children when it is asked to; killed, if it does not listen.
        self.try_ask("Browser.close", json!({}), None);
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tab<'_> {
    fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let answer = self
            .browser
            .ask("Runtime.evaluate", params, Some(&self.session));
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Runs a statement; each in a scope of its own.
    pub fn run(&mut self, statement: &str) {
        self.value(&format!("(() => {{ {statement}; }})()"));
    }

    pub fn number(&mut self, expression: &str) -> i64 {
        let value = self.value(expression);
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{expression}: {value}")) as i64
    }

    pub fn text(&mut self, expression: &str) -> String {
        self.value(expression)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// What the page said on its console or threw.
    pub fn complaints(&mut self) -> Vec<String> {
        // Whatever has been said is on its way before the answer to this.
        self.value("0");
        let is_complaint = |event: &&Value| {
            matches!(
                event["method"].as_str(),
                Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded")
            )
        };
        self.browser
            .events
            .iter()
            .filter(is_complaint)
            .map(Value::to_string)
            .collect()
    }
}
