//! The one table of routes: naming a handler here mounts it and documents it, so that neither can be forgotten.

use crate::api::{
    audit, circuits, error_rule_test, error_rules, groups, health, in_flight, keys, limit_resets, log_export,
    logs, me, nodes, prices, provider_tests, providers, quotas, routing, sessions, settings, users,
};
use crate::error::Error;
use actix_web::web::{PathConfig, PayloadConfig, Redirect, ServiceConfig, to};
use actix_web::{HttpRequest, HttpResponse, get};
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Each handler once. Its path and method are in its own attribute; utoipa's derive and actix need it as a path,
/// which only a macro can hand to both.
macro_rules! routes {
    ($($module:ident :: $handler:ident),+ $(,)?) => {
        /// The documented routes, before [`crate::openapi`] adds what holds for all of them.
        #[derive(OpenApi)]
        #[openapi(paths($($module::$handler),+))]
        pub struct Documented;

        fn mount_documented(config: &mut ServiceConfig) {
            $(config.service($module::$handler);)+
        }
    };
}

routes! {
    users::list_users,
    users::create_user,
    users::read_user,
    users::update_user,
    users::delete_user,
    keys::list_keys,
    keys::create_key,
    keys::read_key,
    keys::update_key,
    keys::delete_key,
    keys::reveal_key,
    limit_resets::reset_user_limits,
    limit_resets::reset_key_limits,
    limit_resets::reset_provider_limits,
    groups::list_provider_groups,
    groups::create_provider_group,
    groups::read_provider_group,
    groups::update_provider_group,
    groups::delete_provider_group,
    // Before what would take `test` for an id.
    provider_tests::test_new_provider,
    provider_tests::test_provider,
    provider_tests::list_provider_models,
    providers::list_providers,
    providers::create_provider,
    providers::read_provider,
    providers::update_provider,
    providers::delete_provider,
    prices::list_model_prices,
    prices::read_model_price,
    prices::put_model_price,
    prices::delete_model_price,
    error_rules::list_error_rules,
    error_rules::create_error_rule,
    error_rule_test::test_error_rules,
    error_rules::restore_error_rules,
    error_rules::read_error_rule,
    error_rules::update_error_rule,
    error_rules::delete_error_rule,
    settings::read_settings,
    settings::update_settings,
    logs::list_logs,
    log_export::export_logs,
    // After the path above, which its own would take.
    logs::read_log,
    in_flight::list_in_flight_requests,
    nodes::list_nodes,
    quotas::list_quotas,
    me::read_my_quota,
    circuits::read_circuit,
    circuits::reset_circuit,
    sessions::list_sessions,
    sessions::terminate_session,
    routing::explain_routing,
    audit::list_audit_log,
    health::health_live,
    health::health_ready,
}

/// Mounts everything: the documented routes, the document itself, Swagger UI, and an answer for the rest.
pub fn mount(config: &mut ServiceConfig) {
    config
        .app_data(PayloadConfig::new(MAX_BODY_BYTES))
        .app_data(PathConfig::default().error_handler(|_, _| Error::NoRoute.into()))
        .configure(mount_documented)
        .service(openapi_json)
        .service(actix_web::web::redirect("/", "/swagger-ui/"))
        .service(Redirect::new("/swagger-ui", "/swagger-ui/"))
        .service(SwaggerUi::new("/swagger-ui/{_:.*}").config(Config::from("/api/openapi.json")))
        .default_service(to(no_route));
}

#[get("/api/openapi.json")]
async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().json(crate::openapi::document())
}

/// Tells a wrong path from a wrong method by the documented paths.
async fn no_route(request: HttpRequest) -> Result<HttpResponse, Error> {
    let document = crate::openapi::document();
    let item = document.paths.paths.iter().find(|(template, _)| fits(template, request.path()));
    let Some((_, item)) = item else { return Err(Error::NoRoute) };
    let methods = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    let allow: Vec<&str> =
        methods.into_iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| name).collect();
    Err(Error::MethodNotAllowed { allow: allow.join(", ") })
}

/// True when a path is one of a template such as `/api/v1/users/{id}`; the last segment may hold slashes.
fn fits(template: &str, path: &str) -> bool {
    let mut given = path.split('/');
    let mut wanted = template.split('/').peekable();
    while let Some(segment) = wanted.next() {
        let is_variable = segment.starts_with('{');
        match given.next() {
            Some(text) if is_variable && !text.is_empty() => {
                if wanted.peek().is_none() && template.ends_with("{model}") {
                    return true;
                }
            }
            Some(text) if text == segment => {}
            _ => return false,
        }
    }
    given.next().is_none()
}

/// The largest body: a provider with every list full stays far below it.
const MAX_BODY_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_its_template_only() {
        assert!(fits("/api/v1/users/{id}", "/api/v1/users/7"));
        assert!(!fits("/api/v1/users/{id}", "/api/v1/users/"));
        assert!(!fits("/api/v1/users/{id}", "/api/v1/users/7/keys"));
        assert!(!fits("/api/v1/users", "/api/v1/users/7"));
        assert!(fits("/api/v1/model-prices/{model}", "/api/v1/model-prices/a/b"));
    }
}
