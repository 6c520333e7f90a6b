//! How budgets stand for a choice: would the caller be refused, and which providers have no room?

use super::ground::Ground;
use crate::service::Admin;
use crate::service::quotas::{Quota, of_caller, of_providers};
use shared::ids::ProviderId;
use shared::rules::quota::{AccountId, Counts, Refusal};
use shared::time::UnixMillis;
use std::collections::BTreeMap;

/// What is known of them.
#[derive(Default)]
pub struct Budgets {
    /// The caller's account; `None`: it is not limited, or nobody can say.
    pub caller: Option<Quota>,
    /// Why the caller would be refused; `None`: it would not, as far as anybody can say.
    pub refusal: Option<Refusal>,
    /// Why providers have no room, whatever the request may cost.
    pub full: BTreeMap<ProviderId, Refusal>,
    /// True when all was told that was asked for.
    pub is_whole: bool,
}

impl Budgets {
    /// As they stand now. `bound`: the provider of the conversation that runs; it has its place there and in the caller's
    /// budgets. Without one the request begins a conversation.
    pub async fn ask(admin: &Admin, ground: &Ground, bound: Option<ProviderId>, now: UnixMillis) -> Self {
        let of_caller = async {
            match &ground.principal {
                Some((user, key)) => of_caller(admin, user, key, &ground.zone, now).await,
                None => Ok(None),
            }
        };
        let of_providers = of_providers(admin, &ground.providers, &ground.zone, now);
        let (caller, providers) = futures::join!(of_caller, of_providers);
        let is_told = caller.is_ok() && providers.is_ok();
        let (caller, providers) = (caller.unwrap_or_default(), providers.unwrap_or_default());
        let counts = Counts { is_request: true, is_new_session: bound.is_none() };
        let refusal = caller.as_ref().and_then(|quota| quota.standing()?.refusal(counts));
        let is_full = |quota: &Quota| {
            let AccountId::Provider(id) = quota.account else { return None };
            // A provider counts no requests.
            let counts = Counts { is_request: false, is_new_session: bound != Some(id) };
            Some((id, quota.standing()?.refusal(counts)?))
        };
        let is_whole = is_told && caller.iter().chain(&providers).all(|quota| quota.is_open);
        Self { refusal, full: providers.iter().filter_map(is_full).collect(), caller, is_whole }
    }
}
