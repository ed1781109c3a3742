use std::path::PathBuf;

use super::header::{HeaderError, check_header};

/// The model that comes with Sidetone: enough for the demo and the tests, not for real callers.
pub(super) static DEMO_EN: &[u8] = include_bytes!("../../../models/demo-en-q8_0.bin");

/// Where a Whisper model in ggml format comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// The one that is part of the program.
    BuiltIn,
    /// A file in the format of whisper.cpp.
    File(PathBuf),
}

/// Why a model can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is missing, cut short, or something else.
    #[error(transparent)]
    File(#[from] HeaderError),
    /// The file looks like a model, but whisper.cpp can't load it.
    #[error("whisper.cpp cannot load the model {name}: {reason}; fetch it again, or take another")]
    Load {
        /// Which model.
        name: String,
        /// What whisper.cpp says.
        reason: String,
    },
}

impl ModelSource {
    /// The name under which the built-in model is asked for.
    pub const BUILT_IN: &'static str = "demo-en";

    /// The model of a name or a path: `demo-en`, or a file.
    pub fn named(name: &str) -> Self {
        if name == Self::BUILT_IN { Self::BuiltIn } else { Self::File(name.into()) }
    }

    /// The name or path that leads back here.
    pub fn name(&self) -> String {
        match self {
            Self::BuiltIn => Self::BUILT_IN.to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Looks the file over, so that a wrong one is known before anything is started.
    pub fn check(&self) -> Result<(), ModelError> {
        match self {
            Self::BuiltIn => Ok(()),
            Self::File(path) => Ok(check_header(path).map(|_| ())?),
        }
    }
}
