//! DHCP leases and reservations. A lease is durable before its client hears of it; those that are asked for together
//! share one commit. Belongs to an agent and its interface: two agents never give from one pool.

mod commit;
mod journal;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;

pub(super) use self::commit::Commits;
use super::Store;
use super::error::{StoreError, failed};
use super::load;
use super::write::{Cell, Write};
use crate::clock::{BootId, BootInstant, Timestamp};
use crate::device::Mac;
use crate::hex::{hex, unhex};

/// So long behind its end a lease is remembered, for the phone that comes back.
const KEPT: Duration = Duration::from_hours(90 * 24);
/// Leases that are remembered behind their end.
const ENDED_MAX: i64 = 100_000;

/// An address and who has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeaseRow {
    /// By which interface the client comes.
    pub interface: String,
    /// What was given.
    pub address: Ipv4Addr,
    /// To whom; of a quarantined one, who was found there.
    pub mac: Option<Mac>,
    /// As the client names itself (option 61).
    #[serde(serialize_with = "as_hex")]
    pub client_id: Option<Vec<u8>>,
    /// The client's own name (option 12).
    pub host_name: Option<String>,
    /// What the client says it is (option 60).
    pub class: Option<String>,
    /// Whether the client has it still.
    pub state: LeaseState,
    /// When the client got it or renewed it, or the quarantine began.
    pub granted: Timestamp,
    /// The same on the boot clock.
    #[serde(skip)]
    pub granted_boot: BootInstant,
    /// For how long.
    #[serde(serialize_with = "as_seconds", rename = "duration_s")]
    pub duration: Duration,
}

impl LeaseRow {
    /// Until when, on the wall clock.
    pub fn until(&self) -> Timestamp {
        Timestamp(self.granted.0.saturating_add(millis(self.duration)))
    }
}

/// What a lease's row says of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// The client has it until its end.
    Bound,
    /// The client gave it back.
    Released,
    /// Somebody has it who did not get it from here.
    Quarantined,
}

impl LeaseState {
    const ALL: [Self; 3] = [Self::Bound, Self::Released, Self::Quarantined];

    /// The word in the row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Released => "released",
            Self::Quarantined => "quarantined",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

/// An address that is kept for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Reservation {
    /// For whom.
    pub mac: Mac,
    /// Which.
    pub address: Ipv4Addr,
    /// Since when.
    pub since: Timestamp,
}

