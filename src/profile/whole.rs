//! When an answer by HTTP has come as far as it says that it goes. Never waits.

use super::web::{ANSWER_BYTES_MAX, WebAnswer};

/// Tells when an answer has come as far as it says that it goes; without a length, only its end says so. However little
/// comes at a time, each octet is looked at once for the end of the head, and the head is read once.
#[derive(Debug, Default)]
pub struct Whole {
    looked_at: usize,
    line_is_empty: bool,
    needed: Option<usize>,
    head_has_come: bool,
}

impl Whole {
    /// Whether that is all. `answer` has what came before, and more.
    pub fn is_here(&mut self, answer: &[u8]) -> bool {
        if !self.head_has_come {
            self.look(answer);
        }
        self.needed.is_some_and(|needed| answer.len() >= needed)
    }

    fn look(&mut self, answer: &[u8]) {
        for (at, octet) in answer.iter().enumerate().skip(self.looked_at) {
            match octet {
                b'\n' if self.line_is_empty => {
                    self.head_has_come = true;
                    self.needed = answer
                        .get(..=at)
                        .and_then(WebAnswer::read)
                        .and_then(|head| body(&head))
                        .map(|body| at + 1 + body);
                    return;
                }
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => self.line_is_empty = false,
            }
        }
        self.looked_at = answer.len();
    }
}

/// How many octets follow a head, if it says so.
fn body(head: &WebAnswer<'_>) -> Option<usize> {
    if matches!(head.status(), 204 | 304) {
        return Some(0);
    }
    head.header("content-length")
        .next()?
        .trim()
        .parse()
        .ok()
        .map(|length: usize| length.min(ANSWER_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_has_come() {
        let check = |text: &str, whole: bool| {
            assert_eq!(Whole::default().is_here(text.as_bytes()), whole, "{text}");
            let mut dribbled = Whole::default();
            let first = (1..=text.len()).find(|end| dribbled.is_here(&text.as_bytes()[..*end]));
            assert_eq!(first, whole.then_some(text.len()), "{text}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true);
        check("HTTP/1.0 200 OK\r\n\r\nabc", false);
        check("HTTP/1.1 204 No Content\r\n\r\n", true);
        check("HTTP/1.0 200 OK\nContent-Length: 2\n\nab", true);
        check("HTTP/1.1 200 OK\r\nContent-Length: no\r\n\r\n", false);
        check("nothing\r\n\r\n", false);
    }
}
