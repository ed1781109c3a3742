//! Models that cost what the published ones cost, and know nothing.
//!
//! The file has the tensors, sizes and quantisation (q8_0) of a published model. The encoder's weights are random. The
//! decoder's layers add nothing, so that its output depends on the position alone: it says the same few words about any
//! audio and stops. So a decode takes as many steps as that of a short turn, whatever the audio is.

use std::io::{self, Write};
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Any model in ggml format: its mel filters and its vocabulary are those of all English models.
const DONOR: &[u8] = include_bytes!("../../models/demo-en-q8_0.bin");

const N_VOCABULARY: usize = 51_864;
const N_AUDIO_CONTEXT: usize = 1_500;
const N_TEXT_CONTEXT: usize = 448;
const N_MELS: usize = 80;
/// ggml's type of a file with q8_0 weights: quantisation version 2, `GGML_FTYPE_MOSTLY_Q8_0`.
const FILE_TYPE: usize = 2_007;

/// Tokens of English models that are no words (whisper.cpp, `whisper_vocab`).
const END_OF_TEXT: usize = 50_256;
const TIMESTAMP_0: usize = 50_363;

/// Words in every text: those of a turn of about five seconds.
const WORDS: usize = 12;

/// Bytes that a vocabulary's text may have to be one of the words.
const WORD_BYTES: std::ops::RangeInclusive<usize> = 4..=8;

/// Numbers as 16-bit floats: 2^-12 makes weights of about 0.02, 2^-7 makes 127 of them 1.
const F16_SMALL: u16 = 3 << 10;
const F16_UNIT: u16 = 8 << 10;
/// The smallest of 1024 numbers around 2^-6.
const F16_WEIGHT: u16 = 9 << 10;

/// So far out that what a token adds to its position changes nothing.
const FAR: f32 = 100.0;

/// Weights in a block of q8_0.
const BLOCK: usize = 32;

/// The size of a published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishedShape {
    pub(crate) name: &'static str,
    state: usize,
    heads: usize,
    layers: usize,
}

/// From the models' files (Radford et al. 2022, table 1).
const SHAPES: [PublishedShape; 3] = [
    PublishedShape { name: "tiny.en", state: 384, heads: 6, layers: 4 },
    PublishedShape { name: "base.en", state: 512, heads: 8, layers: 6 },
    PublishedShape { name: "small.en", state: 768, heads: 12, layers: 12 },
];

impl FromStr for PublishedShape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = SHAPES.map(|shape| shape.name).join(", ");
        let shape = SHAPES.into_iter().find(|shape| shape.name == name);
        shape.ok_or(format!("there is no shape {name:?}: say one of {names}"))
    }
}

impl PublishedShape {
    /// Writes a model file; the same one every time.
    pub(crate) fn write(self, file: impl Write) -> io::Result<()> {
        let mut model = Model { file, shape: self, random: StdRng::seed_from_u64(1) };
        model.head()?;
        model.encoder()?;
        model.decoder()
    }
}

struct Model<W> {
    file: W,
    shape: PublishedShape,
    random: StdRng,
}

/// What a matrix holds.
#[derive(Clone, Copy)]
enum Fill {
    Random,
    Zero,
}

impl<W: Write> Model<W> {
    fn head(&mut self) -> io::Result<()> {
        let PublishedShape { state, heads, layers, .. } = self.shape;
        self.file.write_all(&DONOR[..4])?;
        self.numbers(&[N_VOCABULARY, N_AUDIO_CONTEXT, state, heads, layers])?;
        self.numbers(&[N_TEXT_CONTEXT, state, heads, layers, N_MELS, FILE_TYPE])?;
        self.file.write_all(&DONOR[48..vocabulary().end])
    }

