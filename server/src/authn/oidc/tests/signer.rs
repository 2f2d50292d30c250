//! Keys that sign for tests.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key with a name.
pub(in crate::authn::oidc) struct Signer {
    kid: String,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa { pair: RsaKeyPair, pss: bool },
}

impl Signer {
    pub(in crate::authn::oidc) fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self::new(kid, Pair::Rsa { pair, pss: false })
    }

    pub(super) fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::new(kid, Pair::Ec(pair))
    }

    pub(super) fn ed(kid: &str) -> Self {
        Self::new(kid, Pair::Ed(Ed25519KeyPair::generate().unwrap()))
    }

    fn new(kid: &str, pair: Pair) -> Self {
        let kid = kid.to_owned();
        Self { kid, pair }
    }

    /// The same RSA key for PS256.
    pub(super) fn pss(&self) -> Self {
        let Pair::Rsa { pair, .. } = &self.pair else {
            panic!("not an RSA key");
        };
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(pair).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.as_ref()).unwrap();
        Self::new(&self.kid, Pair::Rsa { pair, pss: true })
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
            Pair::Rsa { pss: false, .. } => "RS256",
            Pair::Rsa { pss: true, .. } => "PS256",
        }
    }

    pub(in crate::authn::oidc) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Pair::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
            Pair::Rsa { pair, .. } => {
                let (n, e) = (self.modulus(), pair.public_key().exponent());
                let e = e.big_endian_without_leading_zero();
                json!({"kty": "RSA", "n": encode(&n), "e": encode(e)})
            }
        };
        jwk["kid"] = self.kid.as_str().into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm().into();
        jwk
    }

    pub(super) fn modulus(&self) -> Vec<u8> {
        let Pair::Rsa { pair, .. } = &self.pair else {
            panic!("not an RSA key");
        };
        let modulus = pair.public_key().modulus();
        modulus.big_endian_without_leading_zero().to_vec()
    }

    pub(super) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": self.algorithm(), "kid": self.kid})
    }

    pub(in crate::authn::oidc) fn sign(&self, claims: &Value) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    pub(super) fn sign_under(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Of exactly these texts.
    pub(super) fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = encode(&self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(super) fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa { pair, pss } => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = if *pss {
                    pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                };
                signed.unwrap();
                signature
            }
        }
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
