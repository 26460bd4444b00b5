//! A private key at rest: PKCS#8 encrypted under a passphrase (PBES2, RFC 8018), as `openssl pkcs8` writes and reads it too.
//! Values only; where the passphrase comes from is the caller's business.

use crate::keys::{self, KeyError, TlsKey};
use pkcs8::{
    EncryptedPrivateKeyInfoOwned, EncryptedPrivateKeyInfoRef, LineEnding, SecretDocument,
    der::{asn1::OctetString, pem::PemLabel as _},
    pkcs5::{pbes2, scrypt},
};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

const PLAIN_LABEL: &str = "PRIVATE KEY";
const SEALED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
/// scrypt with N = 2^14, r = 8, p = 5: OWASP's parameters for 16 MiB, which is half of what OpenSSL reads without being asked
/// for more (`openssl-pkcs8(1)`).
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
/// Shortest passphrase under which a key is encrypted, in characters: it stands against who has all the time in the world.
const SHORTEST_PASSPHRASE: usize = 12;
/// Longest passphrase taken, in bytes.
const LONGEST_PASSPHRASE: usize = 1024;

/// Why a key was not encrypted or decrypted. Never quotes key or passphrase.
#[derive(Debug, Error)]
pub enum SealError {
    /// What should be encrypted is no key of ours.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The text is no encrypted key.
    #[error("the key is not PEM with one encrypted private key (PKCS#8, PBES2)")]
    Parse,
    /// The passphrase is another one, or the text is damaged: which of both cannot be told.
    #[error("the passphrase is not the one the key was encrypted under, or the key's file is damaged")]
    Passphrase,
    /// Nobody shall rely on it.
    #[error("the passphrase has {0} characters: write at least {SHORTEST_PASSPHRASE}")]
    Short(usize),
    /// Not one line of text.
    #[error("the passphrase is not one line of 1 to {LONGEST_PASSPHRASE} bytes without control characters")]
    Line,
    /// The library made nothing of good values.
    #[error("encrypt the private key")]
    Seal,
}

/// Whether the text is of an encrypted key.
pub fn is_sealed(pem: &SecretString) -> bool {
    pem.expose_secret().lines().any(|line| line.trim_end() == SEALED_BEGIN)
}

/// The passphrase in what a file or a program gave: one line, whose end is no part of it.
///
/// # Errors
/// [`SealError::Line`] for anything else.
pub fn passphrase(text: &str) -> Result<SecretString, SealError> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.len() > LONGEST_PASSPHRASE || line.chars().any(char::is_control) {
        return Err(SealError::Line);
    }
    Ok(line.into())
}

/// The key, encrypted under the passphrase with a salt of its own.
///
/// # Errors
/// [`SealError`] where `key_pem` is no plain key of ours, or the passphrase is short.
pub fn seal(key_pem: &SecretString, passphrase: &SecretString) -> Result<SecretString, SealError> {
    let characters = passphrase.expose_secret().chars().count();
    if characters < SHORTEST_PASSPHRASE {
        return Err(SealError::Short(characters));
    }
    TlsKey::from_pem(key_pem)?;
    let (_, plain) = SecretDocument::from_pem(key_pem.expose_secret()).map_err(|_| KeyError::Parse)?;
    let (log_n, r, p) = SCRYPT;
    let cost = scrypt::Params::new(log_n, r, p).map_err(|_| SealError::Seal)?;
    let (salt, iv) = (keys::random::<16>()?, keys::random::<16>()?);
    let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|_| SealError::Seal)?;
    let encrypted = scheme.encrypt(passphrase.expose_secret(), plain.as_bytes()).map_err(|_| SealError::Seal)?;
    let encrypted_data = OctetString::new(encrypted).map_err(|_| SealError::Seal)?;
    let sealed = EncryptedPrivateKeyInfoOwned { encryption_algorithm: scheme.into(), encrypted_data };
    let document = SecretDocument::try_from(&sealed).map_err(|_| SealError::Seal)?;
    let pem = document.to_pem(EncryptedPrivateKeyInfoOwned::PEM_LABEL, LineEnding::LF).map_err(|_| SealError::Seal)?;
    Ok(pem.as_str().into())
}

