//! Content digests: parsing, printing and computing.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes read at a time of what is hashed from a source (64 KiB).
const READ_BYTES: usize = 64 * 1024;

/// A SHA-256 digest, written `sha256:<64 lower-case hex digits>`.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests>. Other
/// registered algorithms are refused: containerd's content store names blobs by SHA-256 only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Why a string is no usable digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The `algorithm:encoded` form is not met.
    #[error("digest {0:?} is not of the form sha256:<64 hex digits>")]
    Malformed(String),
    /// An algorithm other than SHA-256.
    #[error("digest algorithm {0:?} is not supported: containerd stores sha256 only")]
    UnsupportedAlgorithm(String),
    /// Wrong length or a character that is no lower-case hex digit.
    #[error("digest {0:?} must have 64 lower-case hex digits after sha256:")]
    BadHex(String),
}

impl Digest {
    /// The digest of `bytes`, hashed in one go.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sum(&digest(&SHA256, bytes))
    }

    /// That of SHA-256 by the library.
    fn from_sum(sum: &aws_lc_rs::digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(sum.as_ref());
        Self(bytes)
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, encoded) = text
            .split_once(':')
            .filter(|(algorithm, encoded)| !algorithm.is_empty() && !encoded.is_empty())
            .ok_or_else(|| DigestError::Malformed(excerpt(text)))?;
        if algorithm != "sha256" {
            return Err(DigestError::UnsupportedAlgorithm(excerpt(algorithm)));
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if encoded.len() != 64 || !encoded.bytes().all(lower_hex) {
            return Err(DigestError::BadHex(excerpt(text)));
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(encoded, &mut bytes)
            .map_err(|_| DigestError::BadHex(excerpt(text)))?;
        Ok(Self(bytes))
    }
}

/// A hostile digest may be megabytes long; an error message shows its beginning.
fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An incremental SHA-256: that of TLS, which where processors have no instructions for it, as those of
/// many nodes, is a third faster than the crate sha2.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// A hasher that has seen no byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes in all that `source` yields, and returns how many bytes that were.
    ///
    /// # Errors
    /// What the source fails with.
    pub fn update_from(&mut self, mut source: impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; READ_BYTES];
        let mut length = 0;
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(length),
                Ok(count) => {
                    self.update(buffer.get(..count).unwrap_or_default());
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        Digest::from_sum(&self.0.finish())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn prints_what_it_parsed() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
    }

    #[test]
    fn hashes_pieces_as_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"pul");
        hasher.update(b"lctl");
        assert_eq!(hasher.finish(), Digest::of(b"pullctl"));
        let mut hasher = Hasher::new();
        let long = vec![7; 3 * READ_BYTES / 2];
        assert_eq!(hasher.update_from(&long[..]).unwrap(), long.len() as u64);
        assert_eq!(hasher.finish(), Digest::of(&long));
    }

    #[test]
    fn refuses_what_is_no_sha256() {
        for text in ["", "sha256", "sha256:", ":abc"] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Malformed(_))), "{text}");
        }
        assert!(matches!("sha512:00".parse::<Digest>(), Err(DigestError::UnsupportedAlgorithm(_))));
        for text in [
            EMPTY.to_uppercase().replace("SHA256", "sha256"),
            EMPTY[..70].to_owned(),
            format!("{EMPTY}0"),
            EMPTY.replace('e', "g"),
        ] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::BadHex(_))), "{text}");
        }
    }
}
