//! Octets in hexadecimal digits, and back.

/// Octets in lower-case hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        text.extend(
            [octet >> 4, octet & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)),
        );
        text
    })
}

/// The octets of hexadecimal digits, in either case; `None` for anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(hex(&[0, 1, 0xfe]), "0001fe");
        assert_eq!(unhex("0001FE"), Some(vec![0, 1, 0xfe]));
        assert_eq!(unhex(""), Some(Vec::new()));
        for bad in ["0", "zz", "äa", "0 1 ", "+1"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
