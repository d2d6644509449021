//! stub
use crate::device::Source;

/// stub
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clue {
    /// stub
    pub source: Source,
    /// stub
    pub text: String,
}

impl Clue {
    /// stub
    pub fn new(source: Source, text: impl Into<String>) -> Self {
        Self { source, text: text.into() }
    }
}
