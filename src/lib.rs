//! offhook (map to follow)

pub mod clock;
pub mod config;
pub mod net;

pub mod device;
pub mod profile;
pub mod provision;
pub mod secret;

pub mod http;
pub mod pnp;
pub mod tftp;

pub mod accounts;
pub mod simulate;
pub mod store;

pub mod agent;
pub mod cli;
