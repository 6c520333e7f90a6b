//! How connections to a provider are made: its proxy, whose password goes in, is sealed, and is never shown, and the
//! authorities that it brings.

use super::super::check::Violations;
use super::super::vault::Vault;
use crate::error::Error;
use egress::check_authorities;
use shared::ids::ProviderId;
use shared::model::{EgressSettings, Provider as Published};
use shared::rules::upstream::{ProxyScheme, ProxyUrl, ProxyUrlError};
use shared::secret::{Sealed, Secret};
use std::error::Error as _;

/// What can be set of the way to a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressFields {
    /// The proxy; `None`: directly.
    pub proxy: Option<ProxyField>,
    /// An attempt whose proxy fails goes on directly.
    pub proxy_fallback_to_direct: bool,
    /// Certificates of authorities, as PEM.
    pub ca_certificate: Option<String>,
}

/// A proxy as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyField {
    /// As it is stored, or just given and readable.
    Read(ProxyUrl, Option<Password>),
    /// Just given, and no proxy URL. The text may have a password in it.
    Unreadable(ProxyUrlError),
    /// Just given with `***` for a password, and none is stored that goes with its user name.
    NothingKept,
}

/// The password of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// As it is stored.
    Kept(Sealed),
    /// Just given.
    New(Secret),
}

impl EgressFields {
    /// Puts this proxy in the place of the one that was there. `***` as its password keeps the stored one, for the same
    /// user name.
    pub fn set_proxy(&mut self, wanted: Option<String>) {
        let before = self.proxy.take();
        self.proxy = wanted.map(|text| match ProxyUrl::parse(&text) {
            Err(error) => ProxyField::Unreadable(error),
            Ok((url, Some(password))) if password.expose() == MASK => match before {
                Some(ProxyField::Read(was, Some(kept))) if was.user == url.user => {
                    ProxyField::Read(url, Some(kept))
                }
                _ => ProxyField::NothingKept,
            },
            Ok((url, password)) => ProxyField::Read(url, password.map(Password::New)),
        });
    }

    /// The proxy as it is shown: its password as `***`.
    #[must_use]
    pub fn shown_proxy(&self) -> Option<String> {
        match &self.proxy {
            Some(ProxyField::Read(url, password)) => Some(url.masked(password.is_some())),
            Some(ProxyField::Unreadable(_) | ProxyField::NothingKept) | None => None,
        }
    }

    /// As the audit log shows it: whether a password was set by this change.
    pub(super) fn audited_proxy(&self) -> Option<String> {
        let note = match &self.proxy {
            Some(ProxyField::Read(_, Some(Password::New(_)))) => " (password set)",
            _ => "",
        };
        self.shown_proxy().map(|shown| format!("{shown}{note}"))
    }

    pub(super) fn check(&self, v: &mut Violations) {
        match &self.proxy {
            None => {}
            Some(ProxyField::Unreadable(error)) => v.require(false, "proxy_url", &error.to_string()),
            Some(ProxyField::NothingKept) => v.require(
                false,
                "proxy_url",
                "must have a password: `***` keeps one that is stored, and there is none for this user name",
            ),
            Some(ProxyField::Read(url, password)) => {
                let is_short = url.to_string().len() <= 512;
                v.require(is_short, "proxy_url", "must have at most 512 characters");
                let is_socks = matches!(url.scheme, ProxyScheme::Socks5 | ProxyScheme::Socks5h);
                let is_whole = !is_socks || url.user.is_some() == password.is_some();
                v.require(
                    is_whole,
                    "proxy_url",
                    "must have a password with its user name, which SOCKS5 wants",
                );
            }
        }
        if let Some(pem) = &self.ca_certificate {
            v.require(pem.len() <= MAX_PEM_BYTES, "ca_certificate", "must have at most 65536 characters");
            if let Err(error) = check_authorities(pem) {
                let why = error.source().map(|why| format!(": {why}")).unwrap_or_default();
                v.require(false, "ca_certificate", &format!("{error}{why}"));
            }
        }
    }

    /// As it is stored and published; a new password is sealed for this provider.
    pub(super) fn sealed(&self, vault: &Vault, id: ProviderId) -> Result<EgressSettings, Error> {
        let (proxy_url, password) = match &self.proxy {
            Some(ProxyField::Read(url, password)) => (Some(url.to_string()), password.as_ref()),
            Some(ProxyField::Unreadable(_) | ProxyField::NothingKept) | None => (None, None),
        };
        let password = password.map(|password| match password {
            Password::Kept(sealed) => Ok(sealed.clone()),
            Password::New(secret) => vault.seal(secret, &Published::proxy_place(id)),
        });
        Ok(EgressSettings {
            proxy_url,
            proxy_password: password.transpose()?,
            proxy_fallback_to_direct: self.proxy_fallback_to_direct,
            ca_certificate: self.ca_certificate.clone(),
        })
    }

    /// Reads what is stored; `None` when it cannot be read.
    pub(super) fn stored(settings: EgressSettings) -> Option<Self> {
        let proxy = match settings.proxy_url {
            Some(text) => {
                let (url, _) = ProxyUrl::parse(&text).ok()?;
                Some(ProxyField::Read(url, settings.proxy_password.map(Password::Kept)))
            }
            None => None,
        };
        Some(Self {
            proxy,
            proxy_fallback_to_direct: settings.proxy_fallback_to_direct,
            ca_certificate: settings.ca_certificate,
        })
    }
}

/// Stands for a password that is not shown.
const MASK: &str = "***";
const MAX_PEM_BYTES: usize = 65_536;