    fn encoder(&mut self) -> io::Result<()> {
        let PublishedShape { state, layers, .. } = self.shape;
        let positions = vec![0.0; state * N_AUDIO_CONTEXT];
        self.floats("encoder.positional_embedding", &[state, N_AUDIO_CONTEXT], &positions)?;
        for (number, channels) in [(1, N_MELS), (2, state)] {
            self.convolution(&format!("encoder.conv{number}.weight"), [3, channels, state])?;
            self.floats(&format!("encoder.conv{number}.bias"), &[1, state], &vec![0.0; state])?;
        }
        for layer in 0..layers {
            let block = format!("encoder.blocks.{layer}");
            self.attention(&format!("{block}.attn"), Fill::Random)?;
            self.perceptron(&block, Fill::Random)?;
        }
        self.norm("encoder.ln_post")
    }

    fn decoder(&mut self) -> io::Result<()> {
        let PublishedShape { state, layers, .. } = self.shape;
        let spoken = spoken();
        let mut positions = vec![0.0; state * N_TEXT_CONTEXT];
        for position in 0..N_TEXT_CONTEXT {
            positions[position * state + position.min(spoken.len() - 1)] = FAR;
        }
        self.floats("decoder.positional_embedding", &[state, N_TEXT_CONTEXT], &positions)?;
        for layer in 0..layers {
            let block = format!("decoder.blocks.{layer}");
            self.attention(&format!("{block}.attn"), Fill::Zero)?;
            self.attention(&format!("{block}.cross_attn"), Fill::Zero)?;
            self.perceptron(&block, Fill::Zero)?;
        }
        self.norm("decoder.ln")?;
        self.tensor("decoder.token_embedding.weight", &[state, N_VOCABULARY], Type::Q8_0)?;
        for token in 0..N_VOCABULARY {
            let place = spoken.iter().position(|spoken| *spoken == token);
            for block in 0..state / BLOCK {
                let mut weights = [0; BLOCK];
                if let Some(place) = place.filter(|place| place / BLOCK == block) {
                    weights[place % BLOCK] = i8::MAX;
                }
                self.block(F16_UNIT, weights)?;
            }
        }
        Ok(())
    }

    /// Multi-head attention and the norm before it; `out` fills its last matrix.
    fn attention(&mut self, name: &str, out: Fill) -> io::Result<()> {
        let state = self.shape.state;
        for part in ["query", "key", "value"] {
            self.matrix(&format!("{name}.{part}.weight"), state, state, Fill::Random)?;
            if part != "key" {
                self.floats(&format!("{name}.{part}.bias"), &[state], &vec![0.0; state])?;
            }
        }
        self.matrix(&format!("{name}.out.weight"), state, state, out)?;
        self.floats(&format!("{name}.out.bias"), &[state], &vec![0.0; state])?;
        self.norm(&format!("{name}_ln"))
    }

    /// The two linear layers of a block and the norm before them; `out` fills the second's matrix.
    fn perceptron(&mut self, block: &str, out: Fill) -> io::Result<()> {
        let state = self.shape.state;
        self.matrix(&format!("{block}.mlp.0.weight"), state, 4 * state, Fill::Random)?;
        self.floats(&format!("{block}.mlp.0.bias"), &[4 * state], &vec![0.0; 4 * state])?;
        self.matrix(&format!("{block}.mlp.2.weight"), 4 * state, state, out)?;
        self.floats(&format!("{block}.mlp.2.bias"), &[state], &vec![0.0; state])?;
        self.norm(&format!("{block}.mlp_ln"))
    }

    fn norm(&mut self, name: &str) -> io::Result<()> {
        let state = self.shape.state;
        self.floats(&format!("{name}.weight"), &[state], &vec![1.0; state])?;
        self.floats(&format!("{name}.bias"), &[state], &vec![0.0; state])
    }

    fn matrix(&mut self, name: &str, from: usize, to: usize, fill: Fill) -> io::Result<()> {
        self.tensor(name, &[from, to], Type::Q8_0)?;
        for _ in 0..from * to / BLOCK {
            match fill {
                Fill::Random => {
                    let weights = std::array::from_fn(|_| self.random.random());
                    self.block(F16_SMALL, weights)?;
                }
                Fill::Zero => self.block(0, [0; BLOCK])?,
            }
        }
        Ok(())
    }

