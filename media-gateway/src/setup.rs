//! Writes a configuration file from a few answers.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Secret;
use crate::ringcentral::Extension;

/// Readable and writable by the owner only: the file holds secrets.
const MODE: u32 = 0o600;

/// Longer numbers are ids: RingCentral's extension numbers have at most eight digits.
const LONGEST_EXTENSION_NUMBER: usize = 8;

/// What a configuration can't do without.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Such as `https://platform.ringcentral.com`.
    pub server: String,
    /// Of the app.
    pub client_id: String,
    /// Of the app.
    pub client_secret: Secret,
    /// Of the supervisor's extension.
    pub jwt: Secret,
    /// The supervisor's device, of type "Existing Phone".
    pub supervisor_device_id: String,
    /// The agents: extension ids, each with a name to be remembered by, which may be empty.
    pub agents: Vec<(String, String)>,
    /// The addresses of transcribers and relay, where they run by themselves.
    pub uplink: Option<(Vec<String>, String)>,
}

/// Agents that can't be told from what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// No extension has it for a number or an id.
    #[error(
        "the account has no extension with number or id {0:?}; see Admin Portal > Users for the numbers"
    )]
    Unknown(String),
    /// A number, while RingCentral could not be asked for its id.
    #[error(
        "{0:?} is no extension id (digits only, more than eight); numbers are good only while RingCentral can be asked"
    )]
    NoId(String),
}

/// Why the file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is there already.
    #[error("{0} exists already; name another file, or replace it with --force")]
    Exists(PathBuf),
    /// In the system's words.
    #[error("could not write {path} ({source}); its folder must exist and be writable")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
}

/// The extensions that numbers or ids mean, in that order and each once. Numbers come first: an id is never as short.
///
/// # Errors
/// [`AgentError::Unknown`] names the first that is neither.
pub fn find_agents(wanted: &[String], all: &[Extension]) -> Result<Vec<Extension>, AgentError> {
    let mut found: Vec<Extension> = Vec::new();
    for text in wanted {
        let extension = all
            .iter()
            .find(|it| it.extension_number == *text)
            .or_else(|| all.iter().find(|it| it.id == *text))
            .ok_or_else(|| AgentError::Unknown(text.clone()))?;
        if !found.contains(extension) {
            found.push(extension.clone());
        }
    }
    Ok(found)
}

/// The same without RingCentral's help: every text must be an id.
///
/// # Errors
/// [`AgentError::NoId`] names the first that can't be one.
pub fn agent_ids(wanted: &[String]) -> Result<Vec<String>, AgentError> {
    let is_id = |text: &String| {
        text.len() > LONGEST_EXTENSION_NUMBER && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match wanted.iter().find(|text| !is_id(text)) {
        Some(text) => Err(AgentError::NoId(text.clone())),
        None => Ok(wanted.to_vec()),
    }
}

/// The configuration file, in TOML. What is not asked for stays at its default.
pub fn to_toml(answers: &Answers) -> String {
    let mut text = String::from("[ringcentral]\n");
    for (key, value) in [
        ("server", answers.server.as_str()),
        ("client_id", &answers.client_id),
        ("client_secret", answers.client_secret.expose()),
        ("jwt", answers.jwt.expose()),
        ("supervisor_device_id", &answers.supervisor_device_id),
    ] {
        line(&mut text, key, value);
    }
    text.push_str("agents = [\n");
    for (id, name) in &answers.agents {
        // A comment ends with its line, whatever the name holds.
        let name: String = name.chars().filter(|it| !it.is_control()).collect();
        let comment = if name.is_empty() { String::new() } else { format!(" # {name}") };
        let _ = writeln!(text, "    {},{comment}", quoted(id));
    }
    text.push_str("]\n\n[sip]\ntransport = \"tls\"\n");
    if let Some((transcribers, relay)) = &answers.uplink {
        let list: Vec<String> = transcribers.iter().map(|it| quoted(it)).collect();
        let _ = writeln!(text, "\n[uplink]\ntranscribers = [{}]", list.join(", "));
        line(&mut text, "relay", relay);
    }
    text
}

/// Writes the file, readable by its owner only. `replace`: whatever is there already.
///
/// # Errors
/// [`WriteError`]. A file that is there stays as it is then.
pub fn write(path: &Path, text: &str, replace: bool) -> Result<(), WriteError> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::AlreadyExists => WriteError::Exists(path.to_owned()),
        _ => WriteError::Io { path: path.to_owned(), source },
    };
    if !replace {
        return create(path, text).map_err(failed);
    }
    // Whole or not at all, and with our mode and not that of the old file.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    let io = |source| WriteError::Io { path: path.to_owned(), source };
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    create(&unfinished, text).and_then(|()| fs::rename(&unfinished, path)).map_err(io)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {}", quoted(value));
}

