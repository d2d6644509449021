//! Files for phones by HTTP/1.1: GET and HEAD, per-phone URLs beside the shared root, all of them names for the desk.
//!
//! `decide` turns the desk's answer into a response, `range` reads one header of it, `pace` says how long a
//! connection is borne, and `server` moves the bytes.

pub mod decide;
pub mod pace;
pub mod range;
pub mod server;
