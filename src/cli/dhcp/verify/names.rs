//! Looks up the host names that stand in DHCP answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A resolver that takes longer is as good as none.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(3);
/// Names that are looked up at most; they come from the network.
const NAMES_MAX: usize = 32;

/// The addresses of each name; none for a name that this host's resolver does not know.
pub(super) async fn look_up(names: BTreeSet<String>) -> BTreeMap<String, Vec<IpAddr>> {
    let lookups = names.into_iter().take(NAMES_MAX).map(|name| async move {
        let lookup = tokio::net::lookup_host((name.clone(), 0));
        let found = tokio::time::timeout(RESOLVER_TIMEOUT, lookup).await;
        let found: Vec<IpAddr> = match found {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        (name, found)
    });
    futures_util::future::join_all(lookups).await.into_iter().collect()
}
