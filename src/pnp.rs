//! SIP multicast plug and play: a phone that boots asks 224.0.1.75 for its configuration, and gets the URL of its own.
//!
//! One exchange is four datagrams: SUBSCRIBE (multicast) and our 200 OK, our NOTIFY with the URL and the phone's 200 OK.
//! [`message`] reads, [`answer`] writes, [`decide`] says who gets what, [`notifier`] repeats a NOTIFY until it is
//! answered, `rival` looks whether another server answers phones here, [`server`] does the waiting. A phone that is not served hears nothing at all, not even a 200: many phones
//! stop looking after an answer, and several PBXs may share a LAN.

pub mod answer;
pub mod decide;
pub mod message;
pub mod names;
pub mod notifier;
mod rival;
pub mod server;