impl Store {
    /// This agent's leases by interface and address, those behind their end among them; or, outside an agent, all agents',
    /// as they were within the last second.
    pub async fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        // Nothing goes from the journal into the database meanwhile.
        let _right = self.inner.writer.lock().await;
        let rows = sqlx::query(
            "SELECT interface, address, mac, client_id, host_name, class, state, granted_ms, granted_boot, \
             granted_boot_ms, duration_ms FROM dhcp_lease WHERE $1 = '' OR agent = $1",
        )
        .bind(self.agent.as_deref().unwrap_or_default())
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the leases"))?;
        let leases = rows.iter().map(lease).collect::<Result<Vec<_>, _>>()?;
        Ok(self.inner.leases.over(leases))
    }

    /// Forgets leases that ended long ago, and the oldest where there are too many; says how many.
    pub async fn prune_leases(&self) -> Result<u64, StoreError> {
        let _right = self.inner.writer.lock().await;
        let now = self.inner.clock.now();
        let mut transaction = self.inner.db.begin().await?;
        let done = sqlx::query(
            "DELETE FROM dhcp_lease WHERE until_ms < $1 OR until_ms < $2 AND until_ms < (SELECT COALESCE(MIN(until_ms), \
             0) FROM (SELECT until_ms FROM dhcp_lease WHERE until_ms < $2 ORDER BY until_ms DESC LIMIT $3) newest)",
        )
        .bind(now.minus(KEPT).0)
        .bind(now.0)
        .bind(ENDED_MAX)
        .execute(&mut *transaction)
        .await
        .map_err(failed("forget old leases"))?;
        transaction.commit().await.map_err(failed("forget old leases"))?;
        Ok(done.rows_affected())
    }

    /// Which addresses are kept for whom, by address.
    pub async fn reservations(&self) -> Result<Vec<Reservation>, StoreError> {
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT mac, address, since_ms FROM dhcp_reservation")
                .fetch_all(self.inner.db.reader())
                .await
                .map_err(failed("read the reservations"))?;
        let kept = |(mac, address, since): (String, String, i64)| {
            let mac = load::parse(&mac, "dhcp_reservation.mac")?;
            let address = load::parse(&address, "dhcp_reservation.address")?;
            Ok(Reservation { mac, address, since: Timestamp(since) })
        };
        let mut kept = rows.into_iter().map(kept).collect::<Result<Vec<Reservation>, StoreError>>()?;
        kept.sort_by_key(|one| one.address);
        Ok(kept)
    }

    /// Keeps an address for a client, instead of the one that was kept for it before.
    pub async fn reserve(&self, mac: Mac, address: Ipv4Addr) -> Result<(), StoreError> {
        let kept = self.reservations().await?;
        if let Some(other) = kept.iter().find(|one| one.address == address && one.mac != mac) {
            return Err(StoreError::Reserved(address, other.mac));
        }
        let mut write = Write::begin(self).await?;
        let since = write.now;
        let sql = "INSERT INTO dhcp_reservation (mac, address, since_ms) VALUES ($1, $2, $3) \
                   ON CONFLICT (mac) DO UPDATE SET address = excluded.address, since_ms = excluded.since_ms";
        let cells = [Cell::Text(load::key(mac)), Cell::text(address.to_string()), Cell::Number(since.0)];
        write.change("keep the address", sql, cells).await?;
        write.audit("dhcp_reserved", Some(mac), &json!({ "address": address })).await?;
        write.commit().await
    }

    /// Keeps nothing for this client any more; says whether there was anything.
    pub async fn unreserve(&self, mac: Mac) -> Result<bool, StoreError> {
        let mut write = Write::begin(self).await?;
        let sql = "DELETE FROM dhcp_reservation WHERE mac = $1";
        let gone = write.change("give the address free", sql, [Cell::Text(load::key(mac))]).await? > 0;
        if gone {
            write.audit("dhcp_unreserved", Some(mac), &json!({})).await?;
            write.commit().await?;
        }
        Ok(gone)
    }
}

impl LeaseRow {
    fn cells(&self, agent: &str) -> Vec<Cell> {
        vec![
            Cell::text(agent),
            Cell::text(self.interface.as_str()),
            Cell::Text(self.address.to_string()),
            Cell::Maybe(self.mac.map(load::key)),
            Cell::Maybe(self.client_id.as_deref().map(hex)),
            Cell::Maybe(self.host_name.clone()),
            Cell::Maybe(self.class.clone()),
            Cell::text(self.state.as_str()),
            Cell::Number(self.granted.0),
            Cell::text(&*self.granted_boot.boot.0),
            Cell::Number(self.granted_boot.ms),
            Cell::Number(millis(self.duration)),
            Cell::Number(self.until().0),
        ]
    }
}

