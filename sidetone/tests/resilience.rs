//! The transcriber dies or hangs in the middle of a call, and no word is missing from the transcript.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sidetone::TRANSCRIBER_COMMAND;
use sidetone::demo::Tally;
use sidetone_proto::Role;
use simulator::{Audio, Turn, demo_transcript};
use tempfile::TempDir;
use web_relay::event::{Caption, Event};

/// The call is cut after the last turn that ends before this.
const CALL_MS: u64 = 45_000;

/// What a turn's audio keeps after its end: less than the pause before the next one.
const TAIL_MS: u64 = 250;

/// Nothing in a call takes longer. The gateway gives up on a transcriber after a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Share of a party's words that may be wrong, in percent: what the model gets wrong in this call anyway, and a word or
/// two. A lost or repeated utterance is more.
const ERRORS_PERCENT: f64 = 9.0;

#[test]
fn a_transcriber_that_is_killed_costs_no_word() {
    let mut call = Call::start();
    call.until_mid_utterance();
    call.signal(Signal::KILL);
    check(call);
}

#[test]
fn a_transcriber_that_is_killed_again_costs_no_word() {
    let mut call = Call::start();
    call.until_mid_utterance();
    let first = call.signal(Signal::KILL);
    call.until_mid_utterance();
    let second = call.signal(Signal::KILL);
    assert_ne!(first, second);
    check(call);
}

#[test]
fn a_transcriber_that_hangs_for_seconds_costs_no_word() {
    let mut call = Call::start();
    call.until_mid_utterance();
    let hanging = call.signal(Signal::STOP);
    call.follow(Duration::from_secs(5));
    assert_eq!(call.signal(Signal::CONT), hanging);
    check(call);
}

#[test]
fn a_transcriber_that_hangs_until_it_is_given_up_costs_no_word() {
    let mut call = Call::start();
    call.until_mid_utterance();
    let hanging = call.signal(Signal::STOP);
    // Its silence is noticed after ten seconds.
    call.until(|event| matches!(event, Event::Status(_)));
    assert_eq!(call.signal(Signal::CONT), hanging);
    check(call);
}

/// `sidetone demo` with the beginning of the bundled call.
struct Call {
    process: Child,
    incoming: Receiver<Event>,
    events: Vec<Event>,
    turns: Vec<Turn>,
    _recordings: TempDir,
}

impl Call {
    fn start() -> Self {
        let turns: Vec<Turn> =
            demo_transcript().into_iter().filter(|turn| turn.end_ms < CALL_MS).collect();
        let length_ms = turns.iter().map(|turn| turn.end_ms).max().unwrap() + TAIL_MS;
        let recordings = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
        command.args(["demo", "--once", "--json"]);
        for (option, audio) in
            [("--agent", Audio::demo_agent()), ("--customer", Audio::demo_customer())]
        {
            let path = recordings.path().join(option);
            record(&path, &audio, length_ms);
            command.arg(option).arg(path);
        }
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, incoming) = channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.unwrap();
                // The test may have failed meanwhile.
                let _ = sender.send(serde_json::from_str(&line).expect(&line));
            }
        });
        Self { process, incoming, events: Vec::new(), turns, _recordings: recordings }
    }

    /// Waits for an event. `None`: the process has closed its output.
    fn next(&mut self) -> Option<&Event> {
        match self.incoming.recv_timeout(PATIENCE) {
            Ok(event) => self.events.push(event),
            Err(error) if self.events.last().is_some_and(is_end) => {
                assert_eq!(error, std::sync::mpsc::RecvTimeoutError::Disconnected);
                return None;
            }
            Err(error) => panic!("{error}, after {:?}", self.events.last()),
        }
        self.events.last()
    }

    fn until(&mut self, mut wanted: impl FnMut(&Event) -> bool) {
        while !wanted(self.next().expect("the call goes on")) {}
    }

    /// Waits for a final, and then until somebody is in the middle of a sentence.
    fn until_mid_utterance(&mut self) {
        self.until(|event| matches!(event, Event::Final(_)));
        self.until(|event| matches!(event, Event::Partial(caption) if caption.revision >= 2));
    }

    /// Takes events for a time.
    fn follow(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let left = || end.saturating_duration_since(Instant::now());
        while let Ok(event) = self.incoming.recv_timeout(left()) {
            self.events.push(event);
        }
    }

    /// Sends a signal to the transcriber, and says which process that is.
    fn signal(&self, signal: Signal) -> Pid {
        let transcriber = children_of(self.process.id())
            .find(|pid| {
                let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&arguments).split('\0').any(|it| it == TRANSCRIBER_COMMAND)
            })
            .expect("the transcriber is a child of the demo");
        let pid = Pid::from_raw(transcriber).unwrap();
        kill_process(pid, signal).unwrap();
        pid
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Follows the call to its end and holds the transcript against what was said.
fn check(mut call: Call) {
    while call.next().is_some() {}
    assert!(call.process.wait().unwrap().success());
    let events = &call.events;
    let seqs: Vec<u64> = events.iter().map(Event::seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Gap(_))), "a gap");
    assert_eq!(events.iter().filter(|event| is_end(event)).count(), 1);

    let roles: HashSet<Role> = finals(events).map(|caption| caption.role).collect();
    assert_eq!(roles, HashSet::from([Role::Agent, Role::Customer]));
    for role in roles {
        let mut heard: Vec<&Caption> =
            finals(events).filter(|caption| caption.role == role).collect();
        heard.sort_by_key(|caption| caption.start_ms);
        for pair in heard.windows(2) {
            assert!(pair[0].segment < pair[1].segment, "{pair:?}");
            assert!(pair[0].end_ms <= pair[1].start_ms, "{pair:?}");
        }
        let said: Vec<&Turn> =
            call.turns.iter().filter(|turn| turn.speaker == role.as_str()).collect();
        for turn in &said {
            let covered: u64 = heard.iter().map(|caption| overlap_ms(caption, turn)).sum();
            assert!(10 * covered >= 8 * (turn.end_ms - turn.start_ms), "{role}: {turn:?}");
        }
        let said = said.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join(" ");
        let heard = heard.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(" ");
        let words = Tally::count(&said, &heard);
        assert!(words.percent() <= ERRORS_PERCENT, "{role}: {words:?}\n{said}\n{heard}");
    }
}

fn record(path: &Path, audio: &Audio, length_ms: u64) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: audio.sample_rate(),
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let samples = (length_ms * u64::from(audio.sample_rate()) / 1_000) as usize;
    let mut wav = hound::WavWriter::create(path, spec).unwrap();
    audio.samples()[..samples].iter().for_each(|&sample| wav.write_sample(sample).unwrap());
    wav.finalize().unwrap();
}

fn children_of(parent: u32) -> impl Iterator<Item = i32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.filter_map(move |entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may have anything in it. After it come the state and the parent.
        let (_, after_name) = stat.rsplit_once(')')?;
        let ppid = after_name.split_whitespace().nth(1)?;
        (ppid == parent.to_string()).then_some(pid)
    })
}

fn finals(events: &[Event]) -> impl Iterator<Item = &Caption> {
    events.iter().filter_map(Event::as_final)
}

fn is_end(event: &Event) -> bool {
    matches!(event, Event::CallEnded(_))
}

fn overlap_ms(caption: &Caption, turn: &Turn) -> u64 {
    caption.end_ms.min(turn.end_ms).saturating_sub(caption.start_ms.max(turn.start_ms))
}
