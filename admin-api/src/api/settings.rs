//! `/api/v1/settings`

use super::limits::QuotaReservationName;
use super::types::{Moment, Patch, present, set};
use super::{changed, found};
use crate::error::{Error, Violation};
use crate::extract::Body;
use crate::service::settings::{AllSettings, StoredSettings, TimezoneSource};
use crate::service::{Actor, Admin, IfMatch, settings};
use actix_web::web::Data;
use actix_web::{HttpResponse, get, patch};
use serde::{Deserialize, Serialize};
use shared::model::{BillingModelSource, TierSource};
use shared::time::Zone;
use utoipa::ToSchema;

/// Which model name a redirected request is priced by.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillingModelSourceName {
    /// The model the seat asked for.
    Original,
    /// The model the provider was asked for.
    Redirected,
}

/// Whose `service_tier` decides the price.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TierSourceName {
    /// What the request asked for.
    Requested,
    /// What the response says was given.
    Actual,
}

/// Who says by which zone schedules go.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimezoneSourceName {
    /// `TZ` of the admin side, as it was last started.
    Environment,
    /// An admin.
    Setting,
}

/// What changes: absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsUpdate {
    #[serde(default, deserialize_with = "present")]
    billing_model_source: Option<BillingModelSourceName>,
    #[serde(default, deserialize_with = "present")]
    tier_billing_source: Option<TierSourceName>,
    #[serde(default, deserialize_with = "present")]
    quota_reservation: Option<QuotaReservationName>,
    #[serde(default, deserialize_with = "present")]
    intercept_anthropic_warmup_requests: Option<bool>,
    /// 0 (all stay) to 3650.
    #[serde(default, deserialize_with = "present")]
    log_retention_days: Option<u16>,
    /// An IANA name such as `Europe/Berlin`; null: what `TZ` of the admin side says.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    timezone: Patch<String>,
}

impl SettingsUpdate {
    /// The zone to be set. `None` inside: that of the environment.
    fn zone(&mut self) -> Result<Option<Option<Zone>>, Error> {
        let Some(wanted) = std::mem::take(&mut self.timezone).optional() else { return Ok(None) };
        let Some(name) = wanted else { return Ok(Some(None)) };
        let zone = Zone::parse(&name).ok_or_else(|| {
            let message = "must be the IANA name of a zone, such as Europe/Berlin";
            Error::Invalid(vec![Violation::new("timezone", message)])
        });
        zone.map(|zone| Some(Some(zone)))
    }

    fn apply(self, settings: &mut AllSettings) {
        set(&mut settings.log_retention_days, self.log_retention_days);
        let settings = &mut settings.published;
        set(
            &mut settings.billing_model_source,
            self.billing_model_source.map(|name| match name {
                BillingModelSourceName::Original => BillingModelSource::Original,
                BillingModelSourceName::Redirected => BillingModelSource::Redirected,
            }),
        );
        set(
            &mut settings.tier_billing_source,
            self.tier_billing_source.map(|name| match name {
                TierSourceName::Requested => TierSource::Requested,
                TierSourceName::Actual => TierSource::Actual,
            }),
        );
        set(&mut settings.quota_reservation, self.quota_reservation.map(Into::into));
        set(&mut settings.intercept_anthropic_warmup_requests, self.intercept_anthropic_warmup_requests);
    }
}

/// The settings of the whole installation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub struct SettingsDocument {
    billing_model_source: BillingModelSourceName,
    tier_billing_source: TierSourceName,
    /// What is put aside for a request whose user says nothing else.
    quota_reservation: QuotaReservationName,
    /// True: the gateways answer Claude Code's warm-ups (`Warmup` and nothing else) themselves, at once; no provider hears of
    /// them, they cost nothing and count towards no limit. In the log as `blocked_by` `warmup`, with status 200.
    intercept_anthropic_warmup_requests: bool,
    /// How many whole days (UTC) before today stay in the request log; 0: all. What was used and what it cost is kept in
    /// the ledger and the hourly sums however old it is.
    log_retention_days: u16,
    /// By whose clock schedules go: an IANA name.
    timezone: String,
    timezone_source: TimezoneSourceName,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    updated_at: Moment,
}

impl From<StoredSettings> for SettingsDocument {
    fn from(stored: StoredSettings) -> Self {
        let AllSettings { published, timezone_source, log_retention_days } = stored.settings;
        Self {
            log_retention_days,
            timezone: published.timezone.into(),
            timezone_source: match timezone_source {
                TimezoneSource::Environment => TimezoneSourceName::Environment,
                TimezoneSource::Setting => TimezoneSourceName::Setting,
            },
            billing_model_source: match published.billing_model_source {
                BillingModelSource::Original => BillingModelSourceName::Original,
                BillingModelSource::Redirected => BillingModelSourceName::Redirected,
            },
            tier_billing_source: match published.tier_billing_source {
                TierSource::Requested => TierSourceName::Requested,
                TierSource::Actual => TierSourceName::Actual,
            },
            quota_reservation: published.quota_reservation.into(),
            intercept_anthropic_warmup_requests: published.intercept_anthropic_warmup_requests,
            revision: stored.revision.0,
            updated_at: Moment(stored.updated_at),
        }
    }
}

/// Shows the settings.
#[utoipa::path(tag = "settings", responses((status = 200, body = SettingsDocument)))]
#[get("/api/v1/settings")]
pub async fn read_settings(admin: Data<Admin>, _actor: Actor) -> Result<HttpResponse, Error> {
    let stored = admin.run(settings::read).await?;
    let etag = stored.revision;
    Ok(found(SettingsDocument::from(stored), etag))
}

/// Changes the settings.
#[utoipa::path(
    tag = "settings",
    request_body = SettingsUpdate,
    responses((status = 200, body = SettingsDocument))
)]
#[patch("/api/v1/settings")]
pub async fn update_settings(
    admin: Data<Admin>,
    actor: Actor,
    if_match: IfMatch,
    body: Body<SettingsUpdate>,
) -> Result<HttpResponse, Error> {
    let mut body = body.0;
    let (zone, usual) = (body.zone()?, admin.timezone().clone());
    let edit = move |settings: &mut AllSettings| {
        if let Some(wanted) = zone {
            settings.timezone_source = match wanted {
                Some(_) => TimezoneSource::Setting,
                None => TimezoneSource::Environment,
            };
            settings.published.timezone = wanted.unwrap_or(usual);
        }
        body.apply(settings);
    };
    let done = admin.run(|admin| settings::update(admin, actor, if_match, edit)).await?;
    let etag = done.value.revision;
    Ok(changed(&admin, done.revision, etag, SettingsDocument::from(done.value)).await)
}
