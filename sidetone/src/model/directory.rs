//! The folder that models are kept in.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::catalogue::{self, ModelName};

/// What the name of an unfinished download ends in, after the name of the model's file.
pub(super) const PART_SUFFIX: &str = ".part";

/// The folder that models are kept in, each as `ggml-NAME.bin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDirectory(PathBuf);

/// A model in the catalogue, in the folder, or in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The model's name.
    pub name: String,
    /// The file's size in bytes: what was published, or else what is here.
    pub bytes: u64,
    /// Whether it is here.
    pub presence: Presence,
    /// Whether it is in the catalogue.
    pub published: bool,
}

/// How much of a model is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// A download that was broken off, with the bytes that it got.
    Partial(u64),
    /// A file of another size than the published one.
    WrongSize(u64),
    /// The file. Its checksum was compared when it was pulled, and is not compared again here.
    Here,
}

impl ModelDirectory {
    /// A folder of one's own; it is made by the first pull.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `$XDG_DATA_HOME/sidetone/models`, or else `~/.local/share/sidetone/models`
    /// (XDG Base Directory Specification 0.8). `None` where neither variable has an absolute path.
    pub fn from_environment() -> Option<Self> {
        default_path(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME")).map(Self)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that the model of that name is kept in, whether it is there or not.
    pub fn file(&self, name: &ModelName) -> PathBuf {
        self.0.join(name.file_name())
    }
}

/// The catalogue with what the folder has of it, then what else the folder has, by name.
///
/// A folder that does not exist is an empty one.
///
/// # Errors
/// The folder cannot be read.
pub fn list(directory: &ModelDirectory) -> io::Result<Vec<Listed>> {
    let mut listed: Vec<Listed> = catalogue::CATALOGUE
        .iter()
        .map(|model| Listed {
            name: model.name.to_owned(),
            bytes: model.content.bytes,
            presence: Presence::Absent,
            published: true,
        })
        .collect();
    let mut others = Vec::new();
    let entries = match fs::read_dir(&directory.0) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some((name, part)) = file_name.to_str().and_then(model_of) else { continue };
        // The file may be a link, or gone since the folder was read.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        let bytes = metadata.len();
        if !metadata.is_file() || (part && bytes == 0) {
            continue;
        }
        match listed.iter_mut().find(|model| model.name == name) {
            Some(model) if part && model.presence == Presence::Absent => {
                model.presence = Presence::Partial(bytes);
            }
            Some(_) if part => {}
            Some(model) if bytes == model.bytes => model.presence = Presence::Here,
            Some(model) => model.presence = Presence::WrongSize(bytes),
            None if part => {}
            None => {
                let name = name.to_owned();
                others.push(Listed { name, bytes, presence: Presence::Here, published: false });
            }
        }
    }
    others.sort_by(|left, right| left.name.cmp(&right.name));
    listed.append(&mut others);
    Ok(listed)
}

/// The model that a file belongs to, and whether the file is an unfinished download.
fn model_of(file_name: &str) -> Option<(&str, bool)> {
    let (file_name, part) = match file_name.strip_suffix(PART_SUFFIX) {
        Some(file_name) => (file_name, true),
        None => (file_name, false),
    };
    Some((file_name.strip_prefix("ggml-")?.strip_suffix(".bin")?, part))
}

fn default_path(data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // The specification: "If an implementation encounters a relative path […] it should […] ignore it".
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let data_home = data_home
        .and_then(absolute)
        .or_else(|| home.and_then(absolute).map(|home| home.join(".local/share")))?;
    Some(data_home.join("sidetone/models"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_home_comes_first_and_has_to_be_absolute() {
        let path = |data: &str, home: &str| {
            let set = |value: &str| (value != "unset").then(|| OsString::from(value));
            default_path(set(data), set(home))
        };
        assert_eq!(path("/data", "/home/a"), Some("/data/sidetone/models".into()));
        let in_home = Some("/home/a/.local/share/sidetone/models".into());
        assert_eq!(path("unset", "/home/a"), in_home);
        assert_eq!(path("", "/home/a"), in_home);
        assert_eq!(path("data", "/home/a"), in_home);
        assert_eq!(path("unset", "unset"), None);
        assert_eq!(path("unset", "home"), None);
    }

    #[test]
    fn lists_what_is_here_of_the_catalogue_and_besides() {
        let folder = tempfile::tempdir().unwrap();
        let directory = ModelDirectory::new(folder.path());
        for (file, bytes) in [
            ("ggml-tiny.bin.part", 3),
            ("ggml-tiny.en.bin.part", 0),
            ("ggml-base.bin", 5),
            ("ggml-base.bin.part", 2),
            ("ggml-our-own.bin", 7),
            ("notes.txt", 1),
        ] {
            fs::write(folder.path().join(file), vec![0; bytes]).unwrap();
        }
        fs::File::create(folder.path().join("ggml-small.bin"))
            .and_then(|file| file.set_len(catalogue::find("small").unwrap().content.bytes))
            .unwrap();

        let listed = list(&directory).unwrap();
        let presence =
            |name: &str| listed.iter().find(|model| model.name == name).unwrap().presence;
        assert_eq!(presence("tiny"), Presence::Partial(3));
        assert_eq!(presence("tiny.en"), Presence::Absent);
        assert_eq!(presence("base"), Presence::WrongSize(5));
        assert_eq!(presence("small"), Presence::Here);
        assert_eq!(
            listed[catalogue::CATALOGUE.len()..],
            [Listed {
                name: "our-own".into(),
                bytes: 7,
                presence: Presence::Here,
                published: false,
            }]
        );
    }

    #[test]
    fn a_missing_folder_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let listed = list(&ModelDirectory::new(folder.path().join("none"))).unwrap();
        assert_eq!(listed.len(), catalogue::CATALOGUE.len());
        assert!(listed.iter().all(|model| model.presence == Presence::Absent));
    }
}
