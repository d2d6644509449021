//! What people do with phones, and what they are shown of them, in the words that the command line and REST share:
//! listings, how passwords stand, arming and locking, settings and function keys in layers, why a phone does not come up,
//! and why something was not done. Never prints, never parses a request, and shows no password.

pub(crate) mod alarm;
pub(crate) mod arm;
pub(crate) mod diff;
pub(crate) mod failure;
pub(crate) mod firmware;
pub(crate) mod fleet;
pub(crate) mod keys;
pub(crate) mod plan;
pub(crate) mod point;
pub(crate) mod push;
pub(crate) mod release;
pub(crate) mod round;
pub(crate) mod scan;
pub(crate) mod setting;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod view;
pub(crate) mod why;

pub(crate) use failure::{Exit, Failure};
