//! `sidetone model`: the commands.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::DecimalBytes;
use transcriber::recogniser::{HeaderError, ModelSource, check_header};

use super::catalogue::{self, ModelName, ParseModelNameError};
use super::directory::{Listed, ModelDirectory, Presence, list};
use super::progress::Progress;
use super::pull::{PullError, PullRequest, Pulled, Retry, pull};
use super::resolve::{ResolveError, or_else, resolve};
use super::source::{Source, SourceError};

/// The environment variable that names another source than the published one.
const SOURCE_VARIABLE: &str = "SIDETONE_MODEL_SOURCE";

/// What can be done with speech models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Download a published Whisper model and check its SHA-256
    Pull {
        /// The model's name, as in base.en; `sidetone model list` shows every name
        name: String,
        /// Download from this folder, which holds ggml-NAME.bin, and not from Hugging Face
        /// [env: SIDETONE_MODEL_SOURCE]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
        /// Take a name that this release does not know, and the SHA-256 that the server announces
        #[arg(long)]
        unlisted: bool,
        /// Where models are kept
        #[command(flatten)]
        place: Place,
    },
    /// List the published models, and which of them are here
    List {
        /// Where models are kept
        #[command(flatten)]
        place: Place,
    },
    /// Check that a model is a whole Whisper model in ggml format
    Check {
        /// The model's name or its file
        model: String,
        /// Where models are kept
        #[command(flatten)]
        place: Place,
    },
}

/// Where models are kept.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// The folder with the models [default: $XDG_DATA_HOME/sidetone/models, or ~/.local/share/sidetone/models]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Why a command about models failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No folder was named, and the environment has none.
    #[error("there is no folder for models: HOME is not set; name one with --dir")]
    NoDirectory,
    /// The model is part of the program.
    #[error("{} is part of sidetone and needs no pull", ModelSource::BUILT_IN)]
    BuiltIn,
    /// No model of that name is published.
    #[error(
        "\"{}\" is not published{}; `sidetone model list` shows every name, \
         and --unlisted takes a name that is newer than this release",
        .name.escape_debug(),
        or_else(.near)
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// Published names that are close to it, the likeliest first.
        near: Vec<&'static str>,
    },
    /// The text cannot be a model's name.
    #[error(transparent)]
    BadName(#[from] ParseModelNameError),
    /// The source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The download failed.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// There is no such model here.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The model's file is no model.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The folder cannot be read.
    #[error("cannot read the models in {directory}")]
    List {
        /// The folder.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The result cannot be printed.
    #[error("cannot print the result: {0}")]
    Print(#[from] io::Error),
}

impl ModelError {
    /// The exit status: 64 (`EX_USAGE` of sysexits.h) for what was asked for, 1 for what went wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoDirectory
            | Self::BuiltIn
            | Self::Unknown { .. }
            | Self::BadName(_)
            | Self::Source(SourceError::BadAddress { .. })
            | Self::Resolve(_) => 64,
            Self::Source(SourceError::Tls(_))
            | Self::Pull(_)
            | Self::Header(_)
            | Self::List { .. }
            | Self::Print(_) => 1,
        }
    }
}

impl ModelCommand {
    /// Carries the command out: results on stdout, progress on stderr.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub async fn run(self) -> Result<(), ModelError> {
        match self {
            Self::Pull { name, from, unlisted, place } => {
                let from = from.or_else(|| {
                    std::env::var(SOURCE_VARIABLE).ok().filter(|address| !address.is_empty())
                });
                pull_one(&name, from.as_deref(), unlisted, place.directory()?).await
            }
            Self::List { place } => {
                let directory = place.directory()?;
                let listed = list(&directory).map_err(|source| {
                    let directory = directory.path().to_owned();
                    ModelError::List { directory, source }
                })?;
                Ok(print_list(&listed, &directory, &mut io::stdout().lock())?)
            }
            Self::Check { model, place } => {
                let line = describe(&model, &place.directory()?)?;
                Ok(writeln!(io::stdout(), "{line}")?)
            }
        }
    }
}

impl Place {
    /// The folder that was named, or else the user's own.
    ///
    /// # Errors
    /// [`ModelError::NoDirectory`] if none was named and the environment has none.
    pub fn directory(self) -> Result<ModelDirectory, ModelError> {
        self.dir
            .map(ModelDirectory::new)
            .or_else(ModelDirectory::from_environment)
            .ok_or(ModelError::NoDirectory)
    }
}

async fn pull_one(
    name: &str,
    from: Option<&str>,
    unlisted: bool,
    directory: ModelDirectory,
) -> Result<(), ModelError> {
    let (request, published_at) = request(name, unlisted, directory)?;
    let source = Source::new(from.unwrap_or(published_at))?;
    let progress = Progress::new(source.host());
    let url = source.url(&request.name);
    progress.say(&match request.content {
        Some(content) => format!("{name}: {} from {url}", DecimalBytes(content.bytes)),
        None => format!("{name}: from {url}"),
    });
    let pulled = pull(&request, &source, &mut |event| progress.show(event)).await?;
    drop(progress);
    let Pulled { path, content, already_here } = pulled;
    let done = if already_here { "is already here" } else { "is saved" };
    let (path, size) = (path.display(), DecimalBytes(content.bytes));
    Ok(writeln!(io::stdout(), "{name} {done}: {path} ({size}, SHA-256 is right)")?)
}

