//! Generates the gRPC contracts. protox stands in for protoc, so nothing needs to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=sidetone");
    let files =
        ["sidetone/v1/audio.proto", "sidetone/v1/captions.proto", "sidetone/v1/recogniser.proto"];
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .bytes(".sidetone.v1.AudioFrame.pcm")
        .bytes(".sidetone.v1.RecogniseRequest.audio")
        .compile_fds(descriptors)?;
    Ok(())
}
