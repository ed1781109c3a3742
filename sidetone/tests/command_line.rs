//! What the program answers to a command line that cannot be carried out.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

#[test]
fn a_wrong_command_line_or_file_ends_with_64_and_says_why() {
    for (arguments, reason) in [
        (&["bogus"][..], "unrecognized subcommand"),
        (&["demo", "--shape", "star"], "use one of two-legs, two-media, mixed"),
        (&["demo", "--loss", "200"], "0 to 100"),
        (&["demo", "--agent", "none.wav", "--customer", "none.wav"], "cannot read none.wav"),
        (&["demo", "--model", "nothing"], "there is no model called \"nothing\""),
        (&["demo", "--backends", "vosk"], "there is no backend \"vosk\""),
        (&["demo", "--backends", "grpc", "--grpc", "here"], "[transcriber.grpc] address: \"here\""),
        (&["serve", "--config", "none.toml"], "cannot read the configuration none.toml"),
    ] {
        let output = sidetone(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_question_about_the_program_is_no_failure() {
    for argument in ["--help", "--version"] {
        let output = sidetone(&[argument]);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{argument}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_flag_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = sidetone(&["demo", "--port", &port]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--port") && stderr.contains(&port), "{stderr}");
}

#[test]
fn the_doctor_fails_with_what_is_wrong_as_json() {
    let output = sidetone(&["doctor", "--config", "none.toml", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], false);
    assert_eq!(report["checks"][0]["name"], "configuration");
    let what = report["checks"][0]["what"].as_str().unwrap();
    assert!(what.contains("none.toml") && what.contains("sidetone init"), "{what}");
}

#[test]
fn init_writes_a_file_unattended_and_does_not_replace_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidetone.toml");
    let init = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_sidetone"))
            .args(["init", "--config", file.to_str().unwrap()])
            // Nobody listens there: agents have to be given by id.
            .args(["--server", "http://127.0.0.1:1", "--client-id", "id", "--device-id", "80"])
            .args(arguments)
            .env("SIDETONE_CLIENT_SECRET", "hush")
            .env("SIDETONE_JWT", "hush.hush")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = init(&["--agents", "108"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\"108\" is no extension id") && !stderr.contains("hush"), "{stderr}");
    assert_eq!(init(&["--agents", "62226587016"]).status.code(), Some(0));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("client_secret = \"hush\""), "{written}");
    let output = init(&["--agents", "62226587016"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--force"));
}

fn sidetone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidetone")).args(arguments).output().unwrap()
}
