//! What the program answers to a command line that cannot be carried out.

use std::net::TcpListener;
use std::process::{Command, Output};

#[test]
fn a_wrong_command_line_or_file_ends_with_64_and_says_why() {
    for (arguments, reason) in [
        (&["bogus"][..], "unrecognized subcommand"),
        (&["demo", "--shape", "star"], "use one of two-legs, two-media, mixed"),
        (&["demo", "--loss", "200"], "0 to 100"),
        (&["demo", "--agent", "none.wav", "--customer", "none.wav"], "cannot read none.wav"),
        (&["demo", "--model", "nothing"], "there is no model called \"nothing\""),
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

fn sidetone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidetone")).args(arguments).output().unwrap()
}
