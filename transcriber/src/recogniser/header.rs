//! Looks a model file over without loading it: whisper.cpp, written in C++, trusts what it reads.
//!
//! The format is what whisper.cpp's `models/convert-pt-to-ggml.py` writes, all little-endian: a magic
//! number, eleven hyperparameters, the mel filters, the vocabulary, then each tensor with its shape.
//! Sizes follow from the shapes, so that a walk from tensor to tensor finds a file that was cut short.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// The first four bytes, "ggml" as a 32-bit number.
const MAGIC: u32 = 0x6767_6d6c;

/// What the file type is multiplied by when weights are quantised (ggml's `GGML_QNT_VERSION_FACTOR`).
const QUANTISATION_VERSION: u32 = 1000;

/// Bytes that one entry of the vocabulary or a tensor's name may have.
const MAX_TEXT: u32 = 1024;

/// Dimensions that a tensor may have (ggml's `GGML_MAX_DIMS`).
const MAX_DIMENSIONS: u32 = 4;

/// What a model file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelHeader {
    /// The file's length in bytes.
    pub bytes: u64,
    /// Whether it knows other languages than English.
    pub multilingual: bool,
    /// Layers of the encoder: 4 (tiny), 6, 12, 24, or 32 (large).
    pub audio_layers: u32,
    /// Layers of the decoder.
    pub text_layers: u32,
    /// Mel bands of its input: 80, or 128 since large-v3.
    pub mels: u32,
}

/// Why a file is no model to load.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file cannot be opened or read.
    #[error("cannot read the model {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is a folder or a device.
    #[error("{path} is not a file; name the model's .bin file itself")]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is a Git LFS pointer, the stand-in for a large file in a repository.
    #[error("{path} is a Git LFS pointer, not the model; get the file itself with `git lfs pull`")]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// It is a web page, such as a proxy's or a login page saved under the model's name.
    #[error("{path} is a web page, not a model; delete it and download the model again")]
    WebPage {
        /// The file.
        path: PathBuf,
    },
    /// It is something else altogether.
    #[error("{path} is not a Whisper model in ggml format: {what}")]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        what: String,
    },
    /// It begins as a model does, and ends too early.
    #[error("{path} is cut short: {bytes} bytes end within {within}; download the model again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The file's length in bytes.
        bytes: u64,
        /// The part that the end falls into.
        within: String,
    },
    /// It begins as a model does, and then makes no sense.
    #[error("{path} is damaged: {what}; download the model again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        what: String,
    },
}

/// Checks that a file is a whole Whisper model in ggml format, reading its outline only.
///
/// # Errors
/// See [`HeaderError`]. Any content of the file is safe.
pub fn check_header(path: &Path) -> Result<ModelHeader, HeaderError> {
    let read = |source| HeaderError::Read { path: path.to_owned(), source };
    // A pipe would keep `open` waiting, so that its kind is asked first.
    let metadata = std::fs::metadata(path).map_err(read)?;
    if !metadata.is_file() {
        return Err(HeaderError::NotAFile { path: path.to_owned() });
    }
    let file = BufReader::new(File::open(path).map_err(read)?);
    outline(file, metadata.len()).map_err(|fault| fault.of(path, metadata.len()))
}

/// What is wrong, before the file's name is added.
enum Fault {
    Read(io::Error),
    LfsPointer,
    WebPage,
    NotAModel(String),
    Truncated(String),
    Damaged(String),
}

impl Fault {
    fn of(self, path: &Path, bytes: u64) -> HeaderError {
        let path = path.to_owned();
        match self {
            Self::Read(source) => HeaderError::Read { path, source },
            Self::LfsPointer => HeaderError::LfsPointer { path },
            Self::WebPage => HeaderError::WebPage { path },
            Self::NotAModel(what) => HeaderError::NotAModel { path, what },
            Self::Truncated(within) => HeaderError::Truncated { path, bytes, within },
            Self::Damaged(what) => HeaderError::Damaged { path, what },
        }
    }
}

