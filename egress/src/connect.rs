//! HTTP proxies: `CONNECT`, RFC 9110 §9.3.6.

use crate::dial::{DialError, proxy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shared::rules::upstream::{Proxy, ProxyFailure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Asks for a tunnel to `host:port`; the socket is the tunnel afterwards.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    target: &str,
    by: &Proxy,
) -> Result<(), DialError> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(user) = &by.url.user {
        let password = by.password.as_ref().map_or("", |password| password.expose());
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
    }
    request.push_str("\r\n");
    let broken = |_| proxy(ProxyFailure::Protocol);
    socket.write_all(request.as_bytes()).await.map_err(broken)?;
    socket.flush().await.map_err(broken)?;
    match read_status(socket).await? {
        200..=299 => Ok(()),
        407 => Err(DialError::Proxy { why: ProxyFailure::Auth, status: Some(407) }),
        status => Err(DialError::Proxy { why: ProxyFailure::Refused, status: Some(status) }),
    }
}

/// Reads a head to its end and nothing beyond it: a provider says nothing before it is asked, so what comes at once is
/// not from a provider.
async fn read_status<S: AsyncRead + Unpin>(socket: &mut S) -> Result<u16, DialError> {
    let mut head = Vec::new();
    loop {
        if head.len() >= HEAD_BOUND {
            return Err(proxy(ProxyFailure::Protocol));
        }
        let read = socket.read_buf(&mut head).await.map_err(|_| proxy(ProxyFailure::Protocol))?;
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_BOUND];
        let mut answer = httparse::Response::new(&mut fields);
        match answer.parse(&head) {
            Ok(httparse::Status::Complete(length)) => {
                let status = answer.code.unwrap_or_default();
                let is_tunnel = (200..300).contains(&status);
                if status < 200 || (is_tunnel && head.len() > length) {
                    return Err(proxy(ProxyFailure::Protocol));
                }
                return Ok(status);
            }
            Ok(httparse::Status::Partial) if read > 0 => {}
            Ok(httparse::Status::Partial) | Err(_) => return Err(proxy(ProxyFailure::Protocol)),
        }
    }
}

const HEAD_BOUND: usize = 16 << 10;
const FIELDS_BOUND: usize = 64;
