//! What is wrong with a profile, told so that whoever wrote it finds the place and knows what to write instead.

use std::fmt;
use std::ops::Range;

/// A finding in a profile: file, line, key, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ProfileError {
    /// `yealink/profile.toml`, relative to the folder of vendor folders.
    pub file: String,
    /// Counted from 1, where the finding has a line.
    pub line: Option<usize>,
    /// `match[0].pattern`, where the finding has a key.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::error::Error for ProfileError {}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}

impl ProfileError {
    /// A finding about a whole file.
    pub(super) fn new(file: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, key: None, message: message.into(), remedy: remedy.into() }
    }

    /// The same finding, at this key.
    #[must_use]
    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same finding, on this line.
    #[must_use]
    pub(super) fn line(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }
}

/// The line, counted from 1, in which a range of bytes begins.
pub(super) fn line_of(text: &str, span: Option<Range<usize>>) -> Option<usize> {
    let before = text.get(..span?.start)?;
    Some(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_place_and_remedy() {
        let error = ProfileError::new("acme/profile.toml", "is not a pattern", "close the bracket")
            .key("match[0].pattern")
            .line(Some(7));
        assert_eq!(
            error.to_string(),
            "acme/profile.toml:7: match[0].pattern: is not a pattern (close the bracket)"
        );
        assert_eq!(line_of("a\nb\nc", Some(4..5)), Some(3));
        assert_eq!(line_of("a", Some(9..10)), None);
    }
}
