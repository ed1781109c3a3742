use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The model that comes with Sidetone: enough for the demo and the tests, not for real callers.
static DEMO_EN: &[u8] = include_bytes!("../../../models/demo-en-q8_0.bin");

/// The name under which the model that comes with Sidetone is asked for.
const DEMO_EN_NAME: &str = "demo-en";

/// `ggml`, as whisper.cpp writes it at the start of a model file.
const MAGIC: [u8; 4] = 0x6767_6d6c_u32.to_le_bytes();

/// Where a Whisper model in ggml format comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// The one that is part of the program.
    DemoEn,
    /// A file in the format of whisper.cpp.
    File(PathBuf),
}

/// Why a model can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such file, or it may not be read.
    #[error("cannot read the model {}: {source}; `sidetone model pull base.en` fetches one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "{} is not a Whisper model in ggml format; `sidetone model pull base.en` fetches one",
        path.display()
    )]
    NotAModel {
        /// The file.
        path: PathBuf,
    },
    /// The file begins like a model, but whisper.cpp can't load it.
    #[error("the model {name} is corrupt or cut short: {reason}; fetch it again")]
    Corrupt {
        /// Which model.
        name: String,
        /// What whisper.cpp says.
        reason: String,
    },
}

impl Model {
    /// The model of a name or a path: `demo-en`, or a file.
    pub fn named(name: &str) -> Self {
        if name == DEMO_EN_NAME { Model::DemoEn } else { Model::File(name.into()) }
    }

    /// The name or path that leads back here.
    pub fn name(&self) -> String {
        match self {
            Model::DemoEn => DEMO_EN_NAME.to_owned(),
            Model::File(path) => path.display().to_string(),
        }
    }

    /// Looks at the beginning of the file, so that a wrong path is known before anything is started.
    pub fn check(&self) -> Result<(), ModelError> {
        match self {
            Model::DemoEn => Ok(()),
            Model::File(path) => {
                let unreadable = |source| ModelError::Unreadable { path: path.clone(), source };
                let mut magic = [0; 4];
                File::open(path).and_then(|mut file| file.read_exact(&mut magic)).or_else(
                    |error| match error.kind() {
                        io::ErrorKind::UnexpectedEof => Ok(()),
                        _ => Err(unreadable(error)),
                    },
                )?;
                if magic == MAGIC { Ok(()) } else { Err(not_a_model(path)) }
            }
        }
    }

    pub(super) fn built_in(&self) -> Option<&'static [u8]> {
        (*self == Model::DemoEn).then_some(DEMO_EN)
    }
}

fn not_a_model(path: &Path) -> ModelError {
    ModelError::NotAModel { path: path.to_owned() }
}
