//! Ed25519 (RFC 8032) over the trail's last hash. Keys as OpenSSL makes them:
//! `openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out public.pem`.

use std::path::Path;

use anyhow::Result;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde_json::{Value, json};

use crate::exit::refuse;
use crate::hash::hex;

/// What is signed begins with this, so that the key's signatures of other things cannot be passed off.
const PURPOSE: &str = "nullface-audit/2\n";
/// Longest key file, bytes.
const MAX_KEY_BYTES: u64 = 16 * 1024;

/// A key that signs.
pub(crate) struct Signer(SigningKey);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads a private key.
    ///
    /// # Errors
    /// No file, or none that holds such a key. The key itself is in no message.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let pem = key_file(path)?;
        SigningKey::from_pkcs8_pem(&pem).map(Self).map_err(|_| {
            refuse(
                path,
                "it holds no Ed25519 private key in PKCS#8 PEM",
                "make one with `openssl genpkey -algorithm ed25519 -out key.pem`",
            )
        })
    }

    /// The signature's line.
    pub(crate) fn record(&self, last: &str) -> String {
        let signature = self.0.sign(message(last).as_bytes());
        let record = json!({
            "record": "signature",
            "algorithm": "Ed25519",
            "public_key": hex(self.0.verifying_key().as_bytes()),
            "signature": hex(&signature.to_bytes()),
        });
        format!("{record}\n")
    }
}

fn message(last: &str) -> String {
    format!("{PURPOSE}{last}")
}

fn key_file(path: &Path) -> Result<String> {
    let unreadable = |e: std::io::Error| refuse(path, format!("the key cannot be read: {e}"), "give the name of a key file");
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_KEY_BYTES {
        return Err(refuse(path, "it is too large to be a key", "give the name of a key file"));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// A public key from hexadecimal digits or a PEM file.
///
/// # Errors
/// Neither.
pub(super) fn public_key(text: &str) -> Result<VerifyingKey> {
    if let Some(key) = bytes::<32>(text).and_then(|b| VerifyingKey::from_bytes(&b).ok()) {
        return Ok(key);
    }
    let path = Path::new(text);
    VerifyingKey::from_public_key_pem(&key_file(path)?).map_err(|_| {
        refuse(
            path,
            "it holds no Ed25519 public key in PEM",
            "make it with `openssl pkey -in key.pem -pubout`",
        )
    })
}

/// Checks a signature's record; gives the key's digits.
///
/// # Errors
/// In words, what does not fit.
pub(super) fn verify(record: &Value, last: &str, wanted: Option<&VerifyingKey>) -> std::result::Result<String, String> {
    if record["algorithm"] != "Ed25519" {
        return Err(format!("its signature is of a kind that is not known: {}", record["algorithm"]));
    }
    let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
    let key = bytes::<32>(&text("public_key")).and_then(|b| VerifyingKey::from_bytes(&b).ok());
    let key = key.ok_or("its signature names no public key")?;
    if wanted.is_some_and(|w| *w != key) {
        return Err(format!("it is signed by another key: {}", text("public_key")));
    }
    let signature = bytes::<64>(&text("signature")).ok_or("its signature is not 128 hexadecimal digits")?;
    key.verify_strict(message(last).as_bytes(), &Signature::from_bytes(&signature))
        .map_err(|_| {
            "its signature does not fit: the trail was changed and chained anew, or the signature belongs to another".to_owned()
        })?;
    Ok(text("public_key"))
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N || !digits.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (to, at) in out.iter_mut().zip((0..).step_by(2)) {
        *to = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl genpkey -algorithm ed25519` writes it: the key of RFC 8032's first test vector.
    const PEM: &str =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn signer() -> Signer {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), PEM).expect("written");
        Signer::read(file.path()).expect("a key")
    }

    #[test]
    fn a_signature_fits_its_chain_and_its_key_and_nothing_else() {
        let record: Value = serde_json::from_str(&signer().record("abc")).expect("JSON");
        assert_eq!(record["public_key"], PUBLIC);
        let key = public_key(PUBLIC).expect("digits");
        assert_eq!(verify(&record, "abc", Some(&key)).expect("fits"), PUBLIC);
        assert!(verify(&record, "abd", None).expect_err("another chain").contains("does not fit"));
        let other = SigningKey::from_bytes(&[7; 32]).verifying_key();
        assert!(
            verify(&record, "abc", Some(&other))
                .expect_err("another key")
                .contains("another key")
        );
        let mut changed = record.clone();
        changed["signature"] = record["signature"].as_str().expect("digits").replacen(['0', '1'], "2", 1).into();
        assert!(verify(&changed, "abc", None).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "secret words").expect("written");
        let error = Signer::read(file.path()).expect_err("no key").to_string();
        assert!(error.contains("openssl genpkey") && !error.contains("secret"), "{error}");
        assert!(public_key(PUBLIC.get(2..).expect("shorter")).is_err());
    }
}
