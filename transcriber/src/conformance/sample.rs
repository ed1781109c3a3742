//! What servers are given to hear.

use pipeline::speech::samples;

/// "I am sorry to hear that. I can look into it with you." A second of the demo call has 16,000 samples.
const SPEECH: &[u8] = include_bytes!("speech.wav");

/// Where a WAV file's samples begin, when its header is the shortest possible.
const WAV_HEADER: usize = 44;

/// 3.2 s of a voice on a telephone line.
pub(super) fn speech() -> Vec<f32> {
    let pcm = SPEECH[WAV_HEADER..].chunks_exact(2);
    pcm.map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect()
}

/// 3 s without anything.
pub(super) fn silence() -> Vec<f32> {
    vec![0.0; samples(3_000) as usize]
}

/// 3 s of a quiet line: hiss at -60 dB of full scale. The same every time.
pub(super) fn hiss() -> Vec<f32> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) - 0.5) as f32 * 0.002
    };
    (0..samples(3_000)).map(|_| noise()).collect()
}
