//! A file that begins with octets which say nothing. A TFTP client that asks for no options shows by its first ACK that it
//! exists, and by then it has the first block: that block may hold neither a password nor anything else of the phone.

use super::rendered::{Piece, Rendered};
use super::schema::Format;

/// Octets of one comment line; some phones read short lines only.
const LINE_BYTES: usize = 64;
/// Whoever looks at such a file should know why.
const TEXT: &str = "The configuration begins below these lines.";

/// How a comment stands in a file: the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommentForm {
    pub(super) before: String,
    pub(super) after: String,
}

impl CommentForm {
    /// Reads a form such as `# {text}`; its line end may be left out.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (before, after) = text.split_once("{text}").ok_or("does not have {text} in it")?;
        let after = after.strip_suffix('\n').unwrap_or(after);
        let is_short = text.len() <= LINE_BYTES / 2;
        if after.contains("{text}")
            || before.is_empty()
            || !is_short
            || text.chars().any(|c| !is_printable(c))
        {
            return Err("is not a short comment with {text} in it once");
        }
        Ok(Self { before: before.to_owned(), after: format!("{after}\n") })
    }

    /// Comment lines of exactly this many octets; `None` when not even one fits.
    fn lines(&self, octets: usize) -> Option<String> {
        let around = self.before.len() + self.after.len();
        let mut lines = String::with_capacity(octets);
        while lines.len() < octets {
            let room = octets - lines.len();
            let line = if room < LINE_BYTES + around { room } else { LINE_BYTES };
            let width = line.checked_sub(around)?;
            lines.push_str(&self.before);
            lines.push_str(TEXT.get(..width).unwrap_or(TEXT));
            lines.extend(std::iter::repeat_n('.', width.saturating_sub(TEXT.len())));
            lines.push_str(&self.after);
        }
        Some(lines)
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\n')
}

impl Format {
    /// How a comment stands in the file when the profile does not say otherwise; `None`: there are no comments.
    pub(super) fn comment_form(self) -> Option<&'static str> {
        match self {
            Self::Line => Some("# {text}"),
            Self::Xml => Some("<!-- {text} -->"),
            Self::Json | Self::Plain => None,
        }
    }
}

impl Rendered {
    /// The same file with comment lines before everything that means something: its first `octets` octets are the same
    /// whatever leaves with it, and hold nothing of the phone. What must come first stays first: an XML declaration, a
    /// line that begins with `#!`. `None` for a file that cannot hold a comment.
    ///
    /// A file whose own beginning has no slot is padded all the same: who has not shown to be the phone shall not read
    /// user names either.
    pub fn with_preamble(&self, octets: usize) -> Option<Self> {
        let comment = self.comment()?;
        let (first, others) = match self.pieces() {
            [Piece::Text(text), others @ ..] => (text.as_str(), others),
            others => ("", others),
        };
        let (head, rest) = first.split_at_checked(head_bytes(self.format(), first)?)?;
        let lines = comment.lines(octets.checked_sub(head.len())?)?;
        let begin = Piece::Text(format!("{head}{lines}{rest}"));
        Some(self.with_pieces(std::iter::once(begin).chain(others.iter().cloned()).collect()))
    }
}

