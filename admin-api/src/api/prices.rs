//! `/api/v1/model-prices`

use super::types::{Moment, Page, decode_cursor, page_limit};
use super::{changed, deleted, found};
use crate::error::Error;
use crate::extract::{Body, Params};
use crate::repo::catalogue::{PriceFilter, PriceSource};
use crate::service::prices::Price;
use crate::service::{Actor, Admin, IfMatch, prices};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, put};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Where a price comes from.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceSourceName {
    /// The bundled table.
    Seed,
    /// Set here; wins over the bundled table.
    Manual,
}

impl From<PriceSourceName> for PriceSource {
    fn from(name: PriceSourceName) -> Self {
        match name {
            PriceSourceName::Seed => Self::Seed,
            PriceSourceName::Manual => Self::Manual,
        }
    }
}

/// The manual price of a model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPricePut {
    /// LiteLLM's field names; prices in USD per token as decimal text (numbers are accepted).
    #[schema(
        value_type = Object,
        example = json!({ "input_cost_per_token": "0.000003", "output_cost_per_token": "0.000015" })
    )]
    prices: Map<String, Value>,
}

/// The price in force of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelPrice)]
pub struct ModelPriceDocument {
    model: String,
    source: PriceSourceName,
    /// LiteLLM's field names; prices in USD per token as decimal text.
    #[schema(value_type = Object)]
    prices: Map<String, Value>,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    created_at: Moment,
    updated_at: Moment,
}

impl From<Price> for ModelPriceDocument {
    fn from(price: Price) -> Self {
        Self {
            model: price.model,
            source: match price.source {
                PriceSource::Seed => PriceSourceName::Seed,
                PriceSource::Manual => PriceSourceName::Manual,
            },
            prices: price.prices,
            revision: price.revision.0,
            created_at: Moment(price.created_at),
            updated_at: Moment(price.updated_at),
        }
    }
}

/// Which prices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ModelPriceList {
    /// A part of the model's name, without case.
    q: Option<String>,
    /// Only prices from this source.
    #[param(inline)]
    source: Option<PriceSourceName>,
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the prices in force by model name.
#[utoipa::path(
    tag = "model-prices",
    params(ModelPriceList),
    responses((status = 200, body = Page<ModelPriceDocument>))
)]
#[get("/api/v1/model-prices")]
pub async fn list_model_prices(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<ModelPriceList>,
) -> Result<Json<Page<ModelPriceDocument>>, Error> {
    let limit = page_limit(params.0.limit)?;
    let filter = PriceFilter {
        model_has: params.0.q,
        source: params.0.source.map(Into::into),
        after: decode_cursor(params.0.cursor.as_deref())?.unwrap_or_default(),
    };
    let rows = admin.run(|admin| prices::list(admin, filter, limit)).await?;
    Ok(Json(Page::of(rows, |price| price.model.clone(), ModelPriceDocument::from)))
}

/// Shows the price in force of a model.
#[utoipa::path(
    tag = "model-prices",
    params(("model" = String, Path, description = "May hold slashes")),
    responses((status = 200, body = ModelPriceDocument))
)]
#[get("/api/v1/model-prices/{model:.+}")]
pub async fn read_model_price(
    admin: Data<Admin>,
    _actor: Actor,
    model: Path<String>,
) -> Result<HttpResponse, Error> {
    let price = admin.run(|admin| prices::read(admin, model.into_inner())).await?;
    let etag = price.revision;
    Ok(found(ModelPriceDocument::from(price), etag))
}

/// Sets the manual price of a model, new or not. It replaces the bundled entry as a whole.
#[utoipa::path(
    tag = "model-prices",
    params(("model" = String, Path, description = "May hold slashes")),
    request_body = ModelPricePut,
    responses((status = 200, body = ModelPriceDocument))
)]
#[put("/api/v1/model-prices/{model:.+}")]
pub async fn put_model_price(
    admin: Data<Admin>,
    actor: Actor,
    model: Path<String>,
    if_match: IfMatch,
    body: Body<ModelPricePut>,
) -> Result<HttpResponse, Error> {
    let model = model.into_inner();
    let done = admin.run(|admin| prices::put(admin, actor, model, if_match, body.0.prices)).await?;
    let etag = done.value.revision;
    Ok(changed(&admin, done.revision, etag, ModelPriceDocument::from(done.value)).await)
}

/// Removes the manual price of a model; the bundled one is in force again, where there is one.
#[utoipa::path(
    tag = "model-prices",
    params(("model" = String, Path, description = "May hold slashes")),
    responses((status = 204))
)]
#[delete("/api/v1/model-prices/{model:.+}")]
pub async fn delete_model_price(
    admin: Data<Admin>,
    actor: Actor,
    model: Path<String>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let done = admin.run(|admin| prices::delete(admin, actor, model.into_inner(), if_match)).await?;
    Ok(deleted(&admin, done.revision).await)
}
