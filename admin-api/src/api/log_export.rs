//! `/api/v1/logs/export`: the request log as a table for spreadsheets.
//!
//! Written while it is read: a page of rows is in memory, however many there are. What fails before the first row is a
//! problem document; what fails later breaks the answer off, so that no half table looks like a whole one.

use super::types::Moment;
use crate::error::Error;
use crate::extract::Params;
use crate::repo::entity::request_log::Model;
use crate::repo::logs::{self, LogFilter};
use crate::service::{Actor, Admin};
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpResponse, get};
use futures::stream::try_unfold;
use serde::Deserialize;
use shared::money::NanoUsd;
use shared::rules::spreadsheet::inert;
use shared::time::UnixMillis;
use std::borrow::Cow;
use utoipa::IntoParams;

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogExport {
    user_id: Option<i64>,
    key_id: Option<i64>,
    /// The provider whose answer the seat got.
    provider_id: Option<i64>,
    /// The model the seat asked for, in full.
    model: Option<String>,
    /// The HTTP status the seat saw.
    status: Option<u16>,
    session_id: Option<String>,
    /// Why the request was refused here, e.g. `model_not_allowed`; `warmup`: it was answered here.
    blocked_by: Option<String>,
    /// From this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Moment>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Moment>,
}

/// Exports requests as CSV (RFC 4180, UTF-8, a header line), newest first.
///
/// All that fit the filter, however many. Names that a seat or provider has chosen and that begin like a formula
/// (`=`, `+`, `-`, `@`) have an apostrophe before them. An answer that breaks off before its end is not whole. Decision
/// chains are at `/logs/{id}`.
#[utoipa::path(
    tag = "logs",
    params(LogExport),
    responses((status = 200, content_type = "text/csv", body = String))
)]
#[get("/api/v1/logs/export")]
pub async fn export_logs(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<LogExport>,
) -> Result<HttpResponse, Error> {
    let params = params.0;
    let filter = LogFilter {
        user_id: params.user_id,
        key_id: params.key_id,
        provider_id: params.provider_id,
        model: params.model,
        status: params.status.map(i32::from),
        session_id: params.session_id,
        blocked_by: params.blocked_by,
        from_ms: params.from.map(|m| m.0.0),
        to_ms: params.to.map(|m| m.0.0),
        before: None,
    };
    let mut export = Export { admin: Admin::clone(&admin), filter, is_done: false };
    let mut head = csv_writer();
    head.write_record(COLUMNS.map(|(name, _)| name)).map_err(|_| Error::Broken)?;
    let mut first = head.into_inner().map_err(|_| Error::Broken)?;
    first.extend(export.page().await?.unwrap_or_default());
    let body = try_unfold((export, Some(Bytes::from(first))), |(mut export, first)| async move {
        let piece = match first {
            Some(piece) => Some(piece),
            None => export.page().await.inspect_err(|error| {
                tracing::warn!(%error, "an export of the request log broke off");
            })?,
        };
        Ok::<_, Error>(piece.map(|piece| (piece, (export, None))))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8; header=present"))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"request-log.csv\""))
        .streaming(body))
}

/// An export under way.
struct Export {
    admin: Admin,
    filter: LogFilter,
    is_done: bool,
}

impl Export {
    /// The next page as lines; `None` after the last one.
    async fn page(&mut self) -> Result<Option<Bytes>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let filter = self.filter.clone();
        let read = |admin: Admin| async move {
            Ok(logs::requests(admin.db().reader(), &filter, ROWS_PER_PAGE).await?)
        };
        let rows = self.admin.run(read).await?;
        self.is_done = !rows.has_more;
        self.filter.before = rows.items.last().map(|row| (row.created_at_ms, row.id.clone()));
        let mut lines = csv_writer();
        for row in &rows.items {
            let cells = COLUMNS.map(|(_, cell)| cell(row));
            lines.write_record(cells.iter().map(|cell| cell.as_bytes())).map_err(|_| Error::Broken)?;
        }
        Ok(Some(lines.into_inner().map_err(|_| Error::Broken)?.into()))
    }
}

fn csv_writer() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new())
}

/// Text of somebody else's.
fn text(text: &str) -> Cow<'_, str> {
    inert(text)
}

fn text_option(value: Option<&String>) -> Cow<'_, str> {
    value.map_or(Cow::Borrowed(""), |value| text(value))
}

/// A number, a moment, yes or no: ours, and no formula.
fn plain<'a>(value: impl ToString) -> Cow<'a, str> {
    value.to_string().into()
}

fn plain_option<'a>(value: Option<impl ToString>) -> Cow<'a, str> {
    value.map_or(Cow::Borrowed(""), plain)
}

type Column = (&'static str, for<'a> fn(&'a Model) -> Cow<'a, str>);

/// What a line has, under the names of the API.
const COLUMNS: [Column; 34] = [
    ("id", |row| plain(&row.id)),
    ("created_at", |row| plain(UnixMillis(row.created_at_ms))),
    ("user_id", |row| plain(row.user_id)),
    ("key_id", |row| plain(row.key_id)),
    ("provider_id", |row| plain_option(row.provider_id)),
    ("endpoint", |row| text(&row.endpoint)),
    ("model", |row| text_option(row.model.as_ref())),
    ("upstream_model", |row| text_option(row.upstream_model.as_ref())),
    ("is_stream", |row| plain(row.is_stream)),
    ("status", |row| plain(row.status)),
    ("blocked_by", |row| text_option(row.blocked_by.as_ref())),
    ("error", |row| text_option(row.error.as_ref())),
    ("stop_reason", |row| text_option(row.stop_reason.as_ref())),
    ("input_tokens", |row| plain(row.input_tokens)),
    ("cache_write_5m_tokens", |row| plain(row.cache_write_5m_tokens)),
    ("cache_write_1h_tokens", |row| plain(row.cache_write_1h_tokens)),
    ("cache_read_tokens", |row| plain(row.cache_read_tokens)),
    ("output_tokens", |row| plain(row.output_tokens)),
    ("reasoning_tokens", |row| plain(row.reasoning_tokens)),
    ("image_input_tokens", |row| plain(row.image_input_tokens)),
    ("image_output_tokens", |row| plain(row.image_output_tokens)),
    ("web_search_requests", |row| plain(row.web_search_requests)),
    ("cost_usd", |row| plain(NanoUsd(row.cost_nano_usd).to_usd())),
    ("is_estimate", |row| plain(row.is_estimate)),
    ("is_unpriced", |row| plain(row.is_unpriced)),
    ("first_byte_ms", |row| plain_option(row.first_byte_ms)),
    ("first_content_ms", |row| plain_option(row.first_content_ms)),
    ("duration_ms", |row| plain(row.duration_ms)),
    ("attempts", |row| plain(row.attempts)),
    ("session_id", |row| text_option(row.session_id.as_ref())),
    ("message_count", |row| plain_option(row.message_count)),
    ("client_ip", |row| text_option(row.client_ip.as_ref())),
    ("client", |row| text_option(row.client.as_ref())),
    ("upstream_request_id", |row| text_option(row.upstream_request_id.as_ref())),
];

/// Half a megabyte, and few enough to be read far within the deadline.
const ROWS_PER_PAGE: u64 = 500;
