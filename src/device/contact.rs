//! Somebody who can be called: a row of the company directory that is no account of ours.

use serde::Serialize;

/// Somebody in the company directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Contact {
    /// As phones show it.
    pub name: String,
    /// Empty where there is none.
    pub company: String,
    /// As they were written, in their order.
    pub numbers: Vec<String>,
}
