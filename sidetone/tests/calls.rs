//! `sidetone calls` as an operator uses it, against `sidetone serve` and `sidetone simulate` as processes of their own.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A limit for failures. Nothing waits for so long when it works.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cloud with one call of extension 108 on the line, and a system that listens to nobody unless asked.
struct Lab {
    simulator: Child,
    system: Child,
    call: String,
    config: PathBuf,
    _folder: TempDir,
}

impl Lab {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("lab.toml");
        let mut simulator = sidetone()
            .args(["simulate", "--rest", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let call = first_line(simulator.stderr.take().unwrap(), "call ");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("62226587016", "62226587017");
        let database = folder.path().join("transcripts.db");
        let rest = format!(
            "[sip]\nlisten = \"127.0.0.1:0\"\n\
             [relay]\nlisten = \"127.0.0.1:0\"\ningest_listen = \"127.0.0.1:0\"\ndatabase = {database:?}\n\
             [control]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"a-token-of-the-test\"\n"
        );
        std::fs::write(&config, format!("{text}\n{rest}")).unwrap();
        let mut system = sidetone()
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        first_line(system.stdout.take().unwrap(), "captions:");
        Self { simulator, system, call, config, _folder: folder }
    }

    fn calls(&self, arguments: &[&str]) -> Output {
        sidetone().arg("calls").args(arguments).arg("--config").arg(&self.config).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.calls(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.calls(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Asks until the call is at a stage.
    fn reaches(&self, stage: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let calls: Value = serde_json::from_str(&self.done(&["list", "--json"])).unwrap();
            if let Some(call) = calls.as_array().unwrap().iter().find(|it| it["stage"] == stage) {
                return call.clone();
            }
            assert!(Instant::now() < deadline, "never {stage}: {calls}");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in [&mut self.system, &mut self.simulator] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn sidetone() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sidetone"))
}

/// What follows the beginning of the first line that begins so.
fn first_line(output: impl Read + Send + 'static, beginning: &str) -> String {
    let mut lines = BufReader::new(output).lines().map(Result::unwrap);
    let found = lines.find_map(|line| line.strip_prefix(beginning).map(|it| it.trim().to_owned()));
    // Whoever writes must be able to go on.
    std::thread::spawn(move || lines.count());
    found.unwrap_or_else(|| panic!("no line begins with {beginning:?}"))
}

#[test]
fn a_call_is_taken_up_by_number_listed_consented_to_and_left() {
    let lab = Lab::start();
    assert_eq!(lab.done(&["list"]), "no call is followed at the moment\n");
    let unknown = lab.refused(&["stop", &lab.call]);
    assert!(unknown.contains("no such call is followed; list the calls"), "{unknown}");
    let nobody = lab.refused(&["supervise", &lab.call, "--agent", "999"]);
    assert!(nobody.contains("no extension of the account has this number"), "{nobody}");

    lab.done(&["supervise", &lab.call, "--agent", "108"]);
    let call = lab.reaches("listening");
    assert_eq!(call["call_id"], lab.call);
    assert_eq!((&call["consent"], &call["consent_source"]), (&"unknown".into(), &"policy".into()));
    lab.done(&["consent", &lab.call, "granted"]);
    let shown: Value = serde_json::from_str(&lab.done(&["show", &lab.call])).unwrap();
    assert_eq!(
        (&shown["consent"], &shown["consent_source"]),
        (&"granted".into(), &"operator".into())
    );
    let table = lab.done(&["list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("CALL ") && lines[0].ends_with("WHY"), "{table}");
    assert!(lines[1].starts_with(&lab.call) && lines[1].contains("granted"), "{table}");

    lab.done(&["stop", &lab.call]);
    lab.reaches("stopped");
    lab.done(&["consent", &lab.call, "refused"]);
    lab.reaches("consent_refused");

    // Without the token nobody learns anything.
    let text = std::fs::read_to_string(&lab.config).unwrap();
    std::fs::write(&lab.config, text.replace("a-token-of-the-test", "another-token-entirely"))
        .unwrap();
    let stranger = lab.refused(&["list"]);
    assert!(stranger.contains("bearer token") && !stranger.contains("another-token"), "{stranger}");
}