    fn convolution(&mut self, name: &str, dimensions: [usize; 3]) -> io::Result<()> {
        self.tensor(name, &dimensions, Type::F16)?;
        for _ in 0..dimensions.iter().product() {
            let bits: u16 = self.random.random();
            // A sign and a fraction.
            self.file.write_all(&(F16_WEIGHT | bits & 0x83ff).to_le_bytes())?;
        }
        Ok(())
    }

    fn floats(&mut self, name: &str, dimensions: &[usize], values: &[f32]) -> io::Result<()> {
        self.tensor(name, dimensions, Type::F32)?;
        values.iter().try_for_each(|value| self.file.write_all(&value.to_le_bytes()))
    }

    fn block(&mut self, scale: u16, weights: [i8; BLOCK]) -> io::Result<()> {
        self.file.write_all(&scale.to_le_bytes())?;
        self.file.write_all(&weights.map(i8::cast_unsigned))
    }

    fn tensor(&mut self, name: &str, dimensions: &[usize], kind: Type) -> io::Result<()> {
        self.numbers(&[dimensions.len(), name.len(), kind as usize])?;
        self.numbers(dimensions)?;
        self.file.write_all(name.as_bytes())
    }

    fn numbers(&mut self, numbers: &[usize]) -> io::Result<()> {
        numbers.iter().try_for_each(|number| self.file.write_all(&(*number as u32).to_le_bytes()))
    }
}

/// ggml's numbers of types.
#[derive(Clone, Copy)]
enum Type {
    F32 = 0,
    F16 = 1,
    Q8_0 = 8,
}

/// What is said at each position: the time of the beginning, the words, and then the end.
fn spoken() -> Vec<usize> {
    let is_word = |text: &[u8]| {
        WORD_BYTES.contains(&text.len())
            && text[0] == b' '
            && text[1..].iter().all(u8::is_ascii_lowercase)
    };
    let words = tokens().enumerate().filter(|(_, text)| is_word(text)).map(|(token, _)| token);
    [TIMESTAMP_0].into_iter().chain(words.take(WORDS)).chain([END_OF_TEXT]).collect()
}

/// Where the donor's vocabulary stands, its length included.
fn vocabulary() -> std::ops::Range<usize> {
    let filters = number_at(48) * number_at(52) * 4;
    let start = 56 + filters;
    let mut end = start + 4;
    for _ in 0..number_at(start) {
        end += 4 + number_at(end);
    }
    start..end
}

fn tokens() -> impl Iterator<Item = &'static [u8]> {
    let mut at = vocabulary().start + 4;
    let end = vocabulary().end;
    std::iter::from_fn(move || {
        let length = (at < end).then(|| number_at(at))?;
        let text = &DONOR[at + 4..at + 4 + length];
        at += 4 + length;
        Some(text)
    })
}

fn number_at(at: usize) -> usize {
    u32::from_le_bytes([DONOR[at], DONOR[at + 1], DONOR[at + 2], DONOR[at + 3]]) as usize
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufWriter;

    use pipeline::speech::{Window, samples};
    use transcriber::recogniser::{
        ModelSource, RecogniserFactory, Search, Whisper, WhisperOptions, check_header,
    };

    use super::*;

    #[test]
    fn the_smallest_is_a_model_that_says_its_words_and_stops() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.bin");
        let shape: PublishedShape = "tiny.en".parse().unwrap();
        shape.write(BufWriter::new(File::create(&path).unwrap())).unwrap();
        let header = check_header(&path).unwrap();
        assert_eq!((header.audio_layers, header.multilingual), (4, false));

        let options = WhisperOptions { language: "en".into() };
        let model = Whisper::load(&ModelSource::File(path), &options).unwrap();
        let mut recogniser = model.create().unwrap();
        let audio: Vec<f32> = (0..samples(3_000)).map(|n| (n as f32 / 9.0).sin() / 4.0).collect();
        let window = Window {
            segment: 0,
            start: 0,
            speech_start: 0,
            speech_end: audio.len() as u64,
            clarity: 1.0,
            audio: audio.into(),
        };
        let heard = recogniser.recognise(&window, Search::Greedy).unwrap();
        assert_eq!(heard.words.len(), WORDS);
        assert!(heard.average_log_probability > -0.1, "{}", heard.average_log_probability);
    }
}
