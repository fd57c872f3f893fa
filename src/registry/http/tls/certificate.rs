//! What webpki does not tell of a certificate: whose key signed it, what it says of authorities, and
//! its key whatever its version. See RFC 5280 §4.1.

use rustls_pki_types::SignatureVerificationAlgorithm;

pub(super) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]` before the version, `[3]` before the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// `id-kp-serverAuth` and `anyExtendedKeyUsage`.
const SERVER_USAGES: [&[u8]; 2] = [&[0x2b, 6, 1, 5, 5, 7, 3, 1], &[0x55, 0x1d, 0x25, 0]];

/// Parts of a certificate, as they are encoded. Names and algorithms are without their outer tag, as
/// webpki has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificate<'a> {
    signed: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) validity: &'a [u8],
    pub(super) subject: &'a [u8],
    /// Its key with the tag, and without.
    pub(super) key_info: &'a [u8],
    key: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// `None` when it is no certificate.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).take(SEQUENCE)?);
        let (signed, mut inner) = outer.element(SEQUENCE)?;
        let signature_algorithm = outer.take(SEQUENCE)?;
        let signature = bits(outer.take(BIT_STRING)?)?;

        let _version = inner.optional(VERSION);
        inner.take(INTEGER)?;
        inner.take(SEQUENCE)?;
        let issuer = inner.take(SEQUENCE)?;
        let validity = inner.take(SEQUENCE)?;
        let subject = inner.take(SEQUENCE)?;
        let (key_info, key) = inner.element(SEQUENCE)?;
        while !inner.is_at(EXTENSIONS) && inner.any().is_some() {}
        let extensions = match inner.optional(EXTENSIONS) {
            Some(extensions) => Reader(extensions).take(SEQUENCE)?,
            None => &[],
        };
        let key = key.0;
        Some(Self {
            signed,
            signature_algorithm,
            signature,
            issuer,
            validity,
            subject,
            key_info,
            key,
            extensions,
        })
    }

    /// Its key, without the tag.
    pub(super) fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Whether `key`, an authority's, signed it.
    pub(super) fn is_signed_by(
        &self,
        key: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.signature_alg_id().as_ref() == self.signature_algorithm
        };
        let with = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            verifies(*algorithm, key, self.signed, self.signature)
        };
        algorithms.iter().filter(fits).any(with)
    }

    /// Whether it may stand for a server: it has no list of usages, or one with that.
    pub(super) fn is_for_servers(&self) -> bool {
        let Some(usages) = self.extension(EXTENDED_KEY_USAGE) else { return true };
        let Some(usages) = Reader(usages).take(SEQUENCE) else { return false };
        let mut usages = Reader(usages);
        std::iter::from_fn(|| usages.take(OBJECT_IDENTIFIER))
            .any(|usage| SERVER_USAGES.contains(&usage))
    }

    /// Whether an authority restricts the names that it signs for.
    pub(super) fn constrains_names(&self) -> bool {
        self.extension(NAME_CONSTRAINTS).is_some()
    }

    /// How many authorities may stand between an authority and the server.
    pub(super) fn path_length(&self) -> Option<usize> {
        let mut constraints = Reader(Reader(self.extension(BASIC_CONSTRAINTS)?).take(SEQUENCE)?);
        let _is_authority = constraints.optional(BOOLEAN);
        let length = constraints.optional(INTEGER)?;
        // What does not fit into a byte is no limit to a path of a handful.
        Some(match length {
            [length] => usize::from(*length),
            _ => usize::MAX,
        })
    }

    /// The list of names that it is for, beside its subject.
    pub(super) fn alternative_names(&self) -> Option<&'a [u8]> {
        Reader(self.extension(ALTERNATIVE_NAMES)?).take(SEQUENCE)
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut extensions = Reader(self.extensions);
        std::iter::from_fn(|| extensions.take(SEQUENCE)).find_map(|extension| {
            let mut extension = Reader(extension);
            let name = extension.take(OBJECT_IDENTIFIER)?;
            let _critical = extension.optional(BOOLEAN);
            extension.take(OCTET_STRING).filter(|_| name == wanted)
        })
    }
}

/// Whether `signature` of `message` is by `key` (a key's algorithm and bits, without the outer tag).
pub(super) fn verifies(
    algorithm: &dyn SignatureVerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let mut parts = Reader(key);
    let (Some(kind), Some(key)) = (parts.take(SEQUENCE), parts.take(BIT_STRING).and_then(bits))
    else {
        return false;
    };
    algorithm.public_key_alg_id().as_ref() == kind
        && algorithm.verify_signature(key, message, signature).is_ok()
}

/// The bytes of a bit string, which has no odd bits in certificates.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

/// DER, element by element. What is wrong ends the reading.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn is_at(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The next element: its tag, all of it, and its content.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let count = usize::from(*first & 0x7f);
            if !(1..=3).contains(&count) {
                return None;
            }
            let (length, rest) = rest.split_at_checked(count)?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some((*tag, whole, content))
    }

    /// The next element, which must be of this kind: all of it, and what is in it.
    fn element(&mut self, tag: u8) -> Option<(&'a [u8], Reader<'a>)> {
        if !self.is_at(tag) {
            return None;
        }
        self.any().map(|(_, whole, content)| (whole, Reader(content)))
    }

    /// The content of the next element, which must be of this kind.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|(_, content)| content.0)
    }

    /// The content of the next element, if it is of this kind.
    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.is_at(tag).then(|| self.take(tag))?
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn reads_what_a_certificate_says() {
        let plain = made(|_| {});
        let read = Certificate::read(&plain).unwrap();
        assert_eq!(read.issuer, read.subject);
        assert!(read.is_for_servers() && !read.constrains_names());
        assert_eq!(read.path_length(), None);
        let algorithms = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = algorithms.signature_verification_algorithms.all;
        assert!(read.is_signed_by(read.key(), algorithms));
        let other = made(|_| {});
        assert!(!read.is_signed_by(Certificate::read(&other).unwrap().key(), algorithms));

        let authority = made(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let read = Certificate::read(&authority).unwrap();
        assert_eq!(read.path_length(), Some(3));
        assert!(!read.is_for_servers());
    }

    #[test]
    fn what_is_cut_anywhere_is_no_certificate() {
        let whole = made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        for end in 0..whole.len() {
            assert!(Certificate::read(&whole[..end]).is_none(), "{end}");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0xff;
            // Whatever it says then, reading it ends.
            if let Some(read) = Certificate::read(&altered) {
                let _ = (read.path_length(), read.is_for_servers(), read.constrains_names());
            }
        }
    }
}
