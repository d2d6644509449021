//! File names as patterns: one small type that renders a phone's file name and recognises a request for it, in any
//! case. A name is compared, never opened: no pattern ever becomes a path of the file system.

use std::fmt;
use std::str::FromStr;

use crate::device::Mac;

/// A file name with variables, such as `snom{model}-{MAC}.htm`.
///
/// 1. `{mac}` twelve lower-case digits, `{MAC}` twelve upper-case digits, `{mac:}` lower-case with colons.
/// 2. `{model}` the model as the vendor prints it; `{common}` the model's `common` value.
/// 3. At most one of `{model}` and `{common}`, once: their width is open, and a name must have one reading only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(Variable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    MacLower,
    MacUpper,
    MacColon,
    Model,
    Common,
}

impl Variable {
    const ALL: [(&'static str, Self); 5] = [
        ("mac", Self::MacLower),
        ("MAC", Self::MacUpper),
        ("mac:", Self::MacColon),
        ("model", Self::Model),
        ("common", Self::Common),
    ];

    /// How many bytes it takes; `None`: as many as there are.
    fn width(self) -> Option<usize> {
        match self {
            Self::MacLower | Self::MacUpper => Some(12),
            Self::MacColon => Some(17),
            Self::Model | Self::Common => None,
        }
    }
}

/// What the variables of a pattern stand for; also what a recognised name held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathValues {
    /// For `{mac}`, `{MAC}` and `{mac:}`.
    pub mac: Option<Mac>,
    /// For `{model}`.
    pub model: Option<String>,
    /// For `{common}`.
    pub common: Option<String>,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A brace without its partner.
    #[error("has a brace without its partner; write {{mac}}, or leave the brace out")]
    Brace,
    /// A variable that does not exist.
    #[error(
        "has the unknown variable {{{0}}}; there are {{mac}}, {{MAC}}, {{mac:}}, {{model}} and {{common}}"
    )]
    Unknown(String),
    /// Two variables of open width.
    #[error(
        "has more than one of {{model}} and {{common}}: a name could be read in two ways; keep one of them"
    )]
    Ambiguous,
    /// Empty, or with a character that no file name of a phone has.
    #[error("is empty, or has a control character, '/', '\\' or '?'; write a bare file name")]
    Name,
}

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.chars().all(is_name_char) {
            return Err(PathError::Name);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
            let (name, after) =
                rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).ok_or(PathError::Brace)?;
            let (_, variable) = Variable::ALL
                .into_iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| PathError::Unknown(name.to_owned()))?;
            parts.push(Part::Variable(variable));
            rest = after;
        }
        let open = |part: &&Part| matches!(part, Part::Variable(variable) if variable.width().is_none());
        if parts.iter().filter(open).count() > 1 {
            return Err(PathError::Ambiguous);
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PathPattern {
    /// The name for these values; `None` when one is missing or is no part of a file name.
    pub fn render(&self, values: &PathValues) -> Option<String> {
        let mut name = String::with_capacity(self.text.len() + 12);
        for part in &self.parts {
            match part {
                Part::Literal(literal) => name.push_str(literal),
                Part::Variable(Variable::MacLower) => name.push_str(&values.mac?.bare()),
                Part::Variable(Variable::MacUpper) => {
                    name.push_str(&values.mac?.bare().to_ascii_uppercase());
                }
                Part::Variable(Variable::MacColon) => name.push_str(&values.mac?.to_string()),
                Part::Variable(Variable::Model) => name.push_str(word(values.model.as_deref()?)?),
                Part::Variable(Variable::Common) => name.push_str(word(values.common.as_deref()?)?),
            }
        }
        Some(name)
    }

    /// What the name holds if it fits the pattern, letters in any case; `None` when it does not fit, or says two
    /// different things about one variable.
    pub fn recognise(&self, name: &str) -> Option<PathValues> {
        let open = self.parts.iter().position(|part| width(part).is_none()).unwrap_or(self.parts.len());
        let (before, from_open) = self.parts.split_at(open);
        let mut values = PathValues::default();
        let mut rest = name;
        for part in before {
            let (piece, after) = rest.split_at_checked(width(part)?)?;
            read(part, piece, &mut values)?;
            rest = after;
        }
        let Some((variable, after)) = from_open.split_first() else {
            return rest.is_empty().then_some(values);
        };
        for part in after.iter().rev() {
            let middle = rest.len().checked_sub(width(part)?)?;
            let (before, piece) = rest.split_at_checked(middle)?;
            read(part, piece, &mut values)?;
            rest = before;
        }
        read(variable, rest, &mut values)?;
        Some(values)
    }

    /// Whether the name depends on the phone's MAC.
    pub fn has_mac(&self) -> bool {
        self.has(|variable| variable.width().is_some())
    }

    /// Whether the name depends on the model.
    pub fn has_model(&self) -> bool {
        self.has(|variable| variable.width().is_none())
    }

    /// Whether the name is the model's `common` value or holds it.
    pub fn has_common(&self) -> bool {
        self.has(|variable| variable == Variable::Common)
    }

    /// How many bytes of a name are fixed: of two patterns that fit, the one with more says more.
    pub fn fixed_bytes(&self) -> usize {
        self.parts.iter().filter_map(width).sum()
    }

    fn has(&self, wanted: impl Fn(Variable) -> bool) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Variable(variable) if wanted(*variable)))
    }
}

fn width(part: &Part) -> Option<usize> {
    match part {
        Part::Literal(literal) => Some(literal.len()),
        Part::Variable(variable) => variable.width(),
    }
}

