//! The price catalogue: the bundled table, and manual rows that win over it.
//!
//! An entry is kept as its raw text in LiteLLM's field names, so that numbers keep their notation and fields of
//! tomorrow survive; [`shared::rules::pricing`] reads it. A manual entry is held to the fields that are
//! understood: a misspelt price must not become a price of nothing.

mod seed;

pub use seed::refresh_seed;

use super::change::{Change, Entry};
use super::check::Violations;
use super::{Actor, Admin, Changed, IfMatch};
use crate::error::{Error, Resource, Violation};
use crate::repo::Rows;
use crate::repo::catalogue::{self, PriceFilter, PriceSource};
use crate::repo::entity::model_prices::Model;
use serde_json::{Map, Value, json};
use shared::ids::Revision;
use shared::model::price::ModelPrice;
use shared::money::PicoUsd;
use shared::rules::pricing::parse_litellm;
use shared::time::UnixMillis;

/// A price in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The model's name.
    pub model: String,
    /// Where the price comes from.
    pub source: PriceSource,
    /// The entry, prices as decimal texts.
    pub prices: Map<String, Value>,
    /// The configuration revision of its last change; its ETag.
    pub revision: Revision,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// The price in force for a model.
pub async fn read(admin: Admin, model: String) -> Result<Price, Error> {
    price(&found(admin.db().reader(), &model).await?)
}

/// Prices in force, by model name.
pub async fn list(admin: Admin, filter: PriceFilter, limit: u64) -> Result<Rows<Price>, Error> {
    let rows = catalogue::prices(admin.db().reader(), &filter, limit).await?;
    let items = rows.items.iter().map(price).collect::<Result<_, _>>()?;
    Ok(Rows { items, has_more: rows.has_more })
}

/// Sets the manual price of a model.
pub async fn put(
    admin: Admin,
    actor: Actor,
    model: String,
    if_match: IfMatch,
    prices: Map<String, Value>,
) -> Result<Changed<Price>, Error> {
    check(&model, &prices)?;
    let change = Change::begin(&admin, &actor).await?;
    let in_force = catalogue::price(&change.tx, &model).await?;
    if let Some(row) = &in_force {
        if_match.check(revision(row))?;
    } else if if_match != IfMatch::Any {
        return Err(Error::RevisionMismatch);
    }
    let before = catalogue::price_of(&change.tx, &model, PriceSource::Manual).await?;
    let text = Value::Object(prices).to_string();
    if let Some(row) = before.as_ref().filter(|row| row.prices == text) {
        let unchanged = price(row)?;
        return change.nothing(unchanged).await;
    }
    let row = Model {
        model: model.clone(),
        source: PriceSource::Manual.as_str().to_owned(),
        prices: text,
        revision: change.revision_column(),
        created_at_ms: before.as_ref().map_or(change.now.0, |row| row.created_at_ms),
        updated_at_ms: change.now.0,
    };
    catalogue::put_price(&change.tx, row.clone()).await?;
    let entry = entry("put", &model, before.as_ref().map(audited), Some(audited(&row)));
    change.commit(price(&row)?, entry).await
}

/// Removes the manual price of a model; the bundled one, where there is one, is in force again.
pub async fn delete(
    admin: Admin,
    actor: Actor,
    model: String,
    if_match: IfMatch,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let manual = catalogue::price_of(&change.tx, &model, PriceSource::Manual).await?;
    let row = manual.ok_or(Error::NotFound(Resource::ModelPrice))?;
    if_match.check(revision(&row))?;
    catalogue::delete_price(&change.tx, &model, PriceSource::Manual).await?;
    change.commit((), entry("delete", &model, Some(audited(&row)), None)).await
}

/// A row as it is published.
pub(super) fn published(row: &Model) -> Result<ModelPrice, Error> {
    parse_litellm(&row.prices).map_err(|_| corrupt(row))
}

async fn found(db: &impl sea_orm::ConnectionTrait, model: &str) -> Result<Model, Error> {
    catalogue::price(db, model).await?.ok_or(Error::NotFound(Resource::ModelPrice))
}

