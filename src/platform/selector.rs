//! containerd's grammar of platforms, as it is typed and shown.
//!
//! | written | means |
//! |---|---|
//! | `linux/arm64`, `linux/arm/v7` | system, processor and its variant |
//! | `arm64`, `x86_64`, `armhf` | that processor with this machine's system |
//! | `linux` | that system with this machine's processor |
//! | `windows(10.0.17763)/amd64` | a version of the system |
//! | `linux(+erofs)/amd64`, `linux(6.1+a+b)/amd64` | features of the system |
//!
//! In version and features, `%2B` is a `+` and so on.

use std::fmt;
use std::str::FromStr;

use super::Platform;
use crate::failure::{Diagnose, Failure};

/// Systems by their names in Go, which is how containerd tells them from processors.
const SYSTEMS: [&str; 18] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

/// Processors by their names in Go.
const PROCESSORS: [&str; 25] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "wasm32",
];

/// Why a text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// More than three parts, or none.
    #[error("platform {0:?} is not of the form os/architecture[/variant]")]
    Form(String),
    /// One word that is neither.
    #[error("platform {0:?} is neither an operating system nor an architecture")]
    Word(String),
    /// Nothing between, before or after the slashes.
    #[error("platform {0:?} has an empty part")]
    EmptyPart(String),
    /// A character that no part may have.
    #[error("platform {text:?} must not contain {character:?}")]
    Character {
        /// The platform as written.
        text: String,
        /// Its first offending character.
        character: char,
    },
    /// Parentheses that hold no version and features.
    #[error("platform {0:?} has parentheses that are not of the form (version+feature)")]
    Options(String),
    /// The placeholder by which build tools mark attestations.
    #[error("platform {0:?} marks entries that are no image")]
    Unknown(String),
}

impl Diagnose for PlatformError {
    fn failure(&self) -> Failure {
        Failure::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Options(_) => {
                "write for example windows(10.0.17763)/amd64 or linux(+erofs)/amd64".to_owned()
            }
            _ => "write for example linux/amd64, linux/arm64 or linux/arm/v7".to_owned(),
        })
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (system, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
        let (os, options) = system.split_at(system.find('(').unwrap_or(system.len()));
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "_.-/".contains(*c);
        if let Some(character) = os.chars().chain(rest.chars()).find(|c| !allowed(c)) {
            return Err(PlatformError::Character { text: text.to_owned(), character });
        }
        let (version, features) = Options::read(options)
            .map(|options| (options.version, options.features))
            .ok_or_else(|| PlatformError::Options(text.to_owned()))?;
        let parts: Vec<&str> = rest.split('/').skip(1).collect();
        let is_empty = text.is_empty();
        if !is_empty && (os.is_empty() || parts.contains(&"")) {
            return Err(PlatformError::EmptyPart(text.to_owned()));
        }
        let platform = match parts.as_slice() {
            [] if is_empty => return Err(PlatformError::Form(text.to_owned())),
            [] => one_word(os, !options.is_empty(), &version)
                .ok_or_else(|| PlatformError::Word(text.to_owned()))?,
            [architecture] => Self::from_parts(os, architecture, "", &version),
            [architecture, variant] => Self::from_parts(os, architecture, variant, &version),
            _ => return Err(PlatformError::Form(text.to_owned())),
        };
        if platform.is_unknown() {
            return Err(PlatformError::Unknown(text.to_owned()));
        }
        Ok(platform.with_features(features))
    }
}

/// A system with this machine's processor, or a processor with this machine's system.
fn one_word(word: &str, has_options: bool, version: &str) -> Option<Platform> {
    let host = Platform::host();
    let as_system = Platform::from_parts(word, &host.architecture, &host.variant, version);
    if SYSTEMS.contains(&as_system.os.as_str()) {
        return Some(as_system);
    }
    let as_processor = Platform::from_parts(&host.os, word, "", "");
    let known = PROCESSORS.contains(&as_processor.architecture.as_str());
    (known && !has_options).then_some(as_processor)
}

/// What stands in the parentheses behind the system.
#[derive(Default)]
struct Options {
    version: String,
    features: Vec<String>,
}

impl Options {
    /// Reads `(version+feature+feature)`, each of which may be missing; nothing at all is none.
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let mut parts = text.strip_prefix('(')?.strip_suffix(')')?.split('+');
        let version = decoded(parts.next()?)?;
        let features: Vec<String> = parts.map(decoded).collect::<Option<_>>()?;
        let empty = features.iter().any(String::is_empty);
        (!empty).then_some(Self { version, features })
    }
}

/// `text` without its percent signs; `None` where it has what must be written with them.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                bytes.extend(hex::decode(digits).ok()?);
            }
            plain if is_plain(plain) => bytes.push(plain),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)
}

impl fmt::Display for Platform {
    /// As it can be typed. Of versions, only those of Windows say what runs where.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.os == "windows" { encoded(&self.os_version) } else { String::new() };
        f.write_str(&self.os)?;
        if !version.is_empty() || !self.os_features.is_empty() {
            write!(f, "({version}")?;
            for feature in &self.os_features {
                write!(f, "+{}", encoded(feature))?;
            }
            f.write_str(")")?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}
