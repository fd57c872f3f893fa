//! Which signatures are believed: those of rustls, and RSA keys of 1,024 bits in certificates, which
//! Go's clients take and old authorities have.

use std::sync::OnceLock;

use ::aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaParameters, UnparsedPublicKey,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

/// What all of TLS is done with.
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The algorithms by which certificates are signed.
pub(super) fn for_certificates() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    static ALL: OnceLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = OnceLock::new();
    ALL.get_or_init(|| {
        let known = provider().signature_verification_algorithms.all;
        let short: [&'static dyn SignatureVerificationAlgorithm; 2] =
            [&SHORT_RSA_SHA256, &SHORT_RSA_SHA512];
        // In front: webpki tries the first that fits by name, and these take long keys as well.
        short.into_iter().chain(known.iter().copied()).collect()
    })
}

static SHORT_RSA_SHA256: ShortRsa = ShortRsa {
    signature: alg_id::RSA_PKCS1_SHA256,
    parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
};

static SHORT_RSA_SHA512: ShortRsa = ShortRsa {
    signature: alg_id::RSA_PKCS1_SHA512,
    parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
};

/// PKCS #1 signatures by RSA keys of 1,024 bits and more.
#[derive(Debug)]
struct ShortRsa {
    signature: AlgorithmIdentifier,
    parameters: &'static RsaParameters,
}

impl SignatureVerificationAlgorithm for ShortRsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.parameters, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::super::certificate::Certificate;
    use super::*;

    /// Made by `openssl req -x509 -newkey rsa:1024 -sha256`; nothing here looks at its time.
    const SHORT: &str = include_str!("short-rsa.pem");

    #[test]
    fn the_first_algorithm_that_fits_takes_a_short_rsa_key() {
        let der = CertificateDer::from_pem_slice(SHORT.as_bytes()).unwrap();
        let certificate = Certificate::read(&der).unwrap();
        let own = certificate.key();
        let all = for_certificates();
        let is_rsa = |algorithm: &&&'static dyn SignatureVerificationAlgorithm| {
            algorithm.signature_alg_id() == alg_id::RSA_PKCS1_SHA256
        };
        let first = *all.iter().find(is_rsa).unwrap();
        assert!(certificate.is_signed_by(own, &[first]));
        let rustls_own = provider().signature_verification_algorithms.all;
        assert!(!certificate.is_signed_by(own, rustls_own), "otherwise these are not needed");
    }
}