fn quoted(value: &str) -> String {
    toml::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, Transport};

    fn answers() -> Answers {
        Answers {
            server: "https://platform.ringcentral.com".into(),
            client_id: "id".into(),
            client_secret: "hush".into(),
            jwt: "eyJ.hush.hush".into(),
            supervisor_device_id: "802512345678".into(),
            agents: vec![
                ("62226587016".into(), "Daniel Reed".into()),
                ("62226587017".into(), String::new()),
            ],
            uplink: Some((vec!["http://a:1".into(), "http://b:2".into()], "http://c:3".into())),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let answers = answers();
        assert!(!format!("{answers:?}").contains("hush"));
        let text = to_toml(&answers);
        assert!(text.contains("\"62226587016\", # Daniel Reed\n"), "{text}");
        let config = Config::from_toml(&text).unwrap();
        assert_eq!(config.client_id, "id");
        assert_eq!(config.jwt.expose(), "eyJ.hush.hush");
        assert_eq!(config.supervisor_device_id, "802512345678");
        assert_eq!(config.agents, ["62226587016", "62226587017"]);
        assert_eq!(config.transport, Transport::Tls);
        assert_eq!(config.transcribers.len(), 2);
        assert_eq!(config.relay.uri().to_string(), "http://c:3/");
        assert!(!to_toml(&Answers { uplink: None, ..answers }).contains("uplink"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_value(secret in "\\PC*|[\"'\\\\\n\r\t\u{7f}#]*", name in ".*") {
            prop_assume!(!secret.trim().is_empty());
            let mut answers = answers();
            answers.client_secret = Secret::from(secret.as_str());
            answers.agents[0].1 = name;
            let config = Config::from_toml(&to_toml(&answers)).unwrap();
            prop_assert_eq!(config.client_secret.expose(), secret);
            prop_assert_eq!(config.agents.len(), 2);
        }
    }

    #[test]
    fn numbers_and_ids_become_extensions() {
        let extension = |id: &str, number: &str| Extension {
            id: id.into(),
            extension_number: number.into(),
            ..Extension::default()
        };
        let all = [extension("62226587016", "108"), extension("62226587017", "109")];
        let wanted = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let found = find_agents(&wanted(&["109", "62226587016", "108"]), &all).unwrap();
        assert_eq!(found, [all[1].clone(), all[0].clone()]);
        let unknown = find_agents(&wanted(&["108", "110"]), &all).unwrap_err();
        assert_eq!(unknown, AgentError::Unknown("110".into()));
        assert_eq!(agent_ids(&wanted(&["62226587016"])), Ok(wanted(&["62226587016"])));
        for text in ["108", "6222658701x", ""] {
            assert_eq!(agent_ids(&wanted(&[text])), Err(AgentError::NoId(text.into())));
        }
    }

    #[test]
    fn the_file_is_the_owners_and_replaced_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sidetone.toml");
        write(&path, "first", false).unwrap();
        let error = write(&path, "second", false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, "second", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("none/sidetone.toml");
        assert!(matches!(write(&nowhere, "", false), Err(WriteError::Io { .. })));
    }
}
