//! Whether the DHCP companion may answer: the kill switch, the other servers that were heard where there should be none,
//! and in which mode each interface was last. Rows, so that commands and agents speak the same way.

use serde_json::json;

use super::Store;
use super::error::{StoreError, failed};
use super::write::{Cell, Write};
use crate::clock::Timestamp;

/// What the switch of an interface allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchState {
    /// Nothing is sent.
    Off,
    /// Who has a lease may keep it; nobody else is answered.
    Renew,
    /// What the configuration says.
    On,
}

impl SwitchState {
    const ALL: [Self; 3] = [Self::Off, Self::Renew, Self::On];

    /// The word in the row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Renew => "renew",
            Self::On => "on",
        }
    }
}

/// A switch as it was set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SwitchRow {
    /// Of which interface; empty: of all.
    pub interface: String,
    /// How it stands.
    pub state: SwitchState,
    /// Who set it.
    pub who: String,
    /// For which reason.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// The DHCP server that was heard last where there should be none.
    pub foreign_by: Option<String>,
    /// When it was.
    pub foreign: Option<Timestamp>,
}

/// How an interface that answers DHCP is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DhcpReport {
    /// Which agent answers there.
    pub agent: String,
    /// Where.
    pub interface: String,
    /// In which mode.
    pub mode: String,
    /// Pools, counters; null before the first.
    pub report: serde_json::Value,
    /// When that was.
    pub at: Option<Timestamp>,
}

/// Every switch that was ever set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches(Vec<SwitchRow>);

impl Switches {
    /// The row that counts for this interface: of its own and the one of all, the later.
    pub fn of(&self, interface: &str) -> Option<&SwitchRow> {
        let own = self.row(interface);
        let all = self.row("");
        match (own, all) {
            (Some(own), Some(all)) if own.since < all.since => Some(all),
            (own, all) => own.or(all),
        }
    }

    /// What this interface is allowed.
    pub fn state(&self, interface: &str) -> SwitchState {
        self.of(interface).map_or(SwitchState::On, |row| row.state)
    }

    /// The server that was heard last on this interface, and when.
    pub fn foreign(&self, interface: &str) -> Option<(&str, Timestamp)> {
        let row = self.row(interface)?;
        Some((row.foreign_by.as_deref()?, row.foreign?))
    }

    fn row(&self, interface: &str) -> Option<&SwitchRow> {
        self.0.iter().find(|row| row.interface == interface)
    }
}

impl Store {
    /// How the switches stand.
    pub async fn dhcp_switches(&self) -> Result<Switches, StoreError> {
        type Row = (String, String, String, String, i64, Option<String>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT interface, state, who, why, since_ms, foreign_by, foreign_ms FROM dhcp_switch ORDER BY interface",
        )
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the DHCP switches"))?;
        let read = |(interface, state, who, why, since, foreign_by, foreign): Row| {
            let known = SwitchState::ALL.into_iter().find(|known| known.as_str() == state);
            let damaged = || StoreError::Damaged("a row's dhcp_switch.state is not understood".to_owned());
            Ok(SwitchRow {
                interface,
                state: known.ok_or_else(damaged)?,
                who,
                why,
                since: Timestamp(since),
                foreign_by,
                foreign: foreign.map(Timestamp),
            })
        };
        rows.into_iter().map(read).collect::<Result<Vec<_>, StoreError>>().map(Switches)
    }

    /// Sets the switch of an interface, or of all (empty), and writes down who did so and why.
    pub async fn set_dhcp_switch(
        &self,
        interface: &str,
        state: SwitchState,
        why: &str,
    ) -> Result<(), StoreError> {
        let before = self.dhcp_switches().await?;
        // An agent that withdraws does not loosen what somebody has switched off.
        if state == SwitchState::Renew && before.state(interface) == SwitchState::Off {
            return Ok(());
        }
        let who =
            self.agent.as_deref().map_or_else(|| self.actor.to_string(), |agent| format!("agent {agent}"));
        let mut write = Write::begin(self).await?;
        let latest = before.of("").map_or(0, |all| all.since.0);
        // A clock that was set back makes no word older than the one before it.
        let since = write.now.0.max(latest);
        let sql = "INSERT INTO dhcp_switch (interface, state, who, why, since_ms) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (interface) DO UPDATE SET state = excluded.state, who = excluded.who, \
                   why = excluded.why, since_ms = excluded.since_ms";
        let cells = [
            Cell::text(interface),
            Cell::text(state.as_str()),
            Cell::Text(who),
            Cell::text(why),
            Cell::Number(since),
        ];
        write.change("set the DHCP switch", sql, cells).await?;
        if interface.is_empty() {
            // The word about all is the last one, whatever a clock said.
            let sql = "UPDATE dhcp_switch SET since_ms = $1 WHERE interface <> '' AND since_ms >= $1";
            write.change("set the DHCP switch", sql, [Cell::Number(since - 1)]).await?;
        }
        let event = match state {
            SwitchState::On => "dhcp_on",
            SwitchState::Renew => "dhcp_renew_only",
            SwitchState::Off => "dhcp_off",
        };
        let name = if interface.is_empty() { "all" } else { interface };
        write.audit(event, None, &json!({ "interface": name, "why": why })).await?;
        write.commit().await
    }

