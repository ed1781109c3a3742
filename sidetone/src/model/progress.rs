//! Shows a pull on the terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{DecimalBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::pull::PullEvent;

/// How often the bar is drawn anew when nothing comes, so that its time runs on.
const TICK: Duration = Duration::from_millis(200);

/// A progress bar on stderr if that is a terminal, and in any case a line for what a user should know.
pub(super) struct Progress {
    bar: ProgressBar,
    visible: bool,
    host: String,
}

impl Progress {
    pub(super) fn new(host: &str) -> Self {
        let visible = io::stderr().is_terminal();
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        );
        // A template that is not understood costs the looks only.
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { bar, visible, host: host.to_owned() }
    }

    pub(super) fn show(&self, event: PullEvent) {
        match event {
            PullEvent::Announced { content } => self.say(&format!(
                "not in the catalogue: checked against the SHA-256 that {} announces, {}",
                self.host, content.sha256
            )),
            PullEvent::Resuming { bytes } => {
                self.bar.set_position(bytes);
                // The bar's speed counts from here, not from what an earlier pull brought.
                self.bar.reset_eta();
                self.say(&format!("going on from {}", DecimalBytes(bytes)));
            }
            PullEvent::Restarting => {
                self.say(&format!("{} cannot go on from there: from the beginning", self.host));
            }
            PullEvent::Progress { bytes, total } => {
                if self.bar.length().is_none() {
                    self.bar.set_length(total);
                    self.bar.enable_steady_tick(TICK);
                }
                self.bar.set_position(bytes);
            }
            PullEvent::Retrying { why, delay } => {
                self.say(&format!("{why}; trying again in {}", HumanDuration(delay)));
            }
        }
    }

    pub(super) fn say(&self, line: &str) {
        if self.visible {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
