//! Generates the gRPC contracts. protox stands in for protoc, so nothing needs to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=sidetone");
    let descriptors =
        protox::compile(["sidetone/v1/audio.proto", "sidetone/v1/captions.proto"], ["."])?;
    tonic_prost_build::configure().bytes(".sidetone.v1.AudioFrame.pcm").compile_fds(descriptors)?;
    Ok(())
}
