//! `sidetone groups` as an operator uses it, against `sidetone simulate` as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Ends with the test.
struct Cloud {
    process: Child,
    folder: TempDir,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Cloud {
    /// Three agents, 108 to 110, all of them in the group "Sales" with the supervisor, 102.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_sidetone"))
            .args(["simulate", "--rest", "127.0.0.1:0", "--sip", "127.0.0.1:0"])
            // Calls begin when a device has registered, which none does here.
            .args(["--agents", "3", "--calls", "1", "--config"])
            .arg(folder.path().join("lab.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let mut lines = stderr.lines().map(Result::unwrap);
        lines.find(|line| line.starts_with("agent ")).expect("the simulator starts");
        // It says more, and ends if nobody listens.
        std::thread::spawn(move || lines.count());
        Self { process, folder }
    }

    fn config(&self) -> String {
        self.folder.path().join("lab.toml").display().to_string()
    }

    fn groups(&self, arguments: &[&str]) -> Said {
        self.answered(arguments, "")
    }

    fn answered(&self, arguments: &[&str], stdin: &str) -> Said {
        groups(Path::new(&self.config()), arguments, stdin)
    }

    /// What a command prints as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.groups(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    }

    fn done(&self, arguments: &[&str]) -> Said {
        let said = self.groups(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
        said
    }

    /// What a command that fails says.
    fn refused(&self, arguments: &[&str]) -> String {
        let said = self.groups(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        said.stderr
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn groups(config: &Path, arguments: &[&str], stdin: &str) -> Said {
    let mut process = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .arg("groups")
        .args(arguments)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks nothing may have ended by now.
    let _ = process.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = process.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn groups_are_listed_created_renamed_and_deleted() {
    let cloud = Cloud::start();
    assert_eq!(cloud.done(&["list"]).stdout, "ID       NAME\n2300013  Sales\n");
    assert_eq!(cloud.json(&["list", "--json"]), json!([{ "id": "2300013", "name": "Sales" }]));

    let id = cloud.done(&["create", "Support"]).stdout.trim().to_owned();
    cloud.done(&["rename", "Support", "Help desk"]);
    assert_eq!(
        cloud.done(&["list"]).stdout,
        format!("ID       NAME\n2300013  Sales\n{id}  Help desk\n")
    );
    let error = cloud.refused(&["rename", "Support", "Again"]);
    assert!(error.contains("\"Support\"") && error.contains("2300013 (\"Sales\")"), "{error}");

    for (answer, code, left) in [("", 1, 2), ("no\n", 1, 2), ("y\n", 0, 1)] {
        let said = cloud.answered(&["delete", "Help desk"], answer);
        assert_eq!(said.code, Some(code), "{answer:?}: {}", said.stderr);
        assert!(said.stderr.contains("with 0 members? [y/N]"), "{}", said.stderr);
        assert!(code == 0 || said.stderr.contains("--yes"), "{}", said.stderr);
        assert_eq!(cloud.json(&["list", "--json"]).as_array().unwrap().len(), left, "{answer:?}");
    }
    cloud.done(&["delete", "2300013", "--yes"]);
    assert!(cloud.done(&["list"]).stdout.contains("sidetone groups create"));
    let blank = cloud.refused(&["create", " "]);
    assert!(blank.contains("name"), "{blank}");
}

#[test]
fn supervisors_and_agents_come_and_go() {
    let cloud = Cloud::start();
    let members = cloud.done(&["members", "Sales"]).stdout;
    let lines: Vec<&str> = members.lines().collect();
    assert_eq!(lines.len(), 5, "{members}");
    assert!(lines[0].starts_with("NUMBER  NAME "), "{members}");
    let agent = lines.iter().find(|line| line.starts_with("108 ")).expect("the first agent");
    let words: Vec<&str> = agent.split_whitespace().collect();
    assert_eq!(words, ["108", "Daniel", "Reed", "agent", "62226587016"], "{members}");
    assert_eq!(agent.find("agent"), lines[0].find("ROLE"), "{members}");

    cloud.done(&["create", "Support"]);
    assert!(cloud.done(&["members", "Support"]).stdout.contains("groups assign"));
    // By number and by id; one may be both.
    cloud.done(&[
        "assign",
        "Support",
        "--add-supervisor",
        "102,108",
        "--add-agent",
        "108, 62226587017",
    ]);
    let roles = |members: Value| -> Vec<(String, bool, bool)> {
        let role = |member: &Value| {
            let number = member["extensionNumber"].as_str().unwrap().to_owned();
            let is = |key: &str| member[key].as_bool().unwrap();
            (number, is("isSupervisor"), is("isAgent"))
        };
        let mut roles: Vec<_> = members.as_array().unwrap().iter().map(role).collect();
        roles.sort();
        roles
    };
    let of = |number: &str, supervisor, agent| (number.to_owned(), supervisor, agent);
    assert_eq!(
        roles(cloud.json(&["members", "Support", "--json"])),
        [of("102", true, false), of("108", true, true), of("109", false, true)]
    );
    cloud.done(&["assign", "Support", "--remove-supervisor", "108", "--remove-agent", "109"]);
    assert_eq!(
        roles(cloud.json(&["members", "Support", "--json"])),
        [of("102", true, false), of("108", false, true)]
    );
    let again = cloud.done(&["assign", "Support", "--add-agent", "108"]);
    assert!(again.stderr.contains("like that already"), "{}", again.stderr);

    for (arguments, reason) in [
        (&["--add-agent", "999"][..], "\"999\""),
        (&["--remove-agent", "110"], "sidetone groups members"),
        (&["--add-agent", "110", "--remove-agent", "110"], "to be added and removed"),
    ] {
        let error = cloud.refused(&[&["assign", "Support"], arguments].concat());
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    let nothing = cloud.groups(&["assign", "Support"]);
    assert_eq!(nothing.code, Some(64), "{}", nothing.stderr);
}

#[test]
fn a_cloud_that_is_away_is_named_with_what_to_check() {
    let cloud = Cloud::start();
    let config = cloud.folder.path().join("away.toml");
    let text = std::fs::read_to_string(cloud.config()).unwrap();
    let away: String = text
        .lines()
        .map(|line| match line.starts_with("server") {
            true => "server = \"http://127.0.0.1:1\"\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&config, away).unwrap();
    let said = groups(&config, &["list"], "");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("[ringcentral] server"), "{}", said.stderr);
    assert!(!said.stderr.contains("sidetone-demo-secret"), "{}", said.stderr);
}
