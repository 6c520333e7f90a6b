//! How a request is addressed to an upstream and what of its head travels: URLs and headers, as pure values.
//!
//! `url` joins a provider's base URL with the seat's path, `proxy` and `way` say how its server is reached, `detour` when its proxy is left out, `request` builds the header list for the upstream,
//! `response` the one for the seat, `names` says which headers are whose. Everything a seat sends passes
//! verbatim and in order, unless it is listed in `names` with the reason why it must not: framing, the
//! path between seat and gateway, and credentials.
//!
//! Knows nothing of sockets, of bodies and of which provider is chosen. Invariants: no credential of a seat
//! and no `?key=` ever leaves; authentication is written last, so that nothing can override it.

mod detour;
mod names;
mod proxy;
mod reach;
mod request;
mod response;
mod url;
mod way;

pub use detour::{Detour, FirstTry, NextTry};
pub use names::is_allowed_custom_header;
pub use proxy::{Proxy, ProxyFailure, ProxyScheme, ProxyUrl, ProxyUrlError};
pub use reach::Reach;
pub use request::{BodyForm, HeaderError, UpstreamHeaders};
pub use response::{SeatHeaders, response_headers, upstream_request_id};
pub use url::{BaseUrl, BaseUrlError, Origin, UpstreamTarget, join_url, without_credentials};
pub use way::{Authorities, Way};
