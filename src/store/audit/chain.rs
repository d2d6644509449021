//! The chain of the audit: what a row's hash covers, and how the next row follows. Never reads, never writes.
//!
//! A row's hash is the SHA-256, as 64 lower-case hexadecimal digits, of these fields, one directly after the other:
//!
//! ```text
//! "offhook audit 1", prev_hash, seq, at_ms, boot, boot_ms, agent, actor, event, mac, epoch, release_id, detail
//! ```
//!
//! A field is its length in bytes, a colon, its bytes and a comma (`4:1234,`); a field that is not set is `-,`. Numbers
//! are decimal, a MAC is `00:15:65:f4:f9:e1`, `detail` is the JSON text exactly as it is stored, and `prev_hash` is the
//! hash of the row before, empty for the first. `offhook audit --jsonl` writes these fields under these names, `detail`
//! as a text, so that whoever has an export can verify it (the README has the script).

use sha2::{Digest as _, Sha256};

use crate::clock::{BootInstant, Timestamp};
use crate::device::Mac;
use crate::hex::hex;
use crate::store::load;
use crate::store::write::Cell;

/// The first field: another form of rows would have another name.
const FORM: &str = "offhook audit 1";
/// The columns of [`Record::cells`].
pub(in crate::store) const COLUMNS: &str =
    "audit (seq, at_ms, boot, boot_ms, agent, actor, event, mac, epoch, release_id, detail, prev_hash, hash)";

/// A row of the audit as it is stored, exported and hashed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// Counts from 1 without a gap.
    pub seq: i64,
    /// The wall clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// Which boot of the host.
    pub boot: Option<String>,
    /// Milliseconds since that boot.
    pub boot_ms: Option<i64>,
    /// The agent's name, where an agent did it.
    pub agent: Option<String>,
    /// Who: a user of this host, or `agent`.
    pub actor: String,
    /// What, in one word.
    pub event: String,
    /// To which device.
    pub mac: Option<String>,
    /// In which act of arming.
    pub epoch: Option<i64>,
    /// In which release.
    pub release_id: Option<String>,
    /// More about it, as JSON. Never a secret.
    pub detail: String,
    /// The hash of the row before; empty for the first, not set in a row from before the chain.
    pub prev_hash: Option<String>,
    /// The hash of this row.
    pub hash: Option<String>,
}

/// What happened, before it has a place in the chain.
#[derive(Debug)]
pub(in crate::store) struct Deed<'a> {
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) boot: &'a BootInstant,
    pub(in crate::store) agent: Option<&'a str>,
    pub(in crate::store) actor: &'a str,
    pub(in crate::store) event: &'a str,
    pub(in crate::store) mac: Option<Mac>,
    pub(in crate::store) epoch: Option<i64>,
    pub(in crate::store) release_id: Option<&'a str>,
    pub(in crate::store) detail: &'a serde_json::Value,
}

/// The end of the chain, and the rows that a write has put there and not stored yet.
#[derive(Debug)]
pub(in crate::store) struct Chain {
    /// The last row's number, 0 where there is none.
    pub(in crate::store) seq: i64,
    /// The last row's hash; empty where no row has one.
    pub(in crate::store) hash: String,
    pending: Vec<Record>,
}

impl Chain {
    /// The chain as the head row has it.
    pub(in crate::store) fn new(seq: i64, hash: String) -> Self {
        Self { seq, hash, pending: Vec::new() }
    }

    /// Appends a row.
    pub(in crate::store) fn append(&mut self, deed: &Deed<'_>) {
        self.seq += 1;
        let mut record = Record {
            seq: self.seq,
            at_ms: deed.at.0,
            boot: Some(deed.boot.boot.0.to_string()),
            boot_ms: Some(deed.boot.ms),
            agent: deed.agent.map(str::to_owned),
            actor: deed.actor.to_owned(),
            event: deed.event.to_owned(),
            mac: deed.mac.map(|mac| mac.to_string()),
            epoch: deed.epoch,
            release_id: deed.release_id.map(str::to_owned),
            detail: deed.detail.to_string(),
            prev_hash: Some(self.hash.clone()),
            hash: None,
        };
        self.hash = record.computed_hash();
        record.hash = Some(self.hash.clone());
        self.pending.push(record);
    }

    /// How many rows are not stored yet.
    pub(in crate::store) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The rows that are to be stored now.
    pub(in crate::store) fn take(&mut self) -> Vec<Vec<Cell>> {
        std::mem::take(&mut self.pending).into_iter().map(Record::cells).collect()
    }
}

