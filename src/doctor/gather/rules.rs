//! The packet filter's rules, by the tools that print them.

use std::path::Path;

use super::super::firewall::{self, Ruleset};
use super::kernel::run;

/// What nft prints, which has the rules of the iptables of today as well, though not all of them in words; the tables of the
/// older one are asked for where its tool is there.
pub(super) async fn read() -> Ruleset {
    let manager = manager();
    let unread = |why: String| Ruleset { unread: Some(why), manager, ..Ruleset::default() };
    let (nft, legacy) =
        tokio::join!(run("nft", &["-j", "list", "ruleset"]), run("iptables-legacy-save", &[]));
    let mut tables = match nft {
        Ok(text) => match firewall::read_nft(&text) {
            Some(tables) if text.contains("\"xt\"") => match run("iptables-save", &[]).await {
                Ok(text) => firewall::without_iptables(tables)
                    .into_iter()
                    .chain(firewall::read_iptables(&text))
                    .collect(),
                Err(_) => tables,
            },
            Some(tables) => tables,
            None => return unread("what nft prints is not understood".to_owned()),
        },
        Err(of_nft) => match run("iptables-save", &[]).await {
            Ok(text) => firewall::read_iptables(&text),
            Err(of_iptables) if of_nft.contains("No such file") => return unread(of_iptables),
            Err(_) => return unread(of_nft),
        },
    };
    tables.extend(legacy.map(|text| firewall::read_iptables(&text)).unwrap_or_default());
    Ruleset { tables, unread: None, manager }
}

/// Who writes the rules, if it is somebody who would write over ours.
fn manager() -> Option<&'static str> {
    let units = Path::new("/sys/fs/cgroup/system.slice");
    let is_ufw_on = std::fs::read_to_string("/etc/ufw/ufw.conf")
        .is_ok_and(|text| text.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")));
    if units.join("firewalld.service").exists() {
        return Some("firewalld");
    }
    is_ufw_on.then_some("ufw")
}