/// The plain key in the encrypted one.
///
/// # Errors
/// [`SealError::Passphrase`] where this is not its passphrase, [`SealError::Parse`] where the text is no encrypted key.
pub fn unseal(sealed_pem: &SecretString, passphrase: &SecretString) -> Result<SecretString, SealError> {
    let (label, document) = SecretDocument::from_pem(sealed_pem.expose_secret()).map_err(|_| SealError::Parse)?;
    if label != EncryptedPrivateKeyInfoOwned::PEM_LABEL {
        return Err(SealError::Parse);
    }
    let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| SealError::Parse)?;
    let plain = sealed.decrypt(passphrase.expose_secret()).map_err(|_| SealError::Passphrase)?;
    let pem = plain.to_pem(PLAIN_LABEL, LineEnding::LF).map_err(|_| SealError::Passphrase)?;
    let pem = SecretString::from(pem.as_str());
    // Padding fits by chance once in a few hundred wrong passphrases; what comes out then is no key.
    TlsKey::from_pem(&pem).map_err(|_| SealError::Passphrase)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    const PASSPHRASE: &str = "correct horse battery staple";

    fn key() -> (SecretString, String) {
        let key = TlsKey::generate().unwrap();
        (key.key_pem(), key.public_key_sha256())
    }

    fn public(pem: &SecretString) -> String {
        TlsKey::from_pem(pem).unwrap().public_key_sha256()
    }

    #[test]
    fn what_is_sealed_comes_back_under_its_passphrase_alone() {
        let (plain, public_key) = key();
        let sealed = seal(&plain, &PASSPHRASE.into()).unwrap();
        assert!(is_sealed(&sealed) && !is_sealed(&plain));
        assert_eq!(public(&unseal(&sealed, &PASSPHRASE.into()).unwrap()), public_key);
        for wrong in ["correct horse battery stable", "", "correct horse battery staple "] {
            assert!(matches!(unseal(&sealed, &wrong.into()), Err(SealError::Passphrase)), "{wrong:?}");
        }
        let again = seal(&plain, &PASSPHRASE.into()).unwrap();
        assert_ne!(again.expose_secret(), sealed.expose_secret(), "each has a salt of its own");
    }

    #[test]
    fn nothing_else_is_taken_for_an_encrypted_key_or_a_plain_one() {
        let (plain, _) = key();
        let sealed = seal(&plain, &PASSPHRASE.into()).unwrap();
        for text in ["", "nonsense", plain.expose_secret(), &sealed.expose_secret().replace("ENCRYPTED ", "")] {
            assert!(matches!(unseal(&text.into(), &PASSPHRASE.into()), Err(SealError::Parse)), "{text:.30}");
        }
        assert!(matches!(seal(&sealed, &PASSPHRASE.into()), Err(SealError::Key(KeyError::Parse))));
        let (first, rest) = sealed.expose_secret().split_at(120);
        let damaged = format!("{first}{}{}", if rest.starts_with('A') { 'B' } else { 'A' }, &rest[1..]);
        assert!(unseal(&damaged.into(), &PASSPHRASE.into()).is_err());
    }

    #[test]
    fn a_passphrase_is_one_line_and_not_a_short_one() {
        let check = |text: &str, expect: Option<&str>| {
            let read = passphrase(text).ok();
            assert_eq!(read.as_ref().map(ExposeSecret::expose_secret), expect, "{text:?}");
        };
        check("one line of it\n", Some("one line of it"));
        check("windows as well\r\n", Some("windows as well"));
        check(" blanks count ", Some(" blanks count "));
        check("", None);
        check("\n", None);
        check("two\nlines", None);
        check("a\0b", None);
        check(&"x".repeat(LONGEST_PASSPHRASE + 1), None);
        assert!(matches!(seal(&key().0, &"elevenchars".into()), Err(SealError::Short(11))));
    }

    #[test]
    fn secrets_are_not_in_errors() {
        let (plain, _) = key();
        let sealed = seal(&plain, &PASSPHRASE.into()).unwrap();
        let shown = format!("{:?} {:?}", unseal(&sealed, &"hunter2hunter2".into()), passphrase("hunter2\nhunter2"));
        assert!(!shown.contains("hunter2") && !shown.contains("BEGIN"), "{shown}");
    }

    /// What the `openssl` of this machine makes of a text; `None` where there is none.
    fn openssl(arguments: &[&str], input: &str) -> Option<String> {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            child => child.unwrap(),
        };
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn openssl_reads_what_we_write_and_we_read_what_openssl_writes() {
        let (plain, public_key) = key();
        let sealed = seal(&plain, &PASSPHRASE.into()).unwrap();
        let pass = format!("pass:{PASSPHRASE}");
        let Some(read) = openssl(&["pkcs8", "-passin", &pass], sealed.expose_secret()) else {
            return eprintln!("no openssl on this machine: not compared");
        };
        assert_eq!(public(&read.into()), public_key);
        for cipher in [&["-scrypt"][..], &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"]] {
            let arguments = [&["pkcs8", "-topk8", "-passout", &pass][..], cipher].concat();
            let theirs = openssl(&arguments, plain.expose_secret()).unwrap();
            assert_eq!(public(&unseal(&theirs.into(), &PASSPHRASE.into()).unwrap()), public_key, "{cipher:?}");
        }
    }
}
