//! Whether phones register: REGISTER and its answers are overheard where they pass this host anyway, because the PBX runs
//! here or this host routes to it. By UDP and in clear only; nothing is sent, and no port is taken.
//!
//! [`decide`] holds a question together with its answer and tells what came of it, once; [`server`] hears.

pub mod decide;
pub mod server;
