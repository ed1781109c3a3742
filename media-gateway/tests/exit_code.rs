//! The binary, and arguments or a configuration that can't be run.

use std::process::Command;

#[test]
fn bad_arguments_exit_with_64_and_help_with_0() {
    for (arguments, code) in [(&[][..], 64), (&["--colour"], 64), (&["--help"], 0)] {
        let output = Command::new(env!("CARGO_BIN_EXE_media-gateway")).args(arguments).output();
        assert_eq!(output.unwrap().status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_bad_configuration_exits_with_64_and_says_why() {
    let folder = std::env::temp_dir().join(format!("media-gateway-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("gateway.toml");
    std::fs::write(&file, "[ringcentral]\ncolour = 1\n").unwrap();
    let missing = folder.join("missing.toml");
    for (path, reason) in [(&file, "unknown field `colour`"), (&missing, "No such file")] {
        let output = Command::new(env!("CARGO_BIN_EXE_media-gateway"))
            .arg("--config")
            .arg(path)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{message}");
        assert!(message.contains(reason), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
