//! Decides what an ERROR packet says. A stranger, a foreign file and an attempt to climb out of the root cannot be told
//! apart; who is met with silence gets none.

use super::decide::Outcome;
use super::message::ErrorCode;
use crate::provision::Answer;

/// A code and the text beside it.
pub type Refusal = (ErrorCode, &'static str);

/// There is no such file, or none for this client.
pub const NOT_FOUND: Refusal = (ErrorCode::NotFound, "File not found");
const FORBIDDEN: Refusal = (ErrorCode::AccessViolation, "Access violation");
/// Something is amiss with us, not with the client.
pub const LATER: Refusal = (ErrorCode::NotDefined, "Not available now, ask again later");
/// The remedy is a setting of the client.
pub const NEEDS_OPTIONS: Refusal =
    (ErrorCode::NotDefined, "This file needs a request with options: blksize or tsize");

/// What is said instead of beginning a transfer; `None` for nothing at all.
pub fn refusal(answer: &Answer) -> Option<Refusal> {
    match answer {
        Answer::File(_) | Answer::Unavailable => Some(LATER),
        Answer::Known(_) | Answer::Head(_) | Answer::NotFound => Some(NOT_FOUND),
        Answer::Forbidden => Some(FORBIDDEN),
        Answer::NeedsOptions => Some(NEEDS_OPTIONS),
        Answer::Silence => None,
    }
}

/// What is said instead of what was promised: the client was on its way, so that there is no such file is not the
/// answer to its question any more.
pub fn withheld(answer: &Answer) -> Option<Refusal> {
    refusal(answer).map(|refusal| if refusal == FORBIDDEN { FORBIDDEN } else { LATER })
}

/// What the end of a transfer says to the client; `withheld` is why it did not get what it was promised.
pub fn farewell(outcome: Outcome, withheld: Option<Refusal>) -> Option<Refusal> {
    match outcome {
        Outcome::Delivered | Outcome::Aborted | Outcome::Silent => None,
        Outcome::Withheld => withheld,
        Outcome::Locked => Some(FORBIDDEN),
        Outcome::Overdue => Some((ErrorCode::NotDefined, "This took too long, ask again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &Answer, first: Option<ErrorCode>, promised: Option<ErrorCode>) {
        let code = |refusal: Option<Refusal>| refusal.map(|(code, _)| code);
        assert_eq!((code(refusal(answer)), code(withheld(answer))), (first, promised), "{answer:?}");
    }

    #[test]
    fn case_54_who_asks_for_too_many_phones_gets_no_packet() {
        check(&Answer::Silence, None, None);
    }

    #[test]
    fn a_verdict_that_has_changed_is_error_0_or_2() {
        use ErrorCode::{AccessViolation, NotDefined, NotFound};
        check(&Answer::NotFound, Some(NotFound), Some(NotDefined));
        check(&Answer::Forbidden, Some(AccessViolation), Some(AccessViolation));
        check(&Answer::Unavailable, Some(NotDefined), Some(NotDefined));
        check(&Answer::NeedsOptions, Some(NotDefined), Some(NotDefined));
    }

    #[test]
    fn a_client_is_told_why_its_transfer_was_ended_and_never_that_it_ended_it_itself() {
        let code = |outcome| farewell(outcome, Some(LATER)).map(|(code, _)| code);
        assert_eq!(code(Outcome::Locked), Some(ErrorCode::AccessViolation));
        assert_eq!(code(Outcome::Withheld), Some(ErrorCode::NotDefined));
        assert_eq!(code(Outcome::Overdue), Some(ErrorCode::NotDefined));
        for outcome in [Outcome::Delivered, Outcome::Aborted, Outcome::Silent] {
            assert_eq!(code(outcome), None);
        }
    }
}
