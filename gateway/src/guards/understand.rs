//! What does the seat ask for? The few facts of its body that decisions need, and whether it may have it.

use crate::ctx::{Asked, Origin, Target};
use crate::guards::receive::Held;
use crate::live::Principal;
use crate::reject::Reject;
use shared::protocol::detect::Family;
use shared::protocol::scan::scan;
use shared::rules::access;

/// Reads the body's facts.
pub fn understand(
    family: Family,
    target: Target,
    path_model: Option<String>,
    body: Held,
) -> Result<Asked, Reject> {
    let facts = scan(&body.bytes).map_err(Reject::BadBody)?;
    if facts.work.is_background {
        return Err(Reject::Background);
    }
    let model = path_model.or_else(|| facts.model.as_ref().map(|m| m.value.clone()));
    let model = model.filter(|m| !m.is_empty()).ok_or(Reject::NoModel)?;
    let is_stream = family.wants_stream(facts.stream);
    Ok(Asked { family, target, model, is_stream, body, facts })
}

/// Asks whether user and key may be used by this client, and for the model.
pub fn may_use(principal: &Principal, origin: &Origin, asked: &Asked) -> Result<(), Reject> {
    access::check_client(&principal.user, origin.client()).map_err(Reject::ClientDenied)?;
    access::check_model(&principal.user, &principal.key, Some(&asked.model)).map_err(Reject::ModelDenied)
}