fn outline(mut file: impl Read + Seek, bytes: u64) -> Result<ModelHeader, Fault> {
    recognise(&mut file)?;
    let mut outline = Outline { file, bytes, position: 4 };

    let within = "the header";
    let vocabulary = outline.number_in(1..=1 << 20, "vocabulary size", within)?;
    outline.number_in(1..=1 << 16, "audio context", within)?;
    let audio_state = outline.number_in(1..=1 << 14, "audio state", within)?;
    let audio_heads = outline.number_in(1..=1 << 10, "number of audio heads", within)?;
    let audio_layers = outline.number_in(1..=256, "number of audio layers", within)?;
    outline.number_in(1..=1 << 16, "text context", within)?;
    let text_state = outline.number_in(1..=1 << 14, "text state", within)?;
    let text_heads = outline.number_in(1..=1 << 10, "number of text heads", within)?;
    let text_layers = outline.number_in(1..=256, "number of text layers", within)?;
    let mels = outline.number_in(1..=1024, "number of mel bands", within)?;
    let file_type = outline.number(within)?;
    if audio_state % audio_heads != 0 || text_state % text_heads != 0 {
        return Err(Fault::Damaged("its heads do not divide its state".into()));
    }
    if file_type % QUANTISATION_VERSION > 64 {
        return Err(Fault::Damaged(format!("{file_type} is no type of weights")));
    }

    let within = "the mel filters";
    let bands = outline.number_in(1..=1024, "number of mel filters", within)?;
    let bins = outline.number_in(1..=1 << 16, "length of a mel filter", within)?;
    outline.skip(u64::from(bands) * u64::from(bins) * 4, within)?;

    let within = "the vocabulary";
    let tokens = outline.number_in(1..=1 << 20, "number of tokens", within)?;
    for _ in 0..tokens {
        let length = outline.number_in(0..=MAX_TEXT, "length of a token", within)?;
        outline.skip(length.into(), within)?;
    }

    // Per layer 15 tensors in the encoder and 24 in the decoder, and 7 and 4 outside of the layers.
    let tensors = 7 + 15 * audio_layers + 4 + 24 * text_layers;
    for number in 1..=tensors {
        outline.tensor(&format!("tensor {number} of {tensors}"))?;
    }
    match bytes - outline.position {
        0 => Ok(ModelHeader {
            bytes,
            // whisper.cpp tells them apart the same way: English-only models have 51,864 tokens.
            multilingual: vocabulary >= 51_865,
            audio_layers,
            text_layers,
            mels,
        }),
        left => Err(Fault::Damaged(format!("{left} bytes follow the last of {tensors} tensors"))),
    }
}

/// Reads the first four bytes, and says what else begins like that.
fn recognise(file: &mut impl Read) -> Result<(), Fault> {
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start).map_err(Fault::Read)?;
    if start == MAGIC.to_le_bytes() {
        return Ok(());
    }
    let mut rest = Vec::new();
    file.take(60).read_to_end(&mut rest).map_err(Fault::Read)?;
    let start = [start, rest].concat();
    Err(if start.is_empty() {
        Fault::NotAModel("it is empty".into())
    } else if start.starts_with(b"version https://git-lfs") {
        Fault::LfsPointer
    } else if start.trim_ascii_start().starts_with(b"<") {
        Fault::WebPage
    } else if start.starts_with(b"GGUF") {
        Fault::NotAModel("it is a GGUF file, which whisper.cpp does not read".into())
    } else if start.starts_with(b"PK") {
        Fault::NotAModel("it is an archive or a PyTorch model; convert it to ggml first".into())
    } else {
        let magic = &start[..start.len().min(4)];
        Fault::NotAModel(format!("it begins with \"{}\", not \"lmgg\"", magic.escape_ascii()))
    })
}

/// A walk through the file that never passes its end.
struct Outline<F> {
    file: F,
    /// The file's length.
    bytes: u64,
    /// Bytes walked past, at most `bytes`.
    position: u64,
}

impl<F: Read + Seek> Outline<F> {
    fn number(&mut self, within: &str) -> Result<u32, Fault> {
        self.advance(4, within)?;
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            // The file became shorter while it was read.
            io::ErrorKind::UnexpectedEof => Fault::Truncated(within.into()),
            _ => Fault::Read(error),
        })?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn number_in(
        &mut self,
        plausible: std::ops::RangeInclusive<u32>,
        what: &str,
        within: &str,
    ) -> Result<u32, Fault> {
        let number = self.number(within)?;
        if plausible.contains(&number) {
            Ok(number)
        } else {
            Err(Fault::Damaged(format!("{number} is no {what} ({within})")))
        }
    }

    fn skip(&mut self, bytes: u64, within: &str) -> Result<(), Fault> {
        self.advance(bytes, within)?;
        // The file's length bounds `bytes`, and no file system has files beyond `i64::MAX`.
        self.file.seek_relative(bytes.cast_signed()).map_err(Fault::Read)
    }

    fn advance(&mut self, bytes: u64, within: &str) -> Result<(), Fault> {
        if bytes > self.bytes - self.position {
            return Err(Fault::Truncated(within.into()));
        }
        self.position += bytes;
        Ok(())
    }

    fn tensor(&mut self, within: &str) -> Result<(), Fault> {
        let dimensions = self.number_in(1..=MAX_DIMENSIONS, "number of dimensions", within)?;
        let name = self.number_in(1..=MAX_TEXT, "length of a name", within)?;
        let kind = self.number(within)?;
        let (block, block_bytes) = block(kind)
            .ok_or_else(|| Fault::Damaged(format!("{kind} is no type of weights ({within})")))?;
        let mut elements = 1_u64;
        for _ in 0..dimensions {
            // What saturates is larger than any file, and ends the walk with an error.
            elements = elements.saturating_mul(self.number(within)?.into());
        }
        self.skip(name.into(), within)?;
        if elements == 0 || !elements.is_multiple_of(block) {
            return Err(Fault::Damaged(format!("{elements} weights make no tensor ({within})")));
        }
        self.skip((elements / block).saturating_mul(block_bytes), within)
    }
}

