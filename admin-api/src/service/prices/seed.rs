//! Keeps the bundled price table in the database: put there at the first start, refreshed when a new release
//! brings another one. Manual rows are never touched.

use crate::error::{Error, Resource};
use crate::repo::catalogue::{self, PriceSource};
use crate::repo::entity::model_prices::Model;
use crate::repo::entity::settings;
use crate::service::change::{Change, Entry};
use crate::service::{Actor, Admin, Changed};
use sea_orm::ActiveValue::Set;
use serde_json::json;
use shared::rules::pricing::{SEED, seed_entries};
use shared::secret::KeyDigest;

/// How a refresh changed the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// New or changed entries.
    pub written: usize,
    /// Entries the new table no longer has.
    pub removed: usize,
}

/// Brings the bundled rows up to date with the table of this release.
pub async fn refresh_seed(admin: Admin) -> Result<Changed<Refreshed>, Error> {
    // Any SHA-256 of the file will do; the key digest is one.
    let digest = KeyDigest::of(SEED).to_hex();
    let unchanged = Changed { value: Refreshed::default(), revision: None };
    if catalogue::settings(admin.db().reader()).await?.price_seed_digest == digest {
        return Ok(unchanged);
    }
    let corrupt =
        |_| Error::Corrupt { resource: Resource::ModelPrice, id: "seed".to_owned(), column: "file" };
    let entries = seed_entries().map_err(corrupt)?;
    let change = Change::begin(&admin, &Actor::system("price_seed")).await?;
    if catalogue::settings(&change.tx).await?.price_seed_digest == digest {
        // Another process was faster.
        return change.nothing(Refreshed::default()).await;
    }
    let old = catalogue::seed_rows(&change.tx).await?;
    let rows: Vec<Model> = entries
        .iter()
        .filter(|(model, text)| old.get(*model).is_none_or(|row| row.prices != **text))
        .map(|(model, text)| Model {
            model: model.clone(),
            source: PriceSource::Seed.as_str().to_owned(),
            prices: (*text).to_owned(),
            revision: change.revision_column(),
            created_at_ms: change.now.0,
            updated_at_ms: change.now.0,
        })
        .collect();
    let mut refreshed = Refreshed { written: rows.len(), removed: 0 };
    catalogue::put_prices(&change.tx, rows).await?;
    for model in old.keys().filter(|model| !entries.contains_key(*model)) {
        catalogue::delete_price(&change.tx, model, PriceSource::Seed).await?;
        refreshed.removed += 1;
    }
    // The settings' own revision stays: an admin's If-Match is not about this.
    let row = settings::ActiveModel { price_seed_digest: Set(digest), ..Default::default() };
    catalogue::update_settings(&change.tx, row).await?;
    let after = json!({ "written": refreshed.written, "removed": refreshed.removed });
    let entry = Entry {
        verb: "refresh_seed",
        resource: Resource::ModelPrice,
        id: "seed".to_owned(),
        before: None,
        after: Some(after),
    };
    change.commit(refreshed, entry).await
}
