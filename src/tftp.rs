//! Files for phones by TFTP, read-only.
//!
//! `message` reads and writes packets, `agree` grants options, `decide` is the
//! sans-I/O [`decide::Transfer`] with its timing in `patience`, `refusal` says why there is no file, and `server` moves the
//! packets.
//!
//! The transfer is our own and not that of the async-tftp crate, which stays in the project as the reference peer of
//! tests and benches. On the wire it goes on sending after the client's ERROR, serves netascii as octet and says nothing
//! to a name that is not UTF-8: `async_tftp_as_reference_peer` in tests/it/tftp.rs shows the three beside what we do.
//! It also answers from the wrong address when bound to 0.0.0.0, lets one small request and one ACK set half a gigabyte
//! free, serialises its handlers, and does not tell when the last block was acknowledged, which the release of secrets
//! needs to know.

pub mod agree;
pub mod decide;
pub mod message;
pub mod patience;
pub mod refusal;
pub mod server;