fn price(row: &Model) -> Result<Price, Error> {
    let raw: Map<String, Value> = serde_json::from_str(&row.prices).map_err(|_| corrupt(row))?;
    let prices = raw.into_iter().map(|(field, value)| {
        let value = if field.contains("cost") { as_decimal(value) } else { value };
        (field, value)
    });
    Ok(Price {
        model: row.model.clone(),
        source: if row.source == PriceSource::Manual.as_str() {
            PriceSource::Manual
        } else {
            PriceSource::Seed
        },
        prices: prices.collect(),
        revision: revision(row),
        created_at: UnixMillis(row.created_at_ms),
        updated_at: UnixMillis(row.updated_at_ms),
    })
}

/// Money is a decimal text in this API, also inside an entry.
fn as_decimal(value: Value) -> Value {
    match value {
        Value::Number(n) => match PicoUsd::parse_usd(&n.to_string()) {
            Ok(price) => Value::String(price.to_usd()),
            Err(_) => Value::Number(n),
        },
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(k, v)| (k, as_decimal(v))).collect()),
        other => other,
    }
}

fn check(model: &str, prices: &Map<String, Value>) -> Result<(), Error> {
    let mut v = Violations::default();
    v.text("model", model, 1..=255);
    v.require(!prices.is_empty(), "prices", "must name at least one price");
    v.finish()?;
    let unknown = prices.keys().filter(|field| !is_understood(field));
    let mut violations: Vec<Violation> =
        unknown.map(|f| Violation::new(format!("prices.{f}"), "unknown field")).collect();
    if let Err(error) = parse_litellm(&Value::Object(prices.clone()).to_string()) {
        violations.push(Violation::new("prices", error.to_string()));
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

/// True for what the reader bills by, and for what describes a model.
fn is_understood(field: &str) -> bool {
    let is_read = parse_litellm(&json!({ field: 1 }).to_string()).is_ok_and(|p| p != ModelPrice::default());
    is_read || DESCRIPTIVE.contains(&field) || field.starts_with("supports_")
}

fn revision(row: &Model) -> Revision {
    Revision(row.revision.cast_unsigned())
}

fn corrupt(row: &Model) -> Error {
    Error::Corrupt { resource: Resource::ModelPrice, id: row.model.clone(), column: "prices" }
}

fn audited(row: &Model) -> Value {
    json!({ "prices": serde_json::from_str::<Value>(&row.prices).unwrap_or_default() })
}

fn entry(verb: &'static str, model: &str, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::ModelPrice, id: model.to_owned(), before, after }
}

/// Fields of the bundled table that say what a model is, not what it costs.
const DESCRIPTIVE: [&str; 9] = [
    "deprecation_date",
    "litellm_provider",
    "max_tokens",
    "metadata",
    "mode",
    "provider_specific_entry",
    "search_context_cost_per_query",
    "source",
    "tpm",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_misspelt_price_is_named_not_ignored() {
        let prices = object(json!({ "input_cost_per_token": "0.000003", "output_cost_per_tokn": 1 }));
        let Err(Error::Invalid(violations)) = check("m", &prices) else { panic!("accepted") };
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "prices.output_cost_per_tokn");
    }

    #[test]
    fn every_kind_of_price_that_is_billed_may_be_set_by_hand() {
        for field in [
            "input_cost_per_token",
            "output_cost_per_token_priority",
            "cache_creation_input_token_cost_above_1hr",
            "input_cost_per_token_above_200k_tokens",
            "input_cost_per_request",
            "max_input_tokens",
        ] {
            assert!(is_understood(field), "{field}");
        }
        assert!(check("m", &object(json!({ "input_cost_per_token": -1 }))).is_err());
        assert!(check("m", &Map::new()).is_err());
    }

    #[test]
    fn money_inside_an_entry_is_decimal_text() {
        let nested = as_decimal(json!({ "search_context_size_low": 0.01 }));
        assert_eq!(nested, json!({ "search_context_size_low": "0.01" }));
        assert_eq!(as_decimal(json!(3e-6)), json!("0.000003"));
    }
}
