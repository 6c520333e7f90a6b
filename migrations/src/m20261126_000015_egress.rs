//! How connections to a provider are made: its proxy, and authorities of its own.

use crate::column::{flag, text_null};
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            // Without its password.
            text_null(PROXY),
            // The password, sealed.
            text_null(PASSWORD),
            flag(FALLBACK).default(false).take(),
            // PEM.
            text_null(AUTHORITY),
        ];
        // SQLite adds one column a statement.
        for column in columns {
            manager.alter_table(Table::alter().table("providers").add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [PROXY, PASSWORD, FALLBACK, AUTHORITY] {
            manager.alter_table(Table::alter().table("providers").drop_column(name).take()).await?;
        }
        Ok(())
    }
}

const PROXY: &str = "proxy_url";
const PASSWORD: &str = "sealed_proxy_password";
const FALLBACK: &str = "proxy_fallback_to_direct";
const AUTHORITY: &str = "ca_certificate";
