//! MD5-crypt (`$1$SALT$HASH`, FreeBSD 2.0): how some phones are told a password that they do not take in clear. No protection
//! to rely on; it is the phones' form.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// How long such a text is at most: `$1$`, eight characters of salt, `$`, 22 of the hash.
pub(super) const CRYPTED_BYTES_MAX: usize = 34;
/// Rounds of the algorithm.
const ROUNDS: usize = 1_000;
/// Its digits, six bits each.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A password as such a phone reads it. The same password is always the same text, because files are byte-stable: the salt
/// comes from the password by the same work, so it tells nobody more than the hash does.
pub(super) fn md5_crypt(password: &str) -> String {
    let first = with_salt(password.as_bytes(), "offhook");
    let salt = first.get(first.len().saturating_sub(8)..).unwrap_or_default();
    with_salt(password.as_bytes(), salt)
}

fn with_salt(password: &[u8], salt: &str) -> String {
    let mut start = Md5::new();
    start.update(password);
    start.update(b"$1$");
    start.update(salt);
    let other: [u8; 16] =
        Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize().into();
    for part in password.chunks(other.len()) {
        start.update(other.get(..part.len()).unwrap_or_default());
    }
    let mut length = password.len();
    while length > 0 {
        // So it was written, and so it stays: a NUL for a bit that is set, else the first octet.
        let odd: &[u8] = &[0];
        start.update(if length % 2 == 1 { odd } else { password.get(..1).unwrap_or_default() });
        length /= 2;
    }
    let mut hash: Zeroizing<[u8; 16]> = Zeroizing::new(start.finalize().into());
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        next.update(if round % 2 == 1 { password } else { &hash[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round % 2 == 1 { &hash[..] } else { password });
        *hash = next.finalize().into();
    }
    format!("$1${salt}${}", digits(*hash))
}

/// The octets in the algorithm's own order.
fn digits(hash: [u8; 16]) -> String {
    let octet = |at: usize| u32::from(hash.get(at).copied().unwrap_or_default());
    let mut text = String::with_capacity(22);
    for (high, low) in [(0, 12), (1, 13), (2, 14), (3, 15), (4, 5)] {
        push(&mut text, octet(high) << 16 | octet(high + 6) << 8 | octet(low), 4);
    }
    push(&mut text, octet(11), 2);
    text
}

fn push(text: &mut String, mut bits: u32, count: usize) {
    for _ in 0..count {
        let digit = usize::try_from(bits % 64).ok().and_then(|at| DIGITS.get(at));
        text.extend(digit.map(|digit| char::from(*digit)));
        bits /= 64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_others_make_of_it() {
        // As a vendor's list of parameters shows its phones' first password; the others are openssl's, `passwd -1`.
        for (password, salt, expected) in [
            ("1234", "FZ6rOGS1", "$1$FZ6rOGS1$54ZXSmjh7nod.kXFRyLx70"),
            ("", "ab", "$1$ab$rn6aQS/o7141mj179E/zA."),
            ("a", "offhook", "$1$offhook$gUBRu0xZPK.XtbQriOSht0"),
            ("Grüße & 16 octets plus", "12345678", "$1$12345678$nWhau3nHmkfPGX0WZFEgH/"),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "./zZ", "$1$./zZ$gAK1.MKFYzdoeIjuhA7xi0"),
        ] {
            assert_eq!(with_salt(password.as_bytes(), salt), expected, "{password}");
        }
    }

    #[test]
    fn a_password_is_always_the_same_text_and_another_is_another() {
        let text = md5_crypt("web-secret");
        assert_eq!(text, md5_crypt("web-secret"));
        let fields: Vec<&str> = text.split('$').collect();
        assert_eq!(
            (fields[1], fields[2].len(), fields[3].len(), text.len()),
            ("1", 8, 22, CRYPTED_BYTES_MAX)
        );
        let other = md5_crypt("web-secres");
        assert!(!other.contains(fields[2]) && !other.contains(fields[3]));
    }
}
