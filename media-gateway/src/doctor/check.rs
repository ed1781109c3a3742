//! What was looked at, and what came of it.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// One thing that must be true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Short, and the same in every release: programs may look for it.
    pub name: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It is as it must be.
    Ok {
        /// What was found.
        detail: String,
    },
    /// It works, though not as well as it could, or not for long.
    Warning {
        /// What was found.
        what: String,
        /// The step that mends it.
        mend: String,
    },
    /// It is wrong: calls won't be heard.
    Failed {
        /// What is wrong.
        what: String,
        /// The step that mends it.
        mend: String,
    },
    /// It was not looked at.
    Skipped {
        /// Why not.
        because: String,
    },
}

/// Every check of an examination, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Check {
    /// A check with its outcome.
    pub fn new(name: &'static str, outcome: Outcome) -> Self {
        Self { name, outcome }
    }
}

impl Outcome {
    /// It is as it must be.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self::Ok { detail: detail.into() }
    }

    /// It works, but.
    pub fn warning(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Warning { what: what.into(), mend: mend.into() }
    }

    /// It is wrong.
    pub fn failed(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), mend: mend.into() }
    }

    /// It was not looked at.
    pub fn skipped(because: impl Into<String>) -> Self {
        Self::Skipped { because: because.into() }
    }

    /// Whether what depends on this check can be looked at.
    pub fn has_passed(&self) -> bool {
        matches!(self, Self::Ok { .. } | Self::Warning { .. })
    }
}

impl Report {
    /// How many checks have failed.
    pub fn failures(&self) -> usize {
        let has_failed = |check: &&Check| matches!(check.outcome, Outcome::Failed { .. });
        self.checks.iter().filter(has_failed).count()
    }

    /// `{"healthy": …, "checks": [{"name": …, "outcome": "ok" | "warning" | "failed" | "skipped", …}]}`.
    pub fn to_json(&self) -> Value {
        json!({ "healthy": self.failures() == 0, "checks": self.checks })
    }
}

/// One line in columns, and a second one with the step that mends it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        let (word, what, mend) = match &self.outcome {
            Outcome::Ok { detail } => ("ok", detail, None),
            Outcome::Warning { what, mend } => ("warning", what, Some(mend)),
            Outcome::Failed { what, mend } => ("failed", what, Some(mend)),
            Outcome::Skipped { because } => ("skipped", because, None),
        };
        write!(f, "{word:<8} {name:<14} {what}")?;
        mend.map_or(Ok(()), |mend| write!(f, "\n{:<8} {:<14} {mend}", "", "  to mend it:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_can_read_a_report() {
        let checks = vec![
            Check::new("clock", Outcome::ok("right")),
            Check::new("login", Outcome::failed("refused", "change it")),
            Check::new("device", Outcome::skipped("it needs login")),
        ];
        assert_eq!(checks[0].to_string(), "ok       clock          right");
        assert_eq!(
            checks[1].to_string(),
            "failed   login          refused\n           to mend it:  change it"
        );
        let report = Report { checks };
        assert_eq!(report.failures(), 1);
        assert_eq!(
            report.to_json(),
            json!({ "healthy": false, "checks": [
                { "name": "clock", "outcome": "ok", "detail": "right" },
                { "name": "login", "outcome": "failed", "what": "refused", "mend": "change it" },
                { "name": "device", "outcome": "skipped", "because": "it needs login" },
            ] })
        );
    }
}