impl Record {
    /// What the row's hash must be.
    pub fn computed_hash(&self) -> String {
        let number = |number: i64| Some(number.to_string());
        let (seq, at_ms) = (number(self.seq), number(self.at_ms));
        let (boot_ms, epoch) = (self.boot_ms.and_then(number), self.epoch.and_then(number));
        let fields = [
            Some(FORM),
            self.prev_hash.as_deref(),
            seq.as_deref(),
            at_ms.as_deref(),
            self.boot.as_deref(),
            boot_ms.as_deref(),
            self.agent.as_deref(),
            Some(&self.actor),
            Some(&self.event),
            self.mac.as_deref(),
            epoch.as_deref(),
            self.release_id.as_deref(),
            Some(&self.detail),
        ];
        let mut hash = Sha256::new();
        for field in fields {
            match field {
                Some(text) => {
                    hash.update(text.len().to_string());
                    hash.update(":");
                    hash.update(text);
                    hash.update(",");
                }
                None => hash.update("-,"),
            }
        }
        hex(&hash.finalize())
    }

    /// The row's values, in the order of [`COLUMNS`].
    fn cells(self) -> Vec<Cell> {
        let mac = self.mac.map(|mac| mac.parse::<Mac>().map_or(mac, load::key));
        vec![
            Cell::Number(self.seq),
            Cell::Number(self.at_ms),
            Cell::Maybe(self.boot),
            Cell::MaybeNumber(self.boot_ms),
            Cell::Maybe(self.agent),
            Cell::Text(self.actor),
            Cell::Text(self.event),
            Cell::Maybe(mac),
            Cell::MaybeNumber(self.epoch),
            Cell::Maybe(self.release_id),
            Cell::Text(self.detail),
            Cell::Maybe(self.prev_hash),
            Cell::Maybe(self.hash),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootId;

    #[test]
    fn the_hash_is_what_the_documentation_says() {
        let boot = BootInstant { boot: BootId("b".into()), ms: 7 };
        let deed = Deed {
            at: Timestamp(1_700_000_000_000),
            boot: &boot,
            agent: None,
            actor: "ada",
            event: "revealed",
            mac: "001565f4f9e1".parse().ok(),
            epoch: Some(3),
            release_id: None,
            detail: &serde_json::json!({ "kind": "sip", "name": "Jürgen" }),
        };
        let mut chain = Chain::new(41, "ab".repeat(32));
        chain.append(&deed);
        // printf '15:offhook audit 1,64:abab…ab,2:42,…' | sha256sum
        let text = format!(
            "15:offhook audit 1,64:{},2:42,13:1700000000000,1:b,1:7,-,3:ada,8:revealed,17:00:15:65:f4:f9:e1,1:3,-,\
             31:{{\"kind\":\"sip\",\"name\":\"Jürgen\"}},",
            "ab".repeat(32)
        );
        assert_eq!(chain.hash, hex(&Sha256::digest(text)));
        assert_eq!((chain.seq, chain.pending()), (42, 1));
    }

    #[test]
    fn every_field_is_covered() {
        let boot = BootInstant { boot: BootId("b".into()), ms: 7 };
        let detail = serde_json::json!({});
        let mut chain = Chain::new(0, String::new());
        chain.append(&Deed {
            at: Timestamp(1),
            boot: &boot,
            agent: Some("host"),
            actor: "agent",
            event: "intent",
            mac: "001565f4f9e1".parse().ok(),
            epoch: Some(1),
            release_id: Some("r"),
            detail: &detail,
        });
        let record = chain.pending[0].clone();
        let changes: [fn(&mut Record); 14] = [
            |row| row.seq += 1,
            |row| row.at_ms += 1,
            |row| row.boot = None,
            |row| row.boot = Some(String::new()),
            |row| row.boot_ms = None,
            |row| row.agent = None,
            |row| row.actor.push('x'),
            |row| row.event.push('x'),
            |row| row.mac = None,
            |row| row.epoch = None,
            |row| row.release_id = Some("s".to_owned()),
            |row| row.detail.push(' '),
            |row| row.prev_hash = None,
            |row| row.prev_hash = Some("00".to_owned()),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut altered = record.clone();
            change(&mut altered);
            assert_ne!(altered.computed_hash(), chain.hash, "change {number}");
        }
    }
}