    /// Writes down that another DHCP server was heard where there should be none. Makes no generation.
    pub async fn note_foreign_dhcp(&self, interface: &str, by: &str) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        let now = write.now.0;
        sqlx::query(
            "INSERT INTO dhcp_switch (interface, state, who, why, since_ms, foreign_by, foreign_ms) \
             VALUES ($1, 'on', '', '', 0, $2, $3) \
             ON CONFLICT (interface) DO UPDATE SET foreign_by = excluded.foreign_by, foreign_ms = excluded.foreign_ms",
        )
        .bind(interface)
        .bind(by)
        .bind(now)
        .execute(write.connection())
        .await
        .map_err(failed("write down the other DHCP server"))?;
        write.commit().await
    }

    /// Writes down how an interface of this agent that answers is doing, for `offhook dhcp status`.
    pub async fn report_dhcp(&self, interface: &str, report: &serde_json::Value) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        sqlx::query("UPDATE dhcp_interface SET report = $1, at_ms = $2 WHERE agent = $3 AND interface = $4")
            .bind(report.to_string())
            .bind(self.inner.clock.now().0)
            .bind(self.agent.as_deref().unwrap_or_default())
            .bind(interface)
            .execute(&mut *transaction)
            .await
            .map_err(failed("write the DHCP report"))?;
        transaction.commit().await.map_err(failed("write the DHCP report"))
    }

    /// How the interfaces are doing on which DHCP was ever answered.
    pub async fn dhcp_reports(&self) -> Result<Vec<DhcpReport>, StoreError> {
        type Row = (String, String, String, Option<String>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT agent, interface, mode, report, at_ms FROM dhcp_interface ORDER BY agent, interface",
        )
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the DHCP reports"))?;
        let read = |(agent, interface, mode, report, at): Row| {
            let report = report.map_or(Ok(serde_json::Value::Null), |text| serde_json::from_str(&text));
            let damaged =
                |_| StoreError::Damaged("a row's dhcp_interface.report is not understood".to_owned());
            Ok(DhcpReport { agent, interface, mode, report: report.map_err(damaged)?, at: at.map(Timestamp) })
        };
        rows.into_iter().map(read).collect()
    }

    /// Writes down in which mode this agent's interfaces are: one row of the audit for each that is in another one than
    /// the last time. `by` says who configured it. An interface without a row only hears.
    pub async fn note_dhcp_modes(&self, modes: &[(String, String)], by: &str) -> Result<usize, StoreError> {
        let agent = self.agent.as_deref().unwrap_or_default().to_owned();
        let known: Vec<(String, String)> =
            sqlx::query_as("SELECT interface, mode FROM dhcp_interface WHERE agent = $1")
                .bind(agent.as_str())
                .fetch_all(self.inner.db.reader())
                .await
                .map_err(failed("read the DHCP modes"))?;
        let mode_in = |rows: &[(String, String)], interface: &str| {
            let row = rows.iter().find(|(name, _)| name == interface);
            row.map_or_else(|| "observe".to_owned(), |(_, mode)| mode.clone())
        };
        let mut names: Vec<&String> = modes.iter().chain(&known).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        let changed: Vec<(&String, String, String)> = names
            .into_iter()
            .map(|name| (name, mode_in(&known, name), mode_in(modes, name)))
            .filter(|(_, before, now)| before != now)
            .collect();
        if changed.is_empty() {
            return Ok(0);
        }
        let mut write = Write::begin(self).await?;
        for (interface, before, mode) in &changed {
            sqlx::query(
                "INSERT INTO dhcp_interface (agent, interface, mode) VALUES ($1, $2, $3) \
                 ON CONFLICT (agent, interface) DO UPDATE SET mode = excluded.mode",
            )
            .bind(agent.as_str())
            .bind(interface.as_str())
            .bind(mode.as_str())
            .execute(write.connection())
            .await
            .map_err(failed("write the DHCP mode"))?;
            let detail =
                json!({ "interface": interface, "mode": mode, "before": before, "configured_by": by });
            write.audit("dhcp_mode", None, &detail).await?;
        }
        write.commit().await?;
        Ok(changed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_both};
    use super::SwitchState::{Off, On, Renew};
    use super::*;
    use std::time::Duration;

    on_both! {
        async fn the_later_word_counts(bench) {
            let store = bench.store().await.acting_as("ada");
            let set = async |interface: &str, state| {
                bench.clock.advance(Duration::from_millis(1));
                store.set_dhcp_switch(interface, state, "because").await.unwrap();
                let switches = store.dhcp_switches().await.unwrap();
                (switches.state("eth0"), switches.state("eth1"))
            };
            assert_eq!(store.dhcp_switches().await.unwrap().state("eth0"), On);
            assert_eq!(set("eth0", Off).await, (Off, On));
            assert_eq!(set("eth0", Renew).await, (Off, On), "what is off stays off");
            assert_eq!(set("eth0", On).await, (On, On));
            assert_eq!(set("", Off).await, (Off, Off));
            assert_eq!(set("eth1", On).await, (Off, On));
            assert_eq!(set("eth1", Renew).await, (Off, Renew));
            let rows = store.audit(None, 9).await.unwrap();
            let events: Vec<&str> = rows.iter().rev().map(|row| row.event.as_str()).collect();
            assert_eq!(events, ["dhcp_off", "dhcp_on", "dhcp_off", "dhcp_on", "dhcp_renew_only"]);
            assert_eq!(rows[0].actor, "ada");
            assert_eq!(rows[2].detail, json!({ "interface": "all", "why": "because" }));
        }

        async fn a_word_of_the_same_moment_is_the_later_one(bench) {
            let store = bench.store().await;
            store.set_dhcp_switch("eth0", SwitchState::On, "").await.unwrap();
            store.set_dhcp_switch("", SwitchState::Off, "").await.unwrap();
            assert_eq!(store.dhcp_switches().await.unwrap().state("eth0"), SwitchState::Off);
            store.set_dhcp_switch("eth0", SwitchState::On, "").await.unwrap();
            assert_eq!(store.dhcp_switches().await.unwrap().state("eth0"), SwitchState::On);
        }

        async fn another_server_is_noted_and_switches_nothing(bench) {
            let store = bench.store().await.in_agent("one");
            store.note_foreign_dhcp("eth0", "192.168.40.2").await.unwrap();
            let switches = store.dhcp_switches().await.unwrap();
            assert_eq!(switches.state("eth0"), SwitchState::On);
            assert_eq!(switches.foreign("eth0"), Some(("192.168.40.2", bench.clock.now())));
            store.set_dhcp_switch("eth0", SwitchState::Renew, "192.168.40.2 answers").await.unwrap();
            let switches = store.dhcp_switches().await.unwrap();
            assert_eq!((switches.of("eth0").unwrap().who.as_str(), switches.foreign("eth0").is_some()), ("agent one", true));
            assert_eq!(switches.foreign("eth1"), None);
        }

        async fn leaving_observe_is_written_down_once(bench) {
            let store = bench.store().await.in_agent("one");
            let mode = |name: &str, mode: &str| (name.to_owned(), mode.to_owned());
            let note = async |modes: &[(String, String)]| store.note_dhcp_modes(modes, "root").await.unwrap();
            assert_eq!(note(&[]).await, 0);
            let both = [mode("eth0", "server"), mode("eth1", "server")];
            assert_eq!((note(&both).await, note(&both).await), (2, 0));
            assert_eq!(note(&[mode("eth0", "inform"), mode("eth1", "observe")]).await, 2);
            assert_eq!((note(&[]).await, note(&[]).await), (1, 0));
            let rows = store.audit(None, 1).await.unwrap();
            let expected = json!({ "interface": "eth0", "mode": "observe", "before": "inform", "configured_by": "root" });
            assert_eq!((rows[0].event.as_str(), &rows[0].detail), ("dhcp_mode", &expected));
        }
    }
}
