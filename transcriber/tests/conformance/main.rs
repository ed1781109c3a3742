//! `transcriber conformance` finds nothing wrong with a good server, and finds each fault of a bad one by its name.

mod openai;
mod server;

use clap::Parser;
use server::Fault;
use tokio::task::JoinSet;
use transcriber::conformance::{ConformanceArguments, Outcome, Report};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: ConformanceArguments,
}

/// Examines the server that the arguments name.
pub async fn examine(arguments: &[&str]) -> Report {
    let command = Command::try_parse_from(["conformance"].iter().chain(arguments)).unwrap();
    command.arguments.examine(|_| {}).await.unwrap()
}

async fn examine_with(fault: Fault) -> Report {
    let address = server::start(fault).await;
    examine(&["--backend", &format!("grpc://{address}")]).await
}

/// The outcome of a check that was made.
pub fn outcome<'a>(report: &'a Report, name: &str) -> &'a Outcome {
    let found: Vec<_> = report.checks.iter().filter(|check| check.name == name).collect();
    match found.as_slice() {
        [check] => &check.outcome,
        _ => panic!("{} checks are called {name}: {report:?}", found.len()),
    }
}

/// The check has failed, with a step that mends it, which has a word in it.
pub fn assert_failed(report: &Report, name: &str, step: &str) {
    match outcome(report, name) {
        Outcome::Failed { what, mend } => {
            assert!(!what.is_empty());
            assert!(mend.contains(step), "{name}: {what}; mend: {mend}");
        }
        other => panic!("{name}: {other:?}; all: {report:?}"),
    }
}

#[tokio::test]
async fn a_good_server_passes_every_check() {
    let report = examine_with(Fault::None).await;
    let names: Vec<_> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "connection",
            "capabilities",
            "health",
            "speech",
            "order",
            "times",
            "finals",
            "pace",
            "silence",
            "independence",
            "garbage",
            "cancellation",
            "overload",
            "restart",
        ]
    );
    for check in &report.checks {
        // How quick the machine is says nothing about the server.
        let is_good = matches!(check.outcome, Outcome::Ok { .. }) || check.name == "pace";
        assert!(is_good, "{check}");
    }
    assert_eq!(report.to_json()["conforms"], true);
}

#[tokio::test]
async fn nobody_there_is_told_and_nothing_else_is_looked_at() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let report = examine(&["--backend", &format!("grpc://{address}")]).await;
    assert_failed(&report, "connection", "start the server");
    let others = &report.checks[1..];
    assert_eq!(others.len(), 13);
    assert!(others.iter().all(|check| matches!(check.outcome, Outcome::Skipped { .. })));
    assert_eq!(report.to_json()["conforms"], false);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for address in [
        "grpc://",
        "grpc://host",
        "grpc://host:0",
        "localhost:50051",
        "ftp://host/v1",
        "grpc://host:1/x",
    ] {
        let command = Command::try_parse_from(["conformance", "--backend", address]).unwrap();
        let error = command.arguments.examine(|_| {}).await.unwrap_err().to_string();
        assert!(error.contains(address) && error.contains("127.0.0.1"), "{error}");
    }
}

/// Each server has one fault: the named check fails, with a step that has the given words in it. All at once, since an
/// examination listens for as long as speech takes.
#[tokio::test]
async fn every_fault_is_found() {
    let faults = [
        (Fault::NoCapabilities, "capabilities", "answer GetCapabilities"),
        (Fault::NamelessCapabilities, "capabilities", "Capabilities.name"),
        (Fault::NoLanguages, "capabilities", "Capabilities.languages"),
        (Fault::NoStreams, "capabilities", "Capabilities.max_streams"),
        (Fault::CapabilitiesThatChange, "capabilities", "the same"),
        (Fault::Unhealthy, "health", "wait until"),
        (Fault::HearsNothing, "speech", "16-bit little-endian"),
        (Fault::NeverAnswers, "finals", "is_final = true"),
        (Fault::FinalBeforeTheEnd, "order", "after EndOfUtterance"),
        (Fault::TimesInSeconds, "times", "milliseconds"),
        (Fault::TimesBeyondTheAudio, "times", "milliseconds"),
        (Fault::TimesThatRunBackwards, "times", "in the order"),
        (Fault::WordsThatEndBeforeTheyStart, "times", "which of the two"),
        (Fault::NoWordTimes, "times", "Capabilities.word_times"),
        (Fault::TwoFinals, "finals", "end the stream"),
        (Fault::PartialAfterTheFinal, "finals", "end the stream"),
        (Fault::StreamLeftOpen, "finals", "end the stream"),
        (Fault::ErrorAfterTheFinal, "finals", "with OK"),
        (Fault::WordsInSilence, "silence", "empty final"),
        (Fault::FailsWithoutAudio, "silence", "also none"),
        (Fault::RemembersTheLastSpeaker, "independence", "reset"),
        (Fault::TakesGarbage, "garbage", "INVALID_ARGUMENT"),
        (Fault::WrongStatusForGarbage, "garbage", "INVALID_ARGUMENT"),
        (Fault::KeepsCancelledStreams, "cancellation", "cancelled"),
        (Fault::QueuesInsteadOfRefusing, "overload", "instead of queueing"),
        (Fault::WrongStatusForOverload, "overload", "RESOURCE_EXHAUSTED"),
        (Fault::TakesFewerThanItSays, "overload", "max_streams"),
        (Fault::OtherAfterReconnect, "restart", "next connection"),
    ];
    let mut examinations = JoinSet::new();
    for (fault, check, step) in faults {
        examinations.spawn(async move {
            let report = examine_with(fault).await;
            eprintln!("{fault:?}");
            assert_failed(&report, check, step);
        });
    }
    while let Some(examined) = examinations.join_next().await {
        examined.expect("the fault is found");
    }
}

#[tokio::test]
async fn a_slow_final_is_a_warning() {
    let report = examine_with(Fault::SlowFinal).await;
    assert!(matches!(outcome(&report, "pace"), Outcome::Warning { .. }), "{report:?}");
    assert_eq!(report.failures(), 0, "{report:?}");
}

fn transcriber(arguments: &[&str]) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_transcriber");
    std::process::Command::new(program).arg("conformance").args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_people_and_programs() {
    let address = format!("grpc://{}", server::start(Fault::NoStreams).await);
    let told = transcriber(&["--backend", &address]);
    assert_eq!(told.status.code(), Some(1));
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("failed   capabilities: max_streams is 0\n         mend: "), "{text}");

    let told = transcriber(&["--backend", &address, "--json"]);
    assert_eq!(told.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&report["conforms"], &report["checks"][1]["outcome"]),
        (&false.into(), &"failed".into())
    );

    let told = transcriber(&["--backend", "localhost"]);
    assert_eq!(told.status.code(), Some(64));
    assert!(String::from_utf8(told.stderr).unwrap().contains("--backend localhost"));
}

/// `make test-backends` starts it, and names it by `RECOGNISER`.
#[tokio::test]
#[ignore = "needs the example recogniser: make test-backends"]
async fn the_example_recogniser_passes_every_check() {
    let address = std::env::var("RECOGNISER").expect("RECOGNISER");
    let report = examine(&["--backend", &address]).await;
    report.checks.iter().for_each(|check| println!("{check}"));
    assert_eq!(report.failures(), 0);
    let is_skipped = |outcome: &Outcome| matches!(outcome, Outcome::Skipped { .. });
    assert!(!report.checks.iter().any(|check| is_skipped(&check.outcome)));
}
