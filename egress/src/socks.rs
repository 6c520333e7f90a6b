//! SOCKS5 proxies: RFC 1928, with user name and password by RFC 1929.

use crate::dial::{DialError, Io, Target, proxy};
use shared::rules::upstream::{Proxy, ProxyFailure};
use tokio_socks::Error;
use tokio_socks::tcp::Socks5Stream;

/// Asks for a tunnel; the socket is the tunnel afterwards.
pub(crate) async fn connect<S: Io>(socket: &mut S, target: &Target<'_>, by: &Proxy) -> Result<(), DialError> {
    let user = by.url.user.as_deref();
    let password = by.password.as_ref().map(|password| password.expose());
    let asked = match (user, password, target) {
        (Some(user), Some(password), Target::Name(host, port)) => {
            Socks5Stream::connect_with_password_and_socket(socket, (*host, *port), user, password).await
        }
        (Some(user), Some(password), Target::Address(address)) => {
            Socks5Stream::connect_with_password_and_socket(socket, *address, user, password).await
        }
        (_, _, Target::Name(host, port)) => Socks5Stream::connect_with_socket(socket, (*host, *port)).await,
        (_, _, Target::Address(address)) => Socks5Stream::connect_with_socket(socket, *address).await,
    };
    asked.map(|_| ()).map_err(|error| proxy(failure(&error)))
}

fn failure(error: &Error) -> ProxyFailure {
    match error {
        Error::NoAcceptableAuthMethods
        | Error::UnknownAuthMethod
        | Error::InvalidAuthValues(_)
        | Error::PasswordAuthFailure(_)
        | Error::AuthorizationRequired
        | Error::IdentdAuthFailure
        | Error::InvalidUserIdAuthFailure => ProxyFailure::Auth,
        Error::GeneralSocksServerFailure
        | Error::ConnectionNotAllowedByRuleset
        | Error::NetworkUnreachable
        | Error::HostUnreachable
        | Error::ConnectionRefused
        | Error::TtlExpired
        | Error::CommandNotSupported
        | Error::AddressTypeNotSupported
        | Error::UnknownError => ProxyFailure::Refused,
        Error::Io(_)
        | Error::ParseError(_)
        | Error::InvalidTargetAddress(_)
        | Error::ProxyServerUnreachable
        | Error::InvalidResponseVersion
        | Error::InvalidReservedByte
        | Error::UnknownAddressType => ProxyFailure::Protocol,
    }
}
