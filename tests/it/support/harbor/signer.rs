//! A key that signs JSON Web Tokens, ES256, and the certificate by which registries know it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{Certificate, CertificateParams, DnType, KeyPair, SigningKey as _};
use serde_json::{Value, json};

/// Length of each of the two numbers that an ES256 signature is, in bytes. See RFC 7518 §3.4.
const NUMBER: usize = 32;

pub(super) struct Signer {
    key: KeyPair,
    certificate: Certificate,
}

impl Signer {
    pub(super) fn generate() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut certificate = CertificateParams::default();
        certificate.distinguished_name.push(DnType::CommonName, super::super::unique("signer"));
        let certificate = certificate.self_signed(&key).expect("the key signs itself");
        Self { key, certificate }
    }

    /// The certificate, as PEM.
    pub(super) fn certificate(&self) -> String {
        self.certificate.pem()
    }

    /// A token that says `claims`.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let certificate = STANDARD.encode(self.certificate.der());
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [certificate] });
        let [header, claims] =
            [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.key.sign(signed.as_bytes()).expect("the key signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(numbers(&signature)))
    }
}

/// The two numbers of an ECDSA signature one after the other, from the DER that certificates have.
fn numbers(der: &[u8]) -> Vec<u8> {
    // A sequence's tag and length, which is below 128 for these numbers.
    let mut rest = &der[2..];
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let (number, behind) = rest[2..].split_at(usize::from(rest[1]));
        // DER has a zero before a number that would look negative, and none before a short one.
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        numbers.resize(numbers.len() + NUMBER - number.len(), 0);
        numbers.extend_from_slice(number);
        rest = behind;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_signature_have_all_their_zeros() {
        let mut der = vec![0x30, 39, 2, 33, 0];
        der.extend([0xff; NUMBER]);
        der.extend([2, 2, 1, 2]);
        let numbers = numbers(&der);
        assert_eq!(numbers.len(), 2 * NUMBER);
        assert_eq!(numbers[..NUMBER], [0xff; NUMBER]);
        assert_eq!(numbers[NUMBER..][..30], [0; 30]);
        assert_eq!(numbers[NUMBER..][30..], [1, 2]);
    }
}