/// Reads one piece of a name as one part of the pattern.
fn read(part: &Part, piece: &str, values: &mut PathValues) -> Option<()> {
    match part {
        Part::Literal(literal) => literal.eq_ignore_ascii_case(piece).then_some(()),
        Part::Variable(Variable::MacLower | Variable::MacUpper | Variable::MacColon) => {
            let mac: Mac = piece.parse().ok()?;
            let agrees = values.mac.is_none_or(|earlier| earlier == mac);
            values.mac = Some(mac);
            agrees.then_some(())
        }
        Part::Variable(Variable::Model) => {
            values.model = Some(word(piece)?.to_owned());
            Some(())
        }
        Part::Variable(Variable::Common) => {
            values.common = Some(word(piece)?.to_owned());
            Some(())
        }
    }
}

/// A value that may stand in a file name.
fn word(text: &str) -> Option<&str> {
    let fits = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | ' '));
    fits.then_some(text)
}

fn is_name_char(c: char) -> bool {
    !c.is_control() && !matches!(c, '/' | '\\' | '?')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, name: &str, expected: Option<(&str, &str)>) {
        let found = pattern.parse::<PathPattern>().unwrap().recognise(name).map(|values| {
            let text = values.model.or(values.common).unwrap_or_default();
            (values.mac.map(Mac::bare).unwrap_or_default(), text)
        });
        assert_eq!(found, expected.map(|(mac, text)| (mac.to_owned(), text.to_owned())), "{pattern} {name}");
    }

    #[test]
    fn names_are_recognised_in_any_case() {
        check("{mac}.cfg", "805ec0aabbcc.cfg", Some(("805ec0aabbcc", "")));
        check("{mac}.cfg", "805EC0AABBCC.CFG", Some(("805ec0aabbcc", "")));
        check("{mac:}.xml", "80:5e:c0:aa:bb:cc.xml", Some(("805ec0aabbcc", "")));
        check("snom{model}-{MAC}.htm", "snomD785-000413AABBCC.htm", Some(("000413aabbcc", "D785")));
        check("snom{model}-{MAC}.htm", "SNOMd785-000413aabbcc.HTM", Some(("000413aabbcc", "d785")));
        check("{common}", "y000000000108.cfg", Some(("", "y000000000108.cfg")));
        check("y000000000000.boot", "Y000000000000.boot", Some(("", "")));
    }

    #[test]
    fn what_does_not_fit_is_not_recognised() {
        for name in
            ["", ".cfg", "805ec0aabbc.cfg", "805ec0aabbccd.cfg", "000000000000.cfg", "é05ec0aabbcc.cfg"]
        {
            check("{mac}.cfg", name, None);
        }
        check("{mac}-{MAC}.cfg", "805ec0aabbcc-805ec0aabbcd.cfg", None);
        check("snom{model}.htm", "snom../etc.htm", None);
        check("snom{model}.htm", "snom.htm", None);
        check("snom{model}-{MAC}.htm", "snom-000413aabbcc.htm", None);
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let error = |text: &str| text.parse::<PathPattern>().unwrap_err();
        assert_eq!(error("{mac.cfg"), PathError::Brace);
        assert_eq!(error("mac}.cfg"), PathError::Brace);
        assert_eq!(error("{Mac}.cfg"), PathError::Unknown("Mac".to_owned()));
        assert_eq!(error("{model}{common}"), PathError::Ambiguous);
        assert_eq!(error("cfg/{mac}.cfg"), PathError::Name);
    }

    #[test]
    fn a_model_that_is_no_file_name_renders_nothing() {
        let pattern: PathPattern = "snom{model}.htm".parse().unwrap();
        let values = |model: &str| PathValues { model: Some(model.to_owned()), ..PathValues::default() };
        assert_eq!(pattern.render(&values("D785")).as_deref(), Some("snomD785.htm"));
        assert_eq!(pattern.render(&values("../D785")), None);
        assert_eq!(pattern.render(&PathValues::default()), None);
    }

    fn parts() -> impl Strategy<Value = String> {
        let literal = "[a-z0-9._-]{1,8}";
        let fixed = prop_oneof![Just("{mac}"), Just("{MAC}"), Just("{mac:}")];
        let open = prop_oneof![Just("{model}"), Just("{common}")];
        (literal, fixed, literal, open, literal, any::<[bool; 3]>()).prop_map(
            |(a, fixed, b, open, c, [with_fixed, with_open, first])| {
                let fixed = if with_fixed { fixed } else { "" };
                let open = if with_open { open } else { "" };
                if first { format!("{a}{fixed}{b}{open}{c}") } else { format!("{a}{open}{b}{fixed}{c}") }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_recognised(
            text in parts(), octets in any::<[u8; 6]>(), model in "[A-Za-z0-9._+ -]{1,12}",
        ) {
            let pattern: PathPattern = text.parse().unwrap();
            let mut octets = octets;
            octets[0] &= 0xfe;
            octets[5] |= 1;
            let values = PathValues {
                mac: pattern.has_mac().then(|| Mac::new(octets).unwrap()),
                model: (pattern.has_model() && !pattern.has_common()).then(|| model.clone()),
                common: pattern.has_common().then_some(model),
            };
            let name = pattern.render(&values).unwrap();
            prop_assert_eq!(pattern.recognise(&name), Some(values));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}", pattern in parts()) {
            let _ = text.parse::<PathPattern>();
            let _ = pattern.parse::<PathPattern>().unwrap().recognise(&text);
        }
    }
}
