//! In whose hands journals are, as it is kept from look to look. Several admin-apis write what they see: each row by itself, and
//! what was written twice says the same.

use super::entity::budget_journals::{Column, Entity, Model};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter};
use shared::ids::JournalId;
use shared::rules::quota::custody::{Journals, Kept};
use shared::time::UnixMillis;
use std::collections::BTreeMap;

/// All that are known: those of the gateways that are there, and of those that have just gone.
pub async fn all(db: &impl ConnectionTrait) -> Result<Journals, DbErr> {
    let row = |Model { journal_id, root, missing_since_ms }: Model| {
        // What is no id was not written by us.
        let kept = Kept { root, missing_since: missing_since_ms.map(UnixMillis) };
        Some((journal_id.parse().ok()?, kept))
    };
    Ok(Entity::find().all(db).await?.into_iter().filter_map(row).collect())
}

/// Keeps these, and forgets those of which nothing is to be kept any more.
pub async fn keep(
    db: &impl ConnectionTrait,
    changes: &BTreeMap<JournalId, Option<Kept>>,
) -> Result<(), DbErr> {
    let gone: Vec<String> =
        changes.iter().filter(|(_, kept)| kept.is_none()).map(|(id, _)| id.to_string()).collect();
    if !gone.is_empty() {
        Entity::delete_many().filter(Column::JournalId.is_in(gone)).exec(db).await?;
    }
    let rows: Vec<_> = changes
        .iter()
        .filter_map(|(id, kept)| {
            let Kept { root, missing_since } = kept.clone()?;
            let missing_since_ms = missing_since.map(|at| at.0);
            Some(Model { journal_id: id.to_string(), root, missing_since_ms }.into_active_model())
        })
        .collect();
    if !rows.is_empty() {
        let conflict = OnConflict::column(Column::JournalId)
            .update_columns([Column::Root, Column::MissingSinceMs])
            .to_owned();
        Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(db).await?;
    }
    Ok(())
}
