//! What was looked at, and what came of it.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// One thing that a server must do.
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
    /// It does.
    Ok {
        /// What was found.
        detail: String,
    },
    /// It does, though captions will be the worse for how.
    Warning {
        /// What was found.
        what: String,
        /// The step that mends it.
        mend: String,
    },
    /// It does not.
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

/// Every check, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Outcome {
    /// It does.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self::Ok { detail: detail.into() }
    }

    /// It does, but.
    pub fn warning(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Warning { what: what.into(), mend: mend.into() }
    }

    /// It does not.
    pub fn failed(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), mend: mend.into() }
    }

    /// It was not looked at.
    pub fn skipped(because: impl Into<String>) -> Self {
        Self::Skipped { because: because.into() }
    }
}

impl Report {
    /// How many checks have failed.
    pub fn failures(&self) -> usize {
        let has_failed = |check: &&Check| matches!(check.outcome, Outcome::Failed { .. });
        self.checks.iter().filter(has_failed).count()
    }

    /// `{"conforms": …, "checks": [{"name": …, "outcome": "ok" | "warning" | "failed" | "skipped", …}]}`.
    pub fn to_json(&self) -> Value {
        json!({ "conforms": self.failures() == 0, "checks": self.checks })
    }
}

/// One line, and a second one with the step that mends it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match &self.outcome {
            Outcome::Ok { detail } => write!(f, "ok       {name}: {detail}"),
            Outcome::Warning { what, mend } => {
                write!(f, "warning  {name}: {what}\n         mend: {mend}")
            }
            Outcome::Failed { what, mend } => {
                write!(f, "failed   {name}: {what}\n         mend: {mend}")
            }
            Outcome::Skipped { because } => write!(f, "skipped  {name}: {because}"),
        }
    }
}
