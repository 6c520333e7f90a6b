//! Queries on the price catalogue and the settings row.

use super::Rows;
use super::contains_pattern;
use super::entity::{model_prices, settings};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, LikeExpr, OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use std::collections::BTreeMap;

/// Where a price comes from. A manual row wins over the bundled one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceSource {
    /// The bundled table.
    Seed,
    /// An admin.
    Manual,
}

impl PriceSource {
    /// The name in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Manual => "manual",
        }
    }
}

/// Which prices are listed.
#[derive(Clone, Debug, Default)]
pub struct PriceFilter {
    /// A part of the model's name, without case.
    pub model_has: Option<String>,
    /// Only those in force from this source.
    pub source: Option<PriceSource>,
    /// Only names after this one.
    pub after: String,
}

/// The prices in force, by model name: the manual row where there is one.
pub async fn prices(
    db: &impl ConnectionTrait,
    filter: &PriceFilter,
    limit: u64,
) -> Result<Rows<model_prices::Model>, DbErr> {
    let mut query = in_force()
        .filter(model_prices::Column::Model.gt(filter.after.as_str()))
        .order_by_asc(model_prices::Column::Model)
        .limit(limit + 1);
    if let Some(text) = &filter.model_has {
        let pattern = LikeExpr::new(contains_pattern(text)).escape('\\');
        query = query.filter(Expr::expr(Func::lower(Expr::col(model_prices::Column::Model))).like(pattern));
    }
    if let Some(source) = filter.source {
        query = query.filter(model_prices::Column::Source.eq(source.as_str()));
    }
    Ok(Rows::cut(query.all(db).await?, limit))
}

/// All prices in force.
pub async fn all_prices(db: &impl ConnectionTrait) -> Result<Vec<model_prices::Model>, DbErr> {
    in_force().all(db).await
}

/// The price in force for a model.
pub async fn price(db: &impl ConnectionTrait, model: &str) -> Result<Option<model_prices::Model>, DbErr> {
    in_force().filter(model_prices::Column::Model.eq(model)).one(db).await
}

/// The row of one source.
pub async fn price_of(
    db: &impl ConnectionTrait,
    model: &str,
    source: PriceSource,
) -> Result<Option<model_prices::Model>, DbErr> {
    model_prices::Entity::find_by_id((model.to_owned(), source.as_str().to_owned())).one(db).await
}

/// Writes a price, new or not.
pub async fn put_price(db: &impl ConnectionTrait, row: model_prices::Model) -> Result<(), DbErr> {
    put_prices(db, vec![row]).await
}

/// Writes prices, new or not.
pub async fn put_prices(db: &impl ConnectionTrait, rows: Vec<model_prices::Model>) -> Result<(), DbErr> {
    use model_prices::Column::{Model, Prices, Revision, Source, UpdatedAtMs};
    // 6 columns a row; SQLite takes 32 766 parameters.
    for chunk in rows.chunks(1_000) {
        let rows = chunk.iter().cloned().map(sea_orm::IntoActiveModel::into_active_model);
        let conflict =
            OnConflict::columns([Model, Source]).update_columns([Prices, Revision, UpdatedAtMs]).to_owned();
        model_prices::Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Removes the row of one source.
pub async fn delete_price(db: &impl ConnectionTrait, model: &str, source: PriceSource) -> Result<(), DbErr> {
    let id = (model.to_owned(), source.as_str().to_owned());
    model_prices::Entity::delete_by_id(id).exec(db).await.map(|_| ())
}

/// The bundled rows as they are stored, by model.
pub async fn seed_rows(db: &impl ConnectionTrait) -> Result<BTreeMap<String, model_prices::Model>, DbErr> {
    let rows = model_prices::Entity::find()
        .filter(model_prices::Column::Source.eq(PriceSource::Seed.as_str()))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.model.clone(), row)).collect())
}

/// The settings row.
pub async fn settings(db: &impl ConnectionTrait) -> Result<settings::Model, DbErr> {
    let row = settings::Entity::find_by_id(SETTINGS_ROW).one(db).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("settings".to_owned()))
}

/// Writes the changed columns of the settings row.
pub async fn update_settings(
    db: &impl ConnectionTrait,
    mut row: settings::ActiveModel,
) -> Result<settings::Model, DbErr> {
    row.id = Set(SETTINGS_ROW);
    row.update(db).await
}

fn in_force() -> sea_orm::Select<model_prices::Entity> {
    // A bundled row counts only where no manual one has its name.
    let manual = Alias::new("manual");
    let overridden = Query::select()
        .expr(Expr::val(1))
        .from_as(model_prices::Entity, manual.clone())
        .and_where(
            Expr::col((manual.clone(), model_prices::Column::Model))
                .equals((model_prices::Entity, model_prices::Column::Model)),
        )
        .and_where(Expr::col((manual, model_prices::Column::Source)).eq(PriceSource::Manual.as_str()))
        .take();
    model_prices::Entity::find().filter(
        model_prices::Column::Source.eq(PriceSource::Manual.as_str()).or(Expr::exists(overridden).not()),
    )
}

const SETTINGS_ROW: i64 = 1;
