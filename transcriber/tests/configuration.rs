//! What is wrong with `[transcriber]` is named before any port is opened.

use transcriber::config::{BackendConfig, Config, Settings};

fn config(toml: &str) -> Result<Config, String> {
    let settings: Settings = toml::from_str(toml).map_err(|error| error.to_string())?;
    Config::try_from(settings).map_err(|error| error.to_string())
}

fn names(config: &Config) -> Vec<&'static str> {
    config.backends.iter().map(BackendConfig::name).collect()
}

#[test]
fn one_line_changes_the_recogniser() {
    assert_eq!(names(&config("").unwrap()), ["whisper"]);
    let grpc = config(r#"backends = ["grpc"]"#).unwrap();
    let [BackendConfig::Grpc(endpoint)] = grpc.backends.as_slice() else { panic!("{grpc:?}") };
    assert_eq!(endpoint.uri().to_string(), "http://127.0.0.1:50051/");
    let all = config(r#"backends = ["openai", "grpc", "whisper"]"#).unwrap();
    assert_eq!(names(&all), ["openai", "grpc", "whisper"]);
}

#[test]
fn a_model_is_asked_for_by_nobody_but_whisper() {
    let missing = r#"model = "/nowhere/model.bin""#;
    assert!(config(missing).unwrap_err().contains("/nowhere/model.bin"));
    assert!(config(&format!("backends = [\"grpc\"]\n{missing}")).is_ok());
}

#[test]
fn values_that_can_not_be_are_named() {
    for (toml, named) in [
        ("backends = []", "[transcriber] backends: there is none"),
        (r#"backends = ["grpc", "grpc"]"#, "\"grpc\" is there twice"),
        (r#"backends = ["vosk"]"#, "no backend \"vosk\""),
        ("deadline_ms = 5", "[transcriber] deadline_ms: 5"),
        ("vocabulary = [\"a\", \" \"]", "[transcriber] vocabulary: entry 2"),
        ("backends = [\"grpc\"]\nlanguage = \"en us\"", "[transcriber] language"),
        ("language = \"klingon\"", "[transcriber] language"),
        ("backends = [\"grpc\"]\ngrpc.address = \"127.0.0.1:50051\"", "[transcriber.grpc] address"),
        ("backends = [\"grpc\"]\ngrpc.address = \"grpc://host\"", "[transcriber.grpc] address"),
        ("backends = [\"openai\"]\nopenai.url = \"host:8000\"", "[transcriber.openai] url"),
        (
            "backends = [\"openai\"]\nopenai.url = \"http://u:p@host/v1\"",
            "[transcriber.openai] url",
        ),
        ("backends = [\"openai\"]\nopenai.model = \" \"", "[transcriber.openai] model"),
        ("backends = [\"openai\"]\nopenai.timeout_ms = 5", "[transcriber.openai] timeout_ms: 5"),
        (
            "backends = [\"openai\"]\nopenai.api_key_file = \"/nowhere\"",
            "api_key_file: cannot read /nowhere",
        ),
        (
            "backends = [\"openai\"]\nopenai.api_key_env = \"SIDETONE_NO_KEY\"",
            "\"SIDETONE_NO_KEY\"",
        ),
        ("grpc.adress = \"grpc://host:1\"", "adress"),
    ] {
        let error = config(toml).expect_err(toml);
        assert!(error.contains(named), "{toml}: {error}");
    }
}

#[test]
fn the_key_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sk-secret\n").unwrap();
    let toml = format!("backends = [\"openai\"]\nopenai.api_key_file = {path:?}");
    let config = config(&toml).unwrap();
    let [BackendConfig::OpenAi(options)] = config.backends.as_slice() else { panic!() };
    assert_eq!(options.api_key.as_deref(), Some("sk-secret"));
    assert!(!format!("{config:?}").contains("sk-secret"));

    std::fs::write(&path, "\n").unwrap();
    assert!(self::config(&toml).unwrap_err().contains("the key is empty"));
}
