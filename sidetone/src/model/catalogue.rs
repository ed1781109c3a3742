//! The Whisper models that whisper.cpp publishes, with their sizes and checksums.

use std::fmt;
use std::str::FromStr;

use super::checksum::Checksum;

/// Where whisper.cpp keeps its converted models.
pub const WHISPER_CPP: &str = "https://huggingface.co/ggerganov/whisper.cpp/resolve/main";

/// Where the model that marks turns of speech is kept.
pub const TINYDIARIZE: &str =
    "https://huggingface.co/akashmjn/tinydiarize-whisper.cpp/resolve/main";

/// Characters that a model's name may have at most.
const MAX_NAME: usize = 64;

/// Names that are offered in place of an unknown one, at most.
const MAX_NEAR: usize = 5;

/// Letters that a name may be away from a known one and still be taken for a slip.
const MAX_DISTANCE: usize = 3;

/// A published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// The name that whisper.cpp's own download script takes, as in `base.en`.
    pub name: &'static str,
    /// What the file has to be.
    pub content: Content,
    /// The address of the folder that the file is published in.
    pub source: &'static str,
}

impl Model {
    /// The name as one that is safe in a file name and in a URL, as all in the catalogue are.
    pub fn model_name(&self) -> ModelName {
        ModelName(self.name.to_owned())
    }
}

/// A file's exact content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Checksum,
}

/// Every published model, by size, as whisper.cpp's `models/download-ggml-model.sh` and its model card list them.
#[rustfmt::skip]
pub const CATALOGUE: [Model; 34] = [
    model("tiny",                   77_691_713, WHISPER_CPP, "be07e048e1e599ad46341c8d2a135645097a538221678b7acdd1b1919c6e1b21"),
    model("tiny.en",                77_704_715, WHISPER_CPP, "921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f"),
    model("tiny-q5_1",              32_152_673, WHISPER_CPP, "818710568da3ca15689e31a743197b520007872ff9576237bda97bd1b469c3d7"),
    model("tiny.en-q5_1",           32_166_155, WHISPER_CPP, "c77c5766f1cef09b6b7d47f21b546cbddd4157886b3b5d6d4f709e91e66c7c2b"),
    model("tiny-q8_0",              43_537_433, WHISPER_CPP, "c2085835d3f50733e2ff6e4b41ae8a2b8d8110461e18821b09a15c40c42d1cca"),
    model("tiny.en-q8_0",           43_550_795, WHISPER_CPP, "5bc2b3860aa151a4c6e7bb095e1fcce7cf12c7b020ca08dcec0c6d018bb7dd94"),
    model("base",                  147_951_465, WHISPER_CPP, "60ed5bc3dd14eea856493d334349b405782ddcaf0028d4b5df4088345fba2efe"),
    model("base.en",               147_964_211, WHISPER_CPP, "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002"),
    model("base-q5_1",              59_707_625, WHISPER_CPP, "422f1ae452ade6f30a004d7e5c6a43195e4433bc370bf23fac9cc591f01a8898"),
    model("base.en-q5_1",           59_721_011, WHISPER_CPP, "4baf70dd0d7c4247ba2b81fafd9c01005ac77c2f9ef064e00dcf195d0e2fdd2f"),
    model("base-q8_0",              81_768_585, WHISPER_CPP, "c577b9a86e7e048a0b7eada054f4dd79a56bbfa911fbdacf900ac5b567cbb7d9"),
    model("base.en-q8_0",           81_781_811, WHISPER_CPP, "a4d4a0768075e13cfd7e19df3ae2dbc4a68d37d36a7dad45e8410c9a34f8c87e"),
    model("small",                 487_601_967, WHISPER_CPP, "1be3a9b2063867b937e64e2ec7483364a79917e157fa98c5d94b5c1fffea987b"),
    model("small.en",              487_614_201, WHISPER_CPP, "c6138d6d58ecc8322097e0f987c32f1be8bb0a18532a3f88f734d1bbf9c41e5d"),
    model("small.en-tdrz",         487_614_184, TINYDIARIZE, "ceac3ec06d1d98ef71aec665283564631055fd6129b79d8e1be4f9cc33cc54b4"),
    model("small-q5_1",            190_085_487, WHISPER_CPP, "ae85e4a935d7a567bd102fe55afc16bb595bdb618e11b2fc7591bc08120411bb"),
    model("small.en-q5_1",         190_098_681, WHISPER_CPP, "bfdff4894dcb76bbf647d56263ea2a96645423f1669176f4844a1bf8e478ad30"),
    model("small-q8_0",            264_464_607, WHISPER_CPP, "49c8fb02b65e6049d5fa6c04f81f53b867b5ec9540406812c643f177317f779f"),
    model("small.en-q8_0",         264_477_561, WHISPER_CPP, "67a179f608ea6114bd3fdb9060e762b588a3fb3bd00c4387971be4d177958067"),
    model("medium",              1_533_763_059, WHISPER_CPP, "6c14d5adee5f86394037b4e4e8b59f1673b6cee10e3cf0b11bbdbee79c156208"),
    model("medium.en",           1_533_774_781, WHISPER_CPP, "cc37e93478338ec7700281a7ac30a10128929eb8f427dda2e865faa8f6da4356"),
    model("medium-q5_0",           539_212_467, WHISPER_CPP, "19fea4b380c3a618ec4723c3eef2eb785ffba0d0538cf43f8f235e7b3b34220f"),
    model("medium.en-q5_0",        539_225_533, WHISPER_CPP, "76733e26ad8fe1c7a5bf7531a9d41917b2adc0f20f2e4f5531688a8c6cd88eb0"),
    model("medium-q8_0",           823_369_779, WHISPER_CPP, "42a1ffcbe4167d224232443396968db4d02d4e8e87e213d3ee2e03095dea6502"),
    model("medium.en-q8_0",        823_382_461, WHISPER_CPP, "43fa2cd084de5a04399a896a9a7a786064e221365c01700cea4666005218f11c"),
    model("large-v1",            3_094_623_691, WHISPER_CPP, "7d99f41a10525d0206bddadd86760181fa920438b6b33237e3118ff6c83bb53d"),
    model("large-v2",            3_094_623_691, WHISPER_CPP, "9a423fe4d40c82774b6af34115b8b935f34152246eb19e80e376071d3f999487"),
    model("large-v2-q5_0",       1_080_732_091, WHISPER_CPP, "3a214837221e4530dbc1fe8d734f302af393eb30bd0ed046042ebf4baf70f6f2"),
    model("large-v2-q8_0",       1_656_129_691, WHISPER_CPP, "fef54e6d898246a65c8285bfa83bd1807e27fadf54d5d4e81754c47634737e8c"),
    model("large-v3",            3_095_033_483, WHISPER_CPP, "64d182b440b98d5203c4f9bd541544d84c605196c4f7b845dfa11fb23594d1e2"),
    model("large-v3-q5_0",       1_081_140_203, WHISPER_CPP, "d75795ecff3f83b5faa89d1900604ad8c780abd5739fae406de19f23ecd98ad1"),
    model("large-v3-turbo",      1_624_555_275, WHISPER_CPP, "1fc70f774d38eb169993ac391eea357ef47c88757ef72ee5943879b7e8e2bc69"),
    model("large-v3-turbo-q5_0",   574_041_195, WHISPER_CPP, "394221709cd5ad1f40c46e6031ca61bce88931e6e088c188294c6d5a55ffa7e2"),
    model("large-v3-turbo-q8_0",   874_188_075, WHISPER_CPP, "317eb69c11673c9de1e1f0d459b253999804ec71ac4c23c17ecf5fbe24e259a1"),
];

