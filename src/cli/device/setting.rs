//! `offhook device set` and `unset`: settings of one phone alone, above those of its model and of the site.

use super::{Context, Outcome, open};
use crate::cli::output;
use crate::device::Mac;
use crate::operate::fleet::Fleet;
use crate::operate::setting::{DeviceSet, Setting};
use crate::store::Store;

pub(super) async fn set(context: &Context, store: &Store, mac: Mac, settings: &[Setting]) -> Outcome {
    let (catalog, site, files) = (open::catalog(context), open::site(context), context.places.files());
    let notes = Fleet { store, catalog: &catalog, site: &site, files: &files }.check_device(mac, settings)?;
    let device = store.set(mac, settings).await?;
    open::poke(context);
    for note in &notes {
        eprintln!("note: {note}");
    }
    if context.json {
        output::value(&DeviceSet { mac, settings: device.settings.clone(), notes });
    } else {
        output::print(&format!("{mac} has these settings at its next fetch\n"));
    }
    Ok(())
}