/// Weights in a block and the block's bytes, by ggml's number of the type (`enum ggml_type`).
fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),      // f32
        1 | 30 => (1, 2), // f16, bf16
        2 => (32, 18),    // q4_0
        3 => (32, 20),    // q4_1
        6 => (32, 22),    // q5_0
        7 => (32, 24),    // q5_1
        8 => (32, 34),    // q8_0
        10 => (256, 84),  // q2_k
        11 => (256, 110), // q3_k
        12 => (256, 144), // q4_k
        13 => (256, 176), // q5_k
        14 => (256, 210), // q6_k
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// The model of the demo.
    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo-en-q8_0.bin");

    /// A model of one layer with the smallest tensors.
    fn tiny() -> Vec<u8> {
        let numbers = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
        };
        let mut model = numbers(&[MAGIC, 51_865, 1500, 64, 2, 1, 448, 64, 2, 1, 80, 2008]);
        model.extend(numbers(&[2, 3]));
        model.extend([0; 2 * 3 * 4]);
        model.extend(numbers(&[2, 5]));
        model.extend(b"hello");
        model.extend(numbers(&[0]));
        for tensor in 0..50 {
            let (kind, bytes) = if tensor % 2 == 0 { (0, 256) } else { (8, 68) };
            model.extend(numbers(&[2, 6, kind, 32, 2]));
            model.extend(b"weight");
            model.extend(vec![7; bytes]);
        }
        model
    }

    fn check(bytes: &[u8]) -> Result<ModelHeader, HeaderError> {
        outline(Cursor::new(bytes), bytes.len() as u64)
            .map_err(|fault| fault.of(Path::new("m.bin"), bytes.len() as u64))
    }

    #[test]
    fn reads_the_outline_of_a_real_model() {
        let header = check_header(Path::new(DEMO)).unwrap();
        let expected = ModelHeader {
            bytes: 16_823_638,
            multilingual: false,
            audio_layers: 4,
            text_layers: 3,
            mels: 80,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn every_shorter_file_is_cut_short_and_a_longer_one_damaged() {
        let model = tiny();
        assert!(check(&model).unwrap().multilingual);
        for length in 4..model.len() {
            let error = check(&model[..length]).unwrap_err();
            assert!(matches!(error, HeaderError::Truncated { .. }), "{length}: {error}");
        }
        let longer = [model, vec![0]].concat();
        assert!(matches!(check(&longer), Err(HeaderError::Damaged { .. })));
    }

    #[test]
    fn says_what_else_the_file_is() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
        assert!(matches!(check(pointer), Err(HeaderError::LfsPointer { .. })));
        for page in ["<!DOCTYPE html>", "\r\n  <html>", "<?xml"] {
            assert!(matches!(check(page.as_bytes()), Err(HeaderError::WebPage { .. })), "{page}");
        }
        for other in [&b""[..], b"l", b"GGUF\x03\0\0\0", b"PK\x03\x04", b"RIFF\xff\xff\xff\xffWAVE"]
        {
            assert!(matches!(check(other), Err(HeaderError::NotAModel { .. })), "{other:?}");
        }
        assert!(matches!(check_header(Path::new("/")), Err(HeaderError::NotAFile { .. })));
        assert!(matches!(check_header(Path::new("/none")), Err(HeaderError::Read { .. })));
    }

    #[test]
    fn hostile_numbers_are_errors() {
        let model = tiny();
        for at in 4..model.len() - 4 {
            for number in [0, u32::MAX, i32::MAX as u32, 1 << 20] {
                let mut hostile = model.clone();
                hostile[at..at + 4].copy_from_slice(&number.to_le_bytes());
                // Most are errors, and a number within the weights changes nothing: it ends either way.
                let _ = check(&hostile);
            }
        }
        let with = |index: usize, number: u32| {
            let mut hostile = model.clone();
            hostile[4 * index..4 * index + 4].copy_from_slice(&number.to_le_bytes());
            check(&hostile)
        };
        for (index, number) in [(1, 0), (3, u32::MAX), (4, 3), (5, 0), (5, 1 << 20), (11, 999)] {
            let result = with(index, number);
            assert!(matches!(result, Err(HeaderError::Damaged { .. })), "{index}: {result:?}");
        }
    }
}
