//! Cookies: what a browser is given to hold, and read back from it.

use axum::http::{HeaderMap, HeaderValue, header};

/// What a browser holds of its session. The prefix binds it to this very host where TLS is ours; browsers refuse the prefix over
/// plain HTTP, which there is on loopback alone.
pub(super) const fn session(is_tls: bool) -> &'static str {
    if is_tls { "__Host-picket" } else { "picket-session" }
}

/// What a browser holds of a login form, before anybody is logged in.
pub(super) const fn form(is_tls: bool) -> &'static str {
    if is_tls { "__Host-picket-form" } else { "picket-form" }
}

/// What a browser holds of a login that it goes to the issuer for.
pub(super) const fn attempt(is_tls: bool) -> &'static str {
    if is_tls { "__Host-picket-oidc" } else { "picket-oidc" }
}

/// The value of a cookie.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// Has a browser hold it until it is closed. `Secure` also where we speak plain HTTP: browsers take loopback for safe, and a proxy
/// before us speaks TLS.
pub(super) fn hold(name: &str, value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; Secure; SameSite=Strict")).ok()
}

/// The same for a quarter of an hour, and brought along also where another site sends the browser here.
pub(super) fn hold_across(name: &str, value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=900")).ok()
}

/// Has a browser forget it.
pub(super) fn forget(name: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}=; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age=0")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers =
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("a=1; picket-session=x=y; b=2"))]);
        assert_eq!(cookie(&headers, "picket-session").as_deref(), Some("x=y"));
        assert_eq!((cookie(&headers, "session"), cookie(&headers, "picket-form")), (None, None));
        assert_eq!(cookie(&HeaderMap::new(), "a"), None);
    }
}