/// What to pull, and the folder that it is published in.
fn request(
    name: &str,
    unlisted: bool,
    directory: ModelDirectory,
) -> Result<(PullRequest, &'static str), ModelError> {
    if name == ModelSource::BUILT_IN {
        return Err(ModelError::BuiltIn);
    }
    if let Some(model) = catalogue::find(name) {
        return Ok((PullRequest::published(model, directory), model.source));
    }
    if !unlisted {
        let near = catalogue::near(name);
        return Err(ModelError::Unknown { name: name.to_owned(), near });
    }
    let name: ModelName = name.parse()?;
    let request = PullRequest { name, content: None, directory, retry: Retry::default() };
    Ok((request, catalogue::WHISPER_CPP))
}

fn print_list(
    listed: &[Listed],
    directory: &ModelDirectory,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{:<20} {:>10}  in {}", "NAME", "SIZE", directory.path().display())?;
    for model in listed {
        let here = match model.presence {
            Presence::Absent => String::new(),
            Presence::Partial(bytes) => format!("{} of it; pull again", DecimalBytes(bytes)),
            Presence::WrongSize(bytes) => format!("another file of {bytes} bytes"),
            Presence::Here if model.published => "here".into(),
            Presence::Here => "here, not in the catalogue".into(),
        };
        let size = DecimalBytes(model.bytes).to_string();
        writeln!(out, "{}", format!("{:<20} {size:>10}  {here}", model.name).trim_end())?;
    }
    Ok(())
}

/// One line on a model that is here and whole.
pub(crate) fn describe(model: &str, directory: &ModelDirectory) -> Result<String, ModelError> {
    let path = match resolve(model, directory)? {
        ModelSource::BuiltIn => {
            return Ok(format!("{} is part of sidetone", ModelSource::BUILT_IN));
        }
        ModelSource::File(path) => path,
    };
    let header = check_header(&path)?;
    Ok(format!(
        "{} is a whole model: {}, {}, {} and {} layers, {} mel bands",
        path.display(),
        DecimalBytes(header.bytes),
        if header.multilingual { "multilingual" } else { "English" },
        header.audio_layers,
        header.text_layers,
        header.mels
    ))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: ModelCommand,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
        let line =
            Line::try_parse_from(["x", "pull", "base.en", "--dir", "d", "--from", "http://m"]);
        let Ok(Line { command: ModelCommand::Pull { name, from, unlisted, place } }) = line else {
            panic!("not a pull");
        };
        assert_eq!(
            (name.as_str(), from.as_deref(), unlisted),
            ("base.en", Some("http://m"), false)
        );
        assert_eq!(place.directory().unwrap(), ModelDirectory::new("d"));
    }

    #[test]
    fn only_published_names_are_pulled_unless_told_otherwise() {
        let directory = ModelDirectory::new("d");
        let (published, from) = request("small.en-tdrz", false, directory.clone()).unwrap();
        assert_eq!(from, catalogue::TINYDIARIZE);
        assert!(published.content.is_some());

        let error = request("base-en", false, directory.clone()).unwrap_err();
        assert!(error.to_string().contains("did you mean base.en"), "{error}");
        assert_eq!(error.exit_code(), 64);
        let error = request("../base", true, directory.clone()).unwrap_err();
        assert!(matches!(error, ModelError::BadName(_)), "{error}");
        let error = request("demo-en", true, directory.clone()).unwrap_err();
        assert!(matches!(error, ModelError::BuiltIn), "{error}");

        let (unlisted, from) = request("large-v4", true, directory).unwrap();
        assert_eq!((unlisted.content, from), (None, catalogue::WHISPER_CPP));
    }

    #[test]
    fn the_list_is_a_table() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ggml-tiny.bin"), "no model").unwrap();
        let directory = ModelDirectory::new(folder.path());
        let mut table = Vec::new();
        print_list(&list(&directory).unwrap(), &directory, &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert_eq!(table.lines().count(), catalogue::CATALOGUE.len() + 1);
        assert!(
            table.contains("\ntiny                   77.69 MB  another file of 8 bytes\n"),
            "{table}"
        );
        assert!(table.contains("\nbase.en               147.96 MB\n"), "{table}");
    }

    #[test]
    fn a_model_is_described() {
        let directory = ModelDirectory::new("none");
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo-en-q8_0.bin");
        let line = describe(demo, &directory).unwrap();
        assert!(line.contains("English, 4 and 3 layers, 80 mel bands"), "{line}");
        assert!(describe("demo-en", &directory).unwrap().contains("part of sidetone"));
        assert!(describe("none.bin", &directory).is_err());
    }
}
