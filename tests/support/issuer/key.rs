//! Keys that sign, as JSON Web Keys and as signatures.

use anyhow::{Result, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key of an issuer, of RS256 or ES256.
pub struct Key {
    kid: String,
    jwk: Value,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// A new one for RS256.
    pub fn rsa() -> Result<Self> {
        let Ok(pair) = RsaKeyPair::generate(KeySize::Rsa2048) else {
            bail!("no RSA key could be made");
        };
        let kid = random_name()?;
        let public = pair.public_key();
        let jwk = json!({
            "kty": "RSA",
            "kid": kid,
            "use": "sig",
            "alg": "RS256",
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
        });
        let pair = Pair::Rsa(pair);
        Ok(Self { kid, jwk, pair })
    }

    /// A new one for ES256.
    pub fn ec() -> Result<Self> {
        let Ok(pair) = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING) else {
            bail!("no EC key could be made");
        };
        let kid = random_name()?;
        let point = pair.public_key().as_ref();
        let jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "kid": kid,
            "use": "sig",
            "alg": "ES256",
            "x": encode(&point[1..33]),
            "y": encode(&point[33..]),
        });
        let pair = Pair::Ec(pair);
        Ok(Self { kid, jwk, pair })
    }

    /// Under another name.
    #[must_use]
    pub fn named(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.kid);
        self.jwk["kid"] = kid.into();
        self
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// `RS256` or `ES256`.
    pub fn algorithm(&self) -> &str {
        self.jwk["alg"].as_str().unwrap()
    }

    /// As the issuer publishes it.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

fn random_name() -> Result<String> {
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bail!("no random bytes");
    }
    Ok(encode(&bytes))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
