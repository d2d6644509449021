//! Reads the whole chain and says where it breaks first. The check itself reads nothing but the rows that it is given.
//!
//! Whoever can write the database can write a whole new chain with a head that fits. What he cannot change is what
//! was written elsewhere: the agent's mark ([`crate::store::MarkFile`]), and exports.

use super::chain::Record;
use super::{Ends, ends, records};
use crate::store::{Mark, Store, StoreError};

/// Rows that are read at once.
const PAGE_ROWS: i64 = 4_000;
/// How far from its place a row is looked for that was written at another.
const MOVED_MAX: i64 = 20_000;

/// What became of the chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Rows that follow from each other.
    pub rows: i64,
    /// Rows from before the chain; nothing can be said about them.
    pub unchained: i64,
    /// Up to this row everything was removed after its time, or was never chained; 0: nothing.
    pub after: i64,
    /// The last row that is proved.
    pub last: i64,
    /// Its hash.
    pub hash: String,
    /// Whether the agent's mark was there to compare with.
    pub marked: bool,
    /// The first row that is not as it was written.
    pub broken: Option<Broken>,
}

/// The first row that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Broken {
    /// Which row, or the number that one should have.
    pub seq: i64,
    /// What was done to it.
    pub what: Damage,
    /// The same as a sentence.
    pub message: String,
}

/// What was done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// It says something else than when it was written.
    Changed,
    /// It is gone, and later ones are there.
    Missing,
    /// It stands where another one was written.
    Reordered,
    /// It was not written by an offhook.
    Inserted,
    /// It is gone with all that followed.
    CutOff,
}

impl Store {
    /// Follows the chain from its beginning to the head, and to what the agent's mark says of it.
    pub async fn verify_audit(&self, mark: Option<&Mark>) -> Result<Verified, StoreError> {
        let mut snapshot = self.inner.db.snapshot().await?;
        let ends = ends(&mut snapshot).await?;
        let mark = mark.filter(|mark| mark.database == ends.database);
        let mut check = Check::new(ends, mark.map(|mark| (mark.seq, mark.hash.clone())));
        let mut after = i64::MIN;
        loop {
            let page = records(&mut snapshot, after, PAGE_ROWS).await?;
            let Some(last) = page.last() else { return Ok(check.finish()) };
            after = last.seq;
            for record in &page {
                if let Err(broken) = check.follow(record) {
                    return Ok(Verified { broken: Some(broken), ..check.verified });
                }
            }
        }
    }
}

/// The check of a chain, row by row.
struct Check {
    ends: Ends,
    mark: Option<(i64, String)>,
    verified: Verified,
}

impl Check {
    fn new(ends: Ends, mark: Option<(i64, String)>) -> Self {
        let verified = Verified {
            rows: 0,
            unchained: 0,
            after: ends.anchor_seq,
            last: ends.anchor_seq,
            hash: ends.anchor_hash.clone(),
            marked: mark.is_some(),
            broken: None,
        };
        Self { ends, mark, verified }
    }

    fn follow(&mut self, record: &Record) -> Result<(), Broken> {
        let (seq, last) = (record.seq, self.verified.last);
        let Some(hash) = &record.hash else {
            if seq > self.ends.anchor_seq {
                return Err(broken(seq, Damage::Inserted, format!("row {seq} has no hash")));
            }
            self.verified.unchained += 1;
            return Ok(());
        };
        if seq <= last {
            return Err(broken(
                seq,
                Damage::Inserted,
                format!("row {seq} stands before the beginning of the chain, which is after row {last}"),
            ));
        }
        if seq > self.ends.seq {
            return Err(broken(
                seq,
                Damage::Inserted,
                format!("row {seq} stands after the end of the chain, which is row {}", self.ends.seq),
            ));
        }
        if seq > last + 1 {
            let gone = if seq == last + 2 {
                format!("row {} is gone", last + 1)
            } else {
                format!("rows {} to {} are gone", last + 1, seq - 1)
            };
            return Err(broken(last + 1, Damage::Missing, gone));
        }
        self.fits(record)?;
        self.agrees_with_mark(seq, hash)?;
        self.verified.rows += 1;
        self.verified.last = seq;
        self.verified.hash.clone_from(hash);
        Ok(())
    }

    /// Whether a row in its place is the one that was written there.
    fn fits(&self, record: &Record) -> Result<(), Broken> {
        let (seq, last) = (record.seq, self.verified.last);
        let follows = record.prev_hash.as_deref() == Some(&self.verified.hash);
        let sound = record.hash.as_deref() == Some(&record.computed_hash());
        match (follows, sound) {
            (true, true) => Ok(()),
            (true, false) => {
                Err(broken(seq, Damage::Changed, format!("row {seq} says something else than its hash")))
            }
            (false, true) if last > self.ends.anchor_seq => Err(broken(
                last,
                Damage::Changed,
                format!("row {last} is not the one that row {seq} was written after: it was hashed anew"),
            )),
            (false, true) => Err(broken(
                seq,
                Damage::Changed,
                format!("row {seq} does not follow from the beginning of the chain that the head names"),
            )),
            (false, false) => Err(match written_as(record) {
                Some(place) if place > seq => broken(
                    seq,
                    Damage::Reordered,
                    format!("row {seq} is the one that was written as row {place}"),
                ),
                Some(place) => broken(
                    place,
                    Damage::Inserted,
                    format!("row {seq} is the one that was written as row {place}, where another one stands"),
                ),
                None => broken(
                    seq,
                    Damage::Inserted,
                    format!("row {seq} neither follows from row {last} nor fits its own hash"),
                ),
            }),
        }
    }

    /// The mark lies where whoever changes the database does not reach.
    fn agrees_with_mark(&self, seq: i64, hash: &str) -> Result<(), Broken> {
        match &self.mark {
            Some((marked, expected)) if *marked == seq && expected != hash => Err(broken(
                seq,
                Damage::Changed,
                format!("row {seq} is not the one that the agent wrote down in its mark"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn finish(mut self) -> Verified {
        let (last, end) = (self.verified.last, self.ends.seq);
        let marked = self.mark.as_ref().map_or(0, |(seq, _)| *seq);
        self.verified.broken = if last < end {
            Some(broken(
                last + 1,
                Damage::CutOff,
                format!("the chain ends with row {last}, and the head says row {end}"),
            ))
        } else if last < marked {
            Some(broken(
                last + 1,
                Damage::CutOff,
                format!("the chain ends with row {last}, and the agent wrote down row {marked} in its mark"),
            ))
        } else if self.verified.hash != self.ends.hash {
            Some(broken(
                last,
                Damage::Changed,
                format!("row {last} is not the one that the head names: it was hashed anew"),
            ))
        } else {
            None
        };
        self.verified
    }
}

fn broken(seq: i64, what: Damage, message: String) -> Broken {
    Broken { seq, what, message }
}

/// The place near its own that a row's hash fits.
fn written_as(record: &Record) -> Option<i64> {
    let mut moved = record.clone();
    (1..=MOVED_MAX).flat_map(|by| [record.seq + by, record.seq - by]).find(|seq| {
        moved.seq = *seq;
        record.hash.as_deref() == Some(&moved.computed_hash())
    })
}
