//! The device's `+sip.instance` (RFC 5626 section 4.1): one id for as long as the gateway is installed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Holds the UUID and a line end.
const FILE_NAME: &str = "sip-instance";

/// Why there is no instance id.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The file can't be read or written.
    #[error("could not use {path} ({source}); [sip] state_directory must be a writable directory")]
    File {
        /// Which file.
        path: PathBuf,
        /// In the system's words.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} holds no UUID; delete it to have a new one made")]
    Content {
        /// Which file.
        path: PathBuf,
    },
}

/// The id kept in a directory. At the first start both are made.
pub(crate) fn instance_in(directory: &Path) -> Result<Uuid, InstanceError> {
    let path = directory.join(FILE_NAME);
    let failed = |source| InstanceError::File { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| InstanceError::Content { path: path.clone() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = Uuid::new_v4();
            fs::create_dir_all(directory).and_then(|()| store(&path, made)).map_err(failed)?;
            Ok(made)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The id of a gateway without a state directory: it follows from the device, so it outlives restarts, too, but a second
/// gateway with the same device would have the same. A name-based UUID (RFC 9562 version 3).
pub(crate) fn instance_of(device: &str) -> Uuid {
    use md5::Digest as _;
    let hash = md5::Md5::digest(format!("sidetone:{device}").as_bytes());
    uuid::Builder::from_md5_bytes(hash.into()).into_uuid()
}

/// Written whole or not at all: a power cut leaves no half a UUID.
fn store(path: &Path, instance: Uuid) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{instance}")?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_survives_restarts_and_differs_between_installations() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = here.path().join("made/on/demand");
        let first = instance_in(&directory).unwrap();
        assert_eq!(instance_in(&directory).unwrap(), first);
        assert_ne!(instance_in(there.path()).unwrap(), first);
        let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_damaged_file_is_not_replaced_silently() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE_NAME), "half-a-").unwrap();
        let error = instance_in(directory.path()).unwrap_err();
        assert!(matches!(error, InstanceError::Content { .. }), "{error}");
        assert!(error.to_string().contains(FILE_NAME), "{error}");
        let error = instance_in(&directory.path().join(FILE_NAME)).unwrap_err();
        assert!(error.to_string().contains("state_directory"), "{error}");
    }

    #[test]
    fn without_a_directory_it_follows_from_the_device() {
        assert_eq!(instance_of("802512345678"), instance_of("802512345678"));
        assert_ne!(instance_of("802512345678"), instance_of("802512345679"));
        assert_eq!(instance_of("802512345678").get_version_num(), 3);
    }
}
