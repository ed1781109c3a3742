use std::io::{IsTerminal, Write, stderr, stdout};
use std::net::SocketAddr;

use sidetone_proto::Role;
use web_relay::event::{Caption, CaptionState, Event};

use super::{Delays, Score};

/// Shows a call's events in the terminal, for people or for programs.
pub struct Printer {
    style: Style,
    /// A partial stands on the terminal's last line.
    line_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// JSON on stdout; everything else on stderr.
    Json,
    /// Partials are replaced in place, in colour.
    Terminal,
    /// A line each.
    Plain,
}

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 100;

impl Printer {
    /// One event per line, as JSON.
    pub fn json() -> Self {
        Self { style: Style::Json, line_open: false }
    }

    /// A line for each caption, in place if stdout is a terminal.
    pub fn people() -> Self {
        let style = if stdout().is_terminal() { Style::Terminal } else { Style::Plain };
        Self { style, line_open: false }
    }

    /// Where the page is.
    pub fn address(&self, page: SocketAddr) {
        self.say(&format!("captions are at http://{page}/"));
        self.say("a call between an agent and a customer begins\n");
    }

    /// Something happened on the call.
    pub fn event(&mut self, event: &Event) {
        if self.style == Style::Json {
            // The JSON of a type that was made to be JSON can't fail.
            let line = serde_json::to_string(event).unwrap_or_default();
            let _ = writeln!(stdout(), "{line}");
            return;
        }
        match event {
            Event::Partial(caption) => self.partial(caption),
            Event::Final(caption) if caption.text.is_empty() => self.clear_line(),
            Event::Final(caption) => {
                let latency = caption.latency_ms.map(seconds).unwrap_or_default();
                self.line(&format!("{}  ({latency} s)", described(caption)));
            }
            Event::Gap(gap) => self.line(&format!(
                "{}  {:9}[audio gap {} s]",
                clock(gap.start_ms),
                label(gap.role),
                seconds(gap.end_ms - gap.start_ms)
            )),
            Event::Status(status) if status.is_on_hold => self.line("on hold"),
            Event::Status(status) => match status.state {
                CaptionState::Live => self.line("captions are live"),
                CaptionState::CaptionsUnavailable => {
                    self.line("captions unavailable; the call is not affected");
                }
            },
            Event::Recognition(recognition) => self.line(&format!(
                "the {}'s captions come from {}",
                recognition.role,
                if recognition.is_fallback {
                    "the next recogniser in line"
                } else {
                    "the first recogniser"
                }
            )),
            // The demo's parties have been asked for nothing.
            Event::Consent(_) => {}
            Event::CallStarted(call) => self.line(&format!("call {} started", call.call_id)),
            Event::CallEnded(_) => self.line("call ended"),
        }
    }

    /// How the call went.
    pub fn summary(&mut self, events: &[Event], score: Option<&Score>) {
        self.say("\nhow long each final took after the party stopped speaking:");
        let mut all = Vec::new();
        for event in events {
            if let Event::Final(caption) = event
                && let Some(latency) = caption.latency_ms
            {
                all.push(std::time::Duration::from_millis(latency));
                let (start, label) = (clock(caption.start_ms), label(caption.role));
                self.say(&format!("  {start}  {label:9}{} s", seconds(latency)));
            }
        }
        let delays: Delays = all.into_iter().collect();
        if let (Some(p50), Some(p95)) = (delays.percentile_ms(50), delays.percentile_ms(95)) {
            self.say(&format!("  median {} s, 95 % within {} s", seconds(p50), seconds(p95)));
        }
        if let Some(Score { words, .. }) = score {
            let percent = words.percent();
            self.say(&format!(
                "word error rate {percent:.1} % ({} of {} words)",
                words.errors, words.words
            ));
        }
    }

    /// The call is over and the page is still there.
    pub fn stays_open(&self, page: SocketAddr) {
        self.say(&format!("\nthe transcript stays at http://{page}/ until you press ^C"));
    }

    fn partial(&mut self, caption: &Caption) {
        let text = described(caption);
        match self.style {
            Style::Terminal => {
                let skip = text.chars().count().saturating_sub(COLUMNS);
                let tail: String = text.chars().skip(skip).collect();
                print!("\r\x1b[K\x1b[2m{tail}\x1b[0m");
                let _ = stdout().flush();
                self.line_open = true;
            }
            Style::Plain => println!("{text} ..."),
            Style::Json => {}
        }
    }

    fn line(&mut self, text: &str) {
        self.clear_line();
        println!("{text}");
    }

    fn clear_line(&mut self) {
        if std::mem::take(&mut self.line_open) {
            print!("\r\x1b[K");
        }
    }

    fn say(&self, text: &str) {
        match self.style {
            Style::Json => {
                let _ = writeln!(stderr(), "{text}");
            }
            Style::Terminal | Style::Plain => println!("{text}"),
        }
    }
}

fn described(caption: &Caption) -> String {
    format!("{}  {:9}{}", clock(caption.start_ms), label(caption.role), caption.text)
}

fn label(role: Role) -> &'static str {
    match role {
        Role::Agent => "Agent",
        Role::Customer => "Customer",
        Role::Mixed => "Mixed",
        Role::Unknown => "Speaker",
    }
}

fn clock(ms: u64) -> String {
    format!("{:02}:{:02}.{}", ms / 60_000, ms / 1_000 % 60, ms / 100 % 10)
}

fn seconds(ms: u64) -> String {
    format!("{:.2}", ms as f64 / 1_000.0)
}
