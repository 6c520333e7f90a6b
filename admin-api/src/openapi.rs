//! The OpenAPI 3.1 document: the routes' own words, and what holds for all of them.

use crate::auth::Door;
use crate::error::{Problem, Violation};
use crate::routes::Documented;
use utoipa::OpenApi as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, LicenseBuilder, Object, OpenApi, Ref, RefOr, ResponseBuilder,
    Type,
};

/// The document as it is served and as it is committed in `openapi/admin.json`.
#[must_use]
pub fn document() -> OpenApi {
    let mut document = Documented::openapi();
    document.info = InfoBuilder::new()
        .title("Claude Code Hub: admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("MIT").build()))
        .build();
    let components = document.components.take().unwrap_or_default();
    let bearer = |what| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what));
        SecurityScheme::Http(scheme.build())
    };
    let header = ApiKeyValue::with_description("x-api-key", "The same key in a header of its own");
    document.components = Some(
        ComponentsBuilder::from(components)
            .security_scheme("admin_token", bearer("ADMIN_TOKEN"))
            .security_scheme("seat_key", bearer("A seat's key, `cch-…`: shows its holder itself alone"))
            .security_scheme("seat_key_header", SecurityScheme::ApiKey(ApiKey::Header(header)))
            .schema_from::<Problem>()
            .schema_from::<Violation>()
            .build(),
    );
    for (path, item) in &mut document.paths.paths {
        let door = Door::of(path);
        for (method, operation) in [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ] {
            if let Some(operation) = operation {
                if let Some(credentials) = credentials(door) {
                    complete(operation, &method, path, credentials);
                }
                describe(operation);
            }
        }
    }
    document
}

/// What opens a door: one of them.
fn credentials(door: Door) -> Option<Vec<SecurityRequirement>> {
    let names: &[&str] = match door {
        Door::Open => return None,
        Door::Admin => &["admin_token"],
        Door::Seat => &["seat_key", "seat_key_header"],
    };
    Some(names.iter().map(|name| SecurityRequirement::new(*name, [""; 0])).collect())
}

/// Adds to an operation what every operation of its kind has.
fn complete(
    operation: &mut Operation,
    method: &HttpMethod,
    path: &str,
    credentials: Vec<SecurityRequirement>,
) {
    let has_variable = path.contains('{');
    operation.security = Some(credentials);
    let takes_body = operation.request_body.is_some();
    let is_conditional = matches!(method, HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete);
    let is_change = is_conditional || (matches!(method, HttpMethod::Post) && !path.ends_with("/test"));
    if is_conditional {
        let header = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .description(Some("The `ETag` of the resource as it was read: refuses to change a newer one"))
            .schema(Some(Object::with_type(Type::String)))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(header));
    }
    for (status, description, applies) in [
        ("400", "The body is not JSON", takes_body),
        ("401", "A valid credential is needed", true),
        ("404", "There is no such resource", has_variable),
        ("409", "The change contradicts what is there", is_change),
        ("412", "The resource was changed since it was read", is_conditional),
        ("422", "Fields or parameters cannot be accepted; each is named", true),
        ("429", "Too many wrong credentials from this address", true),
        ("503", "The database cannot be used right now", true),
    ] {
        if applies {
            operation.responses.responses.insert(status.to_owned(), problem(description));
        }
    }
    if is_change {
        add_revision_headers(operation);
    }
}

/// A response without a description is no OpenAPI, and generators of clients refuse it.
fn describe(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            response.description = match status.as_str() {
                "201" => "It is made; `Location` says where it is",
                "204" => "It is done",
                _ => "What was asked for",
            }
            .to_owned();
        }
    }
}

fn problem(description: &str) -> RefOr<utoipa::openapi::Response> {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
        .into()
}

fn add_revision_headers(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if status.starts_with('2') {
            let revision = HeaderBuilder::new()
                .description(Some(
                    "The configuration revision the change made; absent when it changed nothing",
                ))
                .schema(Some(Object::with_type(Type::Integer)))
                .build();
            let published = HeaderBuilder::new()
                .description(Some("`false` when the revision was not yet published after a second"))
                .schema(Some(Object::with_type(Type::Boolean)))
                .build();
            response.headers.insert("x-config-revision".to_owned(), revision.into());
            response.headers.insert("x-config-published".to_owned(), published.into());
        }
    }
}

const DESCRIPTION: &str = "\
Manages users, keys, providers, prices and settings, and shows what was used.

- Errors are RFC 9457 problem documents with a stable `code`; an unknown field or parameter is refused and named.
- Lists are pages: `?limit=&cursor=` → `{items, next_cursor}`.
- `PATCH` merges: an absent field stays, `null` goes back to the default.
- Money is decimal text in US dollars (numbers are accepted); moments are RFC 3339.
- A change answers once its configuration revision is published, or after a second with `x-config-published: false`.
- `If-Match` with a resource's `ETag` refuses to change what somebody else has changed meanwhile.
- Every change is in the audit log, without secrets.";