/// The published model of that name.
pub fn find(name: &str) -> Option<&'static Model> {
    CATALOGUE.iter().find(|model| model.name == name)
}

/// Published names that `name` may have meant, the likeliest first, at most five.
pub fn near(name: &str) -> Vec<&'static str> {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("ggml-").unwrap_or(&name);
    let name = name.strip_suffix(".bin").unwrap_or(name);
    // Longer texts are no slip of the pen, and the distance costs time in their length.
    if name.is_empty() || name.len() > MAX_NAME {
        return Vec::new();
    }
    // What only lacks its end comes before what has a wrong letter.
    let mut found: Vec<_> = CATALOGUE
        .iter()
        .map(|model| (!model.name.starts_with(name), distance(name, model.name), model.name))
        .filter(|(other_start, distance, _)| !other_start || *distance <= MAX_DISTANCE)
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(.., known)| known).take(MAX_NEAR).collect()
}

/// A model's name: safe in a file name and in a URL.
///
/// 1 to 64 ASCII letters, digits, `.`, `-` and `_`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName(String);

/// The text cannot be a model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a model's name has at most {MAX_NAME} letters, digits, '.', '-' and '_', \
     and begins with a letter or a digit"
)]
pub struct ParseModelNameError;

impl ModelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the model's file: `ggml-NAME.bin`.
    pub fn file_name(&self) -> String {
        format!("ggml-{}.bin", self.0)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModelName {
    type Err = ParseModelNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && name.len() <= MAX_NAME && name.bytes().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(ParseModelNameError)
        }
    }
}

/// An entry of the catalogue; a checksum that is not one fails to compile.
const fn model(name: &'static str, bytes: u64, source: &'static str, sha256: &str) -> Model {
    match Checksum::from_hex(sha256) {
        Some(sha256) => Model { name, content: Content { bytes, sha256 }, source },
        None => panic!("not a SHA-256 checksum"),
    }
}

/// The Levenshtein distance: letters to insert, delete or replace.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_valid_and_nothing_is_listed_twice() {
        let names: HashSet<_> = CATALOGUE.iter().map(|model| model.name).collect();
        let sums: HashSet<_> = CATALOGUE.iter().map(|model| model.content.sha256).collect();
        assert_eq!((names.len(), sums.len()), (CATALOGUE.len(), CATALOGUE.len()));
        for model in &CATALOGUE {
            assert_eq!(
                model.name.parse::<ModelName>().as_ref().map(ModelName::as_str),
                Ok(model.name)
            );
        }
    }

    #[test]
    fn a_quantised_model_is_smaller_than_its_original() {
        for model in &CATALOGUE {
            if let Some((original, _)) = model.name.split_once("-q") {
                let original = find(original).expect("the original is published");
                assert!(model.content.bytes < original.content.bytes, "{}", model.name);
            }
        }
    }

    #[test]
    fn a_slip_is_answered_with_near_names() {
        assert_eq!(near("base-en").first(), Some(&"base.en"));
        assert_eq!(near("ggml-Small.en.bin").first(), Some(&"small.en"));
        assert_eq!(
            near("large"),
            ["large-v1", "large-v2", "large-v3", "large-v2-q5_0", "large-v2-q8_0"]
        );
        assert!(near("llama-3-70b").is_empty());
        assert!(near("").is_empty());
        assert!(near(&"base".repeat(1000)).is_empty());
    }

    #[test]
    fn a_name_never_leaves_its_folder() {
        for wrong in ["", ".", "..", "../base", "a/b", "a\\b", "-rf", "a b", "a%2fb", "bäse"] {
            assert_eq!(wrong.parse::<ModelName>(), Err(ParseModelNameError), "{wrong}");
        }
        assert!("a".repeat(64).parse::<ModelName>().is_ok());
        assert!("a".repeat(65).parse::<ModelName>().is_err());
    }
}
