//! The rows of DHCP servers that were met: where, who, and what they give to phones.

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::error::{StoreError, failed};
use super::write::{Cell, insert_rows};
use super::{Store, load};
use crate::clock::Timestamp;
use crate::device::Mac;

/// Rows that are kept: whoever invents servers must not fill the disk.
const ROWS_MAX: i64 = 1_000;
const READ: &str = "read the DHCP servers";
const WRITE: &str = "write the DHCP servers";

/// By vendor (empty: unknown), the options that its phones were given, as texts without passwords.
pub type Gives = BTreeMap<String, BTreeMap<u8, String>>;

/// A DHCP server that was met since the last time it was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetServer {
    /// The interface's name.
    pub interface: String,
    /// As it names itself (option 54), or where its answer came from.
    pub address: std::net::Ipv4Addr,
    /// Who put its answers on the link; `None` while only phones have named it.
    pub mac: Option<Mac>,
    /// What phones were given; empty while none was heard to be.
    pub gives: Gives,
    /// The last time.
    pub at: Timestamp,
    /// How often since then.
    pub count: i64,
}

/// A DHCP server as it was written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DhcpServerRow {
    /// Which agent met it.
    pub agent: String,
    /// On which interface.
    pub interface: String,
    /// As it names itself.
    pub address: String,
    /// Who puts its answers on the link, where one was heard.
    pub mac: Option<Mac>,
    /// By vendor, what phones were given.
    pub gives: Gives,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// How often it was heard or named.
    pub count: i64,
}

impl Store {
    /// Writes down the servers that were met.
    pub async fn record_dhcp_servers(&self, met: &[MetServer]) -> Result<(), StoreError> {
        if met.is_empty() {
            return Ok(());
        }
        let agent = self.agent.as_deref().unwrap_or_default();
        let mut latest: BTreeMap<(&str, String), (MetServer, Timestamp)> = BTreeMap::new();
        for one in met {
            let key = (one.interface.as_str(), one.address.to_string());
            let empty = || (MetServer { count: 0, ..one.clone() }, one.at);
            let (known, first) = latest.entry(key).or_insert_with(empty);
            let count = known.count + one.count;
            *first = (*first).min(one.at);
            *known = MetServer { count, mac: one.mac.or(known.mac), ..one.clone() };
        }
        let rows = latest.into_values().map(|(one, first)| row(agent, one, first)).collect();
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        insert_rows(
            &mut transaction,
            WRITE,
            "dhcp_server (agent, interface, address, mac, gives, first_ms, last_ms, seen)",
            rows,
            "ON CONFLICT (agent, interface, address) DO UPDATE SET mac = COALESCE(excluded.mac, dhcp_server.mac), \
             gives = CASE WHEN excluded.gives = '{}' THEN dhcp_server.gives ELSE excluded.gives END, \
             last_ms = excluded.last_ms, seen = dhcp_server.seen + excluded.seen",
        )
        .await?;
        prune(&mut transaction).await?;
        transaction.commit().await.map_err(failed(WRITE))
    }

    /// The DHCP servers that were met, the latest first.
    pub async fn dhcp_servers(&self) -> Result<Vec<DhcpServerRow>, StoreError> {
        type Row = (String, String, String, Option<String>, String, i64, i64, i64);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT agent, interface, address, mac, gives, first_ms, last_ms, seen FROM dhcp_server \
             ORDER BY last_ms DESC, agent, interface, address",
        )
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed(READ))?;
        rows.into_iter()
            .map(|(agent, interface, address, mac, gives, first, last, count)| {
                let mac = mac.map(|mac| load::parse(&mac, "dhcp_server.mac")).transpose()?;
                let damaged =
                    |_| StoreError::Damaged("a row's dhcp_server.gives is not understood".to_owned());
                let gives = serde_json::from_str(&gives).map_err(damaged)?;
                let [first, last] = [first, last].map(Timestamp);
                Ok(DhcpServerRow { agent, interface, address, mac, gives, first, last, count })
            })
            .collect()
    }
}

fn row(agent: &str, met: MetServer, first: Timestamp) -> Vec<Cell> {
    let MetServer { interface, address, mac, gives, at, count } = met;
    vec![
        Cell::text(agent),
        Cell::Text(interface),
        Cell::Text(address.to_string()),
        Cell::Maybe(mac.map(load::key)),
        Cell::Text(serde_json::json!(gives).to_string()),
        Cell::Number(first.0),
        Cell::Number(at.0),
        Cell::Number(count),
    ]
}

/// The latest stay.
async fn prune(connection: &mut AnyConnection) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM dhcp_server WHERE last_ms < (SELECT MIN(last_ms) FROM (SELECT last_ms FROM dhcp_server \
         ORDER BY last_ms DESC LIMIT $1) newest)",
    )
    .bind(ROWS_MAX)
    .execute(connection)
    .await
    .map_err(failed(WRITE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, mac, on_both};
    use super::*;

    fn met(last: u8, at: i64, sender: Option<Mac>) -> MetServer {
        let (interface, address) = ("eth0".to_owned(), [192, 0, 2, last].into());
        MetServer { interface, address, mac: sender, gives: Gives::new(), at: Timestamp(at), count: 1 }
    }

    on_both! {
        async fn a_server_is_one_row_for_each_agent_and_interface(bench) {
            let store = bench.store().await.in_agent("north");
            let gives = Gives::from([("snom".to_owned(), BTreeMap::from([(66, "http://192.0.2.9/".to_owned())]))]);
            let giving = MetServer { gives: gives.clone(), ..met(1, 20, Some(mac(1))) };
            store.record_dhcp_servers(&[met(1, 10, None), giving, met(2, 15, None)]).await.unwrap();
            store.record_dhcp_servers(&[met(1, 30, None)]).await.unwrap();
            store.in_agent("south").record_dhcp_servers(&[met(1, 5, None)]).await.unwrap();
            let rows = store.dhcp_servers().await.unwrap();
            let told: Vec<_> = rows.iter().map(|row| (row.agent.as_str(), row.address.as_str(), row.mac, row.count)).collect();
            assert_eq!(told, [
                ("north", "192.0.2.1", Some(mac(1)), 3),
                ("north", "192.0.2.2", None, 1),
                ("south", "192.0.2.1", None, 1),
            ]);
            assert_eq!((rows[0].first.0, rows[0].last.0, &rows[0].gives), (10, 30, &gives));
        }

        async fn invented_servers_are_bounded(bench) {
            let store = bench.store().await;
            for batch in 0..12_i64 {
                let many = (0..100_u8).map(|last| {
                    let interface = format!("eth{batch}");
                    MetServer { interface, ..met(last, batch * 100 + i64::from(last), None) }
                });
                store.record_dhcp_servers(&many.collect::<Vec<_>>()).await.unwrap();
            }
            let rows = store.dhcp_servers().await.unwrap();
            assert_eq!((rows.len(), rows[0].last.0), (1_000, 1_199));
        }
    }
}
