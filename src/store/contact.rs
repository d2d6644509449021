//! The contacts of the company directory. Importing the same again changes nothing.

use serde_json::json;

use super::Store;
use super::error::{StoreError, failed};
use super::write::{Cell, Write};
use crate::device::Contact;

impl Store {
    /// Every contact, by name.
    pub async fn contacts(&self) -> Result<Vec<Contact>, StoreError> {
        const READ: &str = "read the contacts";
        let mut transaction = self.inner.db.snapshot().await?;
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, company, number FROM contact ORDER BY name, company, place, number")
                .fetch_all(&mut *transaction)
                .await
                .map_err(failed(READ))?;
        let mut contacts: Vec<Contact> = Vec::new();
        for (name, company, number) in rows {
            match contacts.last_mut().filter(|last| last.name == name && last.company == company) {
                Some(last) => last.numbers.push(number),
                None => contacts.push(Contact { name, company, numbers: vec![number] }),
            }
        }
        Ok(contacts)
    }

    /// Adds these numbers to what is there; says how many of them were new.
    pub async fn add_contacts(&self, contacts: &[Contact]) -> Result<u64, StoreError> {
        let mut write = Write::begin(self).await?;
        let mut added = 0;
        for contact in contacts {
            for (place, number) in (0_i64..).zip(&contact.numbers) {
                let sql = "INSERT INTO contact (name, company, number, place) VALUES ($1, $2, $3, $4) \
                           ON CONFLICT (name, company, number) DO NOTHING";
                let texts = [&contact.name, &contact.company, number];
                let cells =
                    texts.map(|text| Cell::text(text.as_str())).into_iter().chain([Cell::Number(place)]);
                added += write.change("add the contact", sql, cells).await?;
            }
        }
        if added > 0 {
            // How many, not who: the record is read by more people than the directory.
            write.audit("directory_imported", None, &json!({ "numbers": added })).await?;
            write.commit().await?;
        }
        Ok(added)
    }

    /// Removes every contact; says how many numbers that were.
    pub async fn clear_contacts(&self) -> Result<u64, StoreError> {
        let mut write = Write::begin(self).await?;
        let removed = write.change("remove the contacts", "DELETE FROM contact", []).await?;
        if removed > 0 {
            write.audit("directory_cleared", None, &json!({ "numbers": removed })).await?;
            write.commit().await?;
        }
        Ok(removed)
    }
}