/// How many octets of the text must stay its first ones; `None` when nothing can stand behind them.
fn head_bytes(format: Format, text: &str) -> Option<usize> {
    match format {
        Format::Xml => {
            let bare = text.trim_start_matches('\u{feff}');
            let mark = text.len() - bare.len();
            if !bare.starts_with("<?xml") {
                return Some(mark);
            }
            let declared = bare.find("?>")? + 2;
            let line_end = bare.get(declared..)?;
            let line_end =
                ["\r\n", "\n"].into_iter().find(|end| line_end.starts_with(end)).map_or(0, str::len);
            Some(mark + declared + line_end)
        }
        Format::Line | Format::Json | Format::Plain if text.starts_with("#!") => Some(text.find('\n')? + 1),
        Format::Line | Format::Json | Format::Plain => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::part::Part;
    use super::super::raw::RawLines;
    use super::super::rendered::{SecretForm, SlotRules};
    use super::super::template::{Drawing, SlotCall, Trace};
    use super::*;
    use crate::secret::{Secret, SecretKind};

    const OCTETS: usize = 512;

    /// A file with a slot at `[]`.
    fn rendered(format: Format, text: &str) -> Rendered {
        let text = text.replace("[]", "\u{1}0\u{2}");
        let form = SecretForm::parse(format.secret_form()).unwrap();
        let comment = format.comment_form().map(|form| CommentForm::parse(form).unwrap());
        let slot = SlotCall {
            kind: SecretKind::Webui,
            line: None,
            name: "p".to_owned(),
            attributes: String::new(),
            part: Part::Whole,
            form: None,
        };
        let rules = SlotRules {
            raw: &RawLines::default(),
            file: "x",
            writing: &std::sync::Arc::new(format.into()),
            content_type: "t",
            kinds: &[SecretKind::Webui],
            form: &form,
            comment: comment.as_ref(),
            rejects: &[],
        };
        Rendered::cut(&Drawing { text, trace: Trace { slots: vec![slot], ..Trace::default() } }, &rules)
            .unwrap()
    }

    fn check(format: Format, text: &str, head: &str) {
        let rendered = rendered(format, text);
        let with = rendered.with_preamble(OCTETS).unwrap();
        for (with, without) in [(with.plain(), rendered.plain()), (filled(&with), filled(&rendered))] {
            let (first, rest) = with.split_at(OCTETS);
            assert_eq!(rest, without.strip_prefix(head).unwrap(), "{text:?}");
            let lines = first.strip_prefix(head).unwrap();
            let form = CommentForm::parse(format.comment_form().unwrap()).unwrap();
            for line in lines.split_inclusive('\n') {
                assert!(line.starts_with(&form.before) && line.ends_with(&form.after), "{line:?}");
            }
        }
        assert_eq!(with.slots().count(), rendered.slots().count());
    }

    fn filled(rendered: &Rendered) -> String {
        rendered.fill(|_| Some(Secret::new("hunter2"))).unwrap().to_string()
    }

    #[test]
    fn what_must_come_first_stays_first() {
        check(Format::Line, "#!version:1.0.0.1\na = 1\n[]\n", "#!version:1.0.0.1\n");
        check(Format::Line, "a = 1\n[]\n", "");
        check(Format::Line, "[]\n", "");
        check(Format::Line, "", "");
        let declaration = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";
        check(Format::Xml, &format!("{declaration}\n<a>[]</a>\n"), &format!("{declaration}\n"));
        check(Format::Xml, &format!("{declaration}\r\n<a>[]</a>\n"), &format!("{declaration}\r\n"));
        check(Format::Xml, &format!("{declaration}<a>[]</a>"), declaration);
        check(Format::Xml, "\u{feff}<?xml version=\"1.0\"?>\n<a/>", "\u{feff}<?xml version=\"1.0\"?>\n");
        check(Format::Xml, "<a>[]</a>", "");
    }

    #[test]
    fn the_length_is_exact_for_every_length_of_what_comes_first() {
        for length in 3..=OCTETS - 3 {
            let head = format!("#!{}\n", "v".repeat(length - 3));
            let with = rendered(Format::Line, &format!("{head}[]\n")).with_preamble(OCTETS).unwrap();
            assert_eq!(with.plain().len(), OCTETS, "{length}");
        }
        for length in [OCTETS - 1, OCTETS + 1, 2 * OCTETS] {
            let head = format!("#!{}\n", "v".repeat(length - 3));
            assert_eq!(
                rendered(Format::Line, &format!("{head}[]\n")).with_preamble(OCTETS),
                None,
                "{length}"
            );
        }
    }

    #[test]
    fn a_file_without_comments_has_none() {
        assert_eq!(rendered(Format::Json, "{\n[]\n\"a\": 1}").with_preamble(OCTETS), None);
        assert_eq!(rendered(Format::Plain, "a\n[]\n").with_preamble(OCTETS), None);
        assert_eq!(rendered(Format::Line, "#!no line end").with_preamble(OCTETS), None);
    }

    #[test]
    fn a_form_is_a_short_comment() {
        for text in ["# {text}", "; {text}\n", "<!-- {text} -->", "/* {text} */"] {
            assert!(CommentForm::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "#", "{text}", "# {text} {text}", "#\u{1}{text}", &format!("{}{{text}}", "#".repeat(60))]
        {
            assert!(CommentForm::parse(text).is_err(), "{text}");
        }
    }
}
