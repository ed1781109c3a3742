//! From what a user writes for a model to the model itself.

use std::path::{Path, PathBuf};

use super::catalogue::{self, ModelName};
use super::directory::ModelDirectory;
use transcriber::recogniser::{HeaderError, ModelSource, check_header};

/// Why there is no model to load.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The model is published and was not pulled yet.
    #[error("the model {name} is not in {directory}; get it with `sidetone model pull {name}`")]
    NotPulled {
        /// The published name.
        name: &'static str,
        /// The folder that was looked in.
        directory: PathBuf,
    },
    /// The text is a path, and there is no file.
    #[error("there is no model file {path}; name a file in ggml format, or a published model")]
    NoSuchFile {
        /// The path.
        path: PathBuf,
    },
    /// The text is neither a published name nor a path.
    #[error(
        "there is no model called \"{}\"{}; `sidetone model list` shows every name",
        .name.escape_debug(),
        or_else(.near)
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// Published names that are close to it, the likeliest first.
        near: Vec<&'static str>,
    },
    /// There is a file, and it is no model.
    #[error(transparent)]
    BadFile(#[from] HeaderError),
}

/// Finds the model that `name_or_path` names: `demo-en`, a file, or a model in the folder.
///
/// # Errors
/// See [`ResolveError`]; each says what to do.
pub fn resolve(
    name_or_path: &str,
    directory: &ModelDirectory,
) -> Result<ModelSource, ResolveError> {
    if name_or_path == ModelSource::BUILT_IN {
        return Ok(ModelSource::BuiltIn);
    }
    let path = Path::new(name_or_path);
    if path.is_file() {
        return checked(path.to_owned());
    }
    if let Ok(name) = name_or_path.parse::<ModelName>() {
        let file = directory.file(&name);
        if file.is_file() {
            return checked(file);
        }
    }
    if let Some(model) = catalogue::find(name_or_path) {
        let directory = directory.path().to_owned();
        return Err(ResolveError::NotPulled { name: model.name, directory });
    }
    if name_or_path.contains('/') || path.extension().is_some_and(|extension| extension == "bin") {
        return Err(ResolveError::NoSuchFile { path: path.to_owned() });
    }
    let near = catalogue::near(name_or_path);
    Err(ResolveError::Unknown { name: name_or_path.to_owned(), near })
}

/// The words that offer near names, if there are any.
pub(super) fn or_else(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        [only] => format!("; did you mean {only}?"),
        [several @ .., last] => format!("; did you mean {} or {last}?", several.join(", ")),
    }
}

fn checked(path: PathBuf) -> Result<ModelSource, ResolveError> {
    check_header(&path)?;
    Ok(ModelSource::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo-en-q8_0.bin");

    #[test]
    fn finds_the_built_in_a_file_and_a_pulled_model() {
        let folder = tempfile::tempdir().unwrap();
        let directory = ModelDirectory::new(folder.path());
        assert_eq!(resolve("demo-en", &directory).unwrap(), ModelSource::BuiltIn);
        assert_eq!(resolve(DEMO, &directory).unwrap(), ModelSource::File(DEMO.into()));

        let pulled = folder.path().join("ggml-base.en.bin");
        std::fs::copy(DEMO, &pulled).unwrap();
        assert_eq!(resolve("base.en", &directory).unwrap(), ModelSource::File(pulled));

        let unlisted = folder.path().join("ggml-our-own.bin");
        std::fs::copy(DEMO, &unlisted).unwrap();
        assert_eq!(resolve("our-own", &directory).unwrap(), ModelSource::File(unlisted));
    }

    #[test]
    fn says_what_to_do_for_a_model_that_is_not_here() {
        let folder = tempfile::tempdir().unwrap();
        let directory = ModelDirectory::new(folder.path());
        let message = |name: &str| resolve(name, &directory).unwrap_err().to_string();
        assert!(message("base.en").contains("`sidetone model pull base.en`"));
        assert!(message("smal.en").contains("did you mean small.en"));
        assert!(message("whisper-9").contains("`sidetone model list`"));
        assert!(message("models/mine.bin").contains("no model file models/mine.bin"));
        assert!(message("../../etc\u{1b}").contains("no model"));
    }

    #[test]
    fn a_file_that_is_no_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = ModelDirectory::new(folder.path());
        std::fs::write(folder.path().join("ggml-tiny.bin"), "<html>").unwrap();
        let error = resolve("tiny", &directory).unwrap_err();
        assert!(matches!(error, ResolveError::BadFile(HeaderError::WebPage { .. })), "{error}");
    }
}