fn lease(row: &AnyRow) -> Result<LeaseRow, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed("read the leases"));
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column).map_err(failed("read the leases"));
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(failed("read the leases"));
    let damaged = |column| StoreError::Damaged(format!("a row's dhcp_lease.{column} is not understood"));
    let state = LeaseState::of(&text("state")?);
    let client_id = maybe("client_id")?.map(|text| unhex(&text).ok_or_else(|| damaged("client_id")));
    Ok(LeaseRow {
        interface: text("interface")?,
        address: load::parse(&text("address")?, "dhcp_lease.address")?,
        mac: maybe("mac")?.map(|mac| load::parse(&mac, "dhcp_lease.mac")).transpose()?,
        client_id: client_id.transpose()?,
        host_name: maybe("host_name")?,
        class: maybe("class")?,
        state: state.ok_or_else(|| damaged("state"))?,
        granted: Timestamp(number("granted_ms")?),
        granted_boot: BootInstant {
            boot: BootId(text("granted_boot")?.into()),
            ms: number("granted_boot_ms")?,
        },
        duration: Duration::from_millis(u64::try_from(number("duration_ms")?).unwrap_or(0)),
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn as_hex<S: serde::Serializer>(octets: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    match octets {
        Some(octets) => serializer.serialize_some(&hex(octets)),
        None => serializer.serialize_none(),
    }
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, mac, on_both};
    use super::*;
    use futures_util::future::join_all;

    pub(super) fn lease(last: u8, until: i64) -> LeaseRow {
        LeaseRow {
            interface: "eth0.40".to_owned(),
            address: Ipv4Addr::new(192, 168, 40, last),
            mac: Some(mac(last.into())),
            client_id: Some(vec![1, 0xfe, last]),
            host_name: None,
            class: Some("yealink".to_owned()),
            state: LeaseState::Bound,
            granted: Timestamp(until - 3_600_000),
            granted_boot: BootInstant { boot: BootId("a boot".into()), ms: 5_000 },
            duration: Duration::from_hours(1),
        }
    }

    on_both! {
        async fn a_lease_is_there_after_its_commit_and_belongs_to_its_agent(bench) {
            let store = bench.store().await.in_agent("one");
            let until = bench.clock.now().0 + 3_600_000;
            let all: Vec<LeaseRow> = (1..=200).map(|last| lease(last, until)).collect();
            let done = join_all(all.chunks(7).map(|leases| store.commit_leases(leases.to_vec()))).await;
            assert!(done.into_iter().all(|one| one.is_ok()));
            let other = bench.store().await;
            assert_eq!(other.in_agent("one").leases().await.unwrap(), all);
            assert!(other.in_agent("two").leases().await.unwrap().is_empty());
            assert_eq!(other.leases().await.unwrap().len(), 200, "a command sees all agents'");
        }

        async fn the_last_word_about_an_address_counts(bench) {
            let store = bench.store().await.in_agent("one");
            let first = lease(1, 5_000);
            let last = LeaseRow {
                state: LeaseState::Quarantined,
                mac: None,
                client_id: None,
                host_name: Some("desk".to_owned()),
                ..lease(1, 9_000)
            };
            let (one, two) =
                tokio::join!(store.commit_leases(vec![first]), store.commit_leases(vec![last.clone()]));
            one.and(two).unwrap();
            assert_eq!(store.leases().await.unwrap(), [last]);
        }

        async fn what_ended_long_ago_is_forgotten(bench) {
            let store = bench.store().await.in_agent("one");
            let now = bench.clock.now().0;
            let kept = i64::try_from(KEPT.as_millis()).unwrap();
            for (last, until) in [(1, now - kept - 1), (2, now - kept), (3, now + 1)] {
                store.commit_leases(vec![lease(last, until)]).await.unwrap();
            }
            assert_eq!(store.prune_leases().await.unwrap(), 1);
            assert_eq!(store.leases().await.unwrap().len(), 2);
        }

        async fn an_address_is_kept_for_one_client(bench) {
            let store = bench.store().await.acting_as("ada");
            let address = |last| Ipv4Addr::new(192, 168, 40, last);
            store.reserve(mac(1), address(7)).await.unwrap();
            let generation = store.inventory().generation();
            let error = store.reserve(mac(2), address(7)).await.unwrap_err();
            assert!(error.remedy().contains("unreserve"), "{}", error.remedy());
            assert_eq!(error.to_string(), format!("192.168.40.7 is kept for {}", mac(1)));
            store.reserve(mac(1), address(8)).await.unwrap();
            assert!(store.inventory().generation() > generation, "the agent notices");
            let kept: Vec<(Mac, Ipv4Addr)> =
                store.reservations().await.unwrap().iter().map(|one| (one.mac, one.address)).collect();
            assert_eq!(kept, [(mac(1), address(8))]);
            assert!(store.unreserve(mac(1)).await.unwrap());
            assert!(!store.unreserve(mac(1)).await.unwrap());
            let events: Vec<String> =
                store.audit(None, 9).await.unwrap().into_iter().map(|row| row.event).collect();
            assert_eq!(events.iter().filter(|event| event.starts_with("dhcp_")).count(), 3);
        }
    }

    #[test]
    fn octets_survive_their_digits() {
        assert_eq!(unhex(&hex(&[0, 1, 0xfe])), Some(vec![0, 1, 0xfe]));
        assert_eq!((unhex("0"), unhex("zz"), unhex("äa")), (None, None, None));
    }
}
