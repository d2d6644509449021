//! TLS: our own certificate authority and the certificates that we show, and what a phone's certificate proves. The
//! phones' listener uses it; pages for people may use the same authority. Speaks no protocol, and never decides what
//! anybody may have.
//!
//! * **What we show.** The first start makes an authority (ECDSA P-256) and keeps it. It issues two certificates to this
//!   host, because many phones know only RSA; whoever can gets the smaller one. Both are issued anew when the host gets
//!   another address or name, and when a third of their time is left. An administrator's own certificate comes before
//!   them.
//! * **What a phone shows.** Phones carry certificates of their vendor. One that chains to an authority which the
//!   administrator trusts for this, and has exactly one MAC in its subject, proves that phone; every other certificate
//!   proves nothing, and the connection goes on without it.

mod authority;
mod files;
mod keeper;
mod leaf;
mod listing;
mod names;
mod subject;
mod visitor;
mod witness;

pub use keeper::{Tls, TlsError, TlsOptions};
pub use listing::{Listed, Role, listing};
pub use names::Names;
pub use subject::common_name;
pub use tokio_rustls::rustls::ClientConfig;
pub use visitor::visitor;
pub use witness::{PhoneCertificate, Witness};
