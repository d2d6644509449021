//! What each phone fetched last, as `offhook plan` compares it: the text of each of its files with every password masked,
//! some 6 KB a file. A text that several phones have is there once; one that no phone has any more goes. The text and not
//! its digest alone, because a rendering of an earlier time cannot be made again: the profiles, the accounts and the
//! program itself may be others by then. Written behind the phones' backs, and only when it is another one.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::Store;
use super::error::{StoreError, failed};
use super::load;
use super::write::{Cell, insert_rows};
use crate::clock::Timestamp;
use crate::device::Mac;
use crate::hex::hex;

/// Of a longer text only the digest is kept. The longest real file, with three expansion modules, has half of it.
const TEXT_BYTES_MAX: usize = 64 * 1024;
const WRITE: &str = "write what was fetched";
const READ: &str = "read what was fetched";

/// A file that a phone has fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedRow {
    /// Which phone.
    pub mac: Mac,
    /// Its name, in small letters.
    pub file: String,
    /// This host as the phone sees it.
    pub host: String,
    /// The URL that stands in its files.
    pub base: String,
    /// When.
    pub at: Timestamp,
    /// With every password masked.
    pub text: String,
}

/// A file that a phone has, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// Its name, in small letters.
    pub file: String,
    /// This host as the phone sees it.
    pub host: String,
    /// The URL that stands in its files.
    pub base: String,
    /// When it first had this text.
    pub at: Timestamp,
    /// With every password masked; `None` of a very long one.
    pub text: Option<String>,
    digest: String,
}

impl FetchedFile {
    /// Whether it is this text.
    pub fn is(&self, text: &str) -> bool {
        self.digest == digest(text)
    }
}

impl Store {
    /// Writes down what phones of the inventory have fetched; of one name the last.
    pub async fn keep_fetched(&self, fetched: &[FetchedRow]) -> Result<(), StoreError> {
        let mut texts: BTreeMap<String, &str> = BTreeMap::new();
        let mut files: BTreeMap<(Mac, &str), Vec<Cell>> = BTreeMap::new();
        let known = |mac: Mac| self.inventory().device(mac).is_some();
        for row in fetched.iter().filter(|row| known(row.mac)) {
            let digest = digest(&row.text);
            if row.text.len() <= TEXT_BYTES_MAX {
                texts.insert(digest.clone(), &row.text);
            }
            let cells = vec![
                Cell::Text(load::key(row.mac)),
                Cell::text(row.file.as_str()),
                Cell::text(row.host.as_str()),
                Cell::text(row.base.as_str()),
                Cell::Number(row.at.0),
                Cell::Text(digest),
            ];
            files.insert((row.mac, &row.file), cells);
        }
        if files.is_empty() {
            return Ok(());
        }
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        let texts = texts.into_iter().map(|(digest, text)| vec![Cell::Text(digest), Cell::text(text)]);
        let keep = "ON CONFLICT (digest) DO NOTHING";
        let into = "fetched_text (digest, body)";
        insert_rows(&mut transaction, WRITE, into, texts.collect(), keep).await?;
        insert_rows(
            &mut transaction,
            WRITE,
            "fetched (mac, file, host, base, at_ms, digest)",
            files.into_values().collect(),
            "ON CONFLICT (mac, file) DO UPDATE SET host = excluded.host, base = excluded.base, \
             at_ms = CASE WHEN excluded.digest = fetched.digest THEN fetched.at_ms ELSE excluded.at_ms END, \
             digest = excluded.digest",
        )
        .await?;
        transaction.commit().await.map_err(failed(WRITE))
    }

    /// The files that a phone has, as far as is known, by name.
    pub async fn fetched(&self, mac: Mac) -> Result<Vec<FetchedFile>, StoreError> {
        type Row = (String, String, String, i64, String, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT f.file, f.host, f.base, f.at_ms, f.digest, t.body FROM fetched f \
             LEFT JOIN fetched_text t ON t.digest = f.digest WHERE f.mac = $1 ORDER BY f.file",
        )
        .bind(load::key(mac))
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed(READ))?;
        let file = |(file, host, base, at, digest, text)| FetchedFile {
            file,
            host,
            base,
            at: Timestamp(at),
            text,
            digest,
        };
        Ok(rows.into_iter().map(file).collect())
    }

    /// Removes texts that no phone has any more.
    pub async fn prune_fetched(&self) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        sqlx::query("DELETE FROM fetched_text WHERE digest NOT IN (SELECT digest FROM fetched)")
            .execute(&mut *transaction)
            .await
            .map_err(failed(WRITE))?;
        transaction.commit().await.map_err(failed(WRITE))
    }
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, mac, on_both, sheet};
    use super::*;
    use crate::store::ImportOptions;

    fn row(last: u32, file: &str, at: i64, text: &str) -> FetchedRow {
        let [file, host, base] = [file, "h", "http://h/"].map(str::to_owned);
        FetchedRow { mac: mac(last), file, host, base, at: Timestamp(at), text: text.to_owned() }
    }

    async fn texts(store: &Store) -> i64 {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM fetched_text")
            .fetch_one(store.inner.db.reader())
            .await
            .unwrap();
        count
    }

    on_both! {
        async fn what_a_phone_has_is_kept_once_and_forgotten_with_it(bench) {
            let store = bench.store().await;
            let phones = "mac,username\n805e00000001,101\n805e00000002,102\n";
            store.import(&sheet(phones), ImportOptions::default()).await.unwrap();
            let generation = store.inventory().generation();
            let rows = [row(1, "a", 1, "one"), row(1, "all", 1, "common"), row(2, "all", 1, "common"), row(9, "a", 1, "nobody's")];
            store.keep_fetched(&rows).await.unwrap();
            store.keep_fetched(&[row(1, "a", 2, "one"), row(1, "all", 3, "other")]).await.unwrap();
            assert_eq!(store.inventory().generation(), generation, "no file depends on it");
            let found = store.fetched(mac(1)).await.unwrap();
            let found: Vec<_> = found.iter().map(|file| (file.file.as_str(), file.at.0, file.text.as_deref())).collect();
            assert_eq!(found, [("a", 1, Some("one")), ("all", 3, Some("other"))]);
            assert!(store.fetched(mac(1)).await.unwrap()[0].is("one"));
            assert!(store.fetched(mac(9)).await.unwrap().is_empty());
            store.remove(mac(2), true).await.unwrap();
            store.prune_fetched().await.unwrap();
            assert_eq!(texts(&store).await, 2, "a text that nobody has goes");
            let long = "x".repeat(TEXT_BYTES_MAX + 1);
            store.keep_fetched(&[row(1, "a", 4, &long)]).await.unwrap();
            let found = store.fetched(mac(1)).await.unwrap().remove(0);
            assert_eq!((found.text.is_none(), found.is(&long)), (true, true));
        }
    }
}
