//! What can be asked for, one file per noun: each takes a request apart, calls what the command line calls, and shows
//! what the command line shows. Decides nothing itself.

pub(super) mod alarms;
pub(super) mod audit;
pub(super) mod devices;
pub(super) mod doctor;
pub(super) mod firmware;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod rounds;
pub(super) mod scan;
pub(super) mod site;
