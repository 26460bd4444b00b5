//! What a join token asks of the host that shows it. Pure: what is known of the token, of the request and of the clock.

use crate::store::Token;
use picket_api::{EnrollRequest, Problem, ProblemKind};
use picket_model::Timestamp;
use std::net::IpAddr;

/// Whether a host may join by this token, as far as the host itself is concerned. Neither the token's time nor its uses are
/// looked at here: a host whose answer was lost may ask again when both are over.
pub(crate) fn check(token: &Token, request: &EnrollRequest, from: IpAddr) -> Result<(), Problem> {
    let no = |kind, detail| Err(Problem::new(kind, detail));
    if let Some(at) = token.revoked_at {
        return no(ProblemKind::TokenRevoked, format!("this join token was revoked at {at}"));
    }
    if token.role != request.role {
        let detail = format!("this join token is for a {}, not for a {}", token.role, request.role);
        return no(ProblemKind::TokenRole, detail);
    }
    let terms = &token.terms;
    if let Some(pattern) = terms.name.as_ref().filter(|pattern| !pattern.matches(&request.name)) {
        let detail = format!("this join token is for hosts called {pattern}, and this one is called {}", request.name);
        return no(ProblemKind::TokenName, detail);
    }
    if !terms.from.is_empty() && !terms.from.iter().any(|network| network.contains(&from)) {
        let detail = format!("this join token is not for hosts at {from}, where this one is seen");
        return no(ProblemKind::TokenSource, detail);
    }
    Ok(())
}

/// Whether the token's time is over.
pub(crate) fn is_in_time(token: &Token, now: Timestamp) -> Result<(), Problem> {
    if now <= token.expires_at {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::TokenExpired, format!("this join token's time was over at {}", token.expires_at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TokenTerms;
    use picket_api::Proof;
    use picket_model::{NodeRole, WireGuardPublicKey};
    use picket_pki::TokenSecret;

    fn token(terms: TokenTerms) -> Token {
        Token {
            id: "t-1".parse().unwrap(),
            secret_hash: TokenSecret::from_bytes([1; 32]).hash(),
            role: NodeRole::Sentry,
            uses: 1,
            used: 0,
            created_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(1000),
            terms,
            made_by: None,
            revoked_at: None,
        }
    }

    fn request(name: &str, role: NodeRole) -> EnrollRequest {
        EnrollRequest {
            proof: Proof::JoinToken { token: String::new() },
            role,
            name: name.parse().unwrap(),
            wireguard_key: WireGuardPublicKey::new([1; 32]).unwrap(),
            identity_key: None,
            csr_pem: String::new(),
            endpoint: None,
            machine_id: None,
        }
    }

    #[test]
    fn a_token_is_for_a_role_a_name_and_a_network() {
        let check = |token: &Token, name: &str, role, from: &str, expect: Option<ProblemKind>| {
            let found = check(token, &request(name, role), from.parse().unwrap()).err().map(|problem| problem.kind);
            assert_eq!(found, expect, "{name} {role} {from}");
        };
        let (sentry, prep) = (NodeRole::Sentry, NodeRole::Prep);
        let any = token(TokenTerms::default());
        check(&any, "x", sentry, "192.0.2.1", None);
        check(&any, "x", prep, "192.0.2.1", Some(ProblemKind::TokenRole));
        let from = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let name = Some("sentry-*".parse().unwrap());
        let narrow = token(TokenTerms { from, name, ..TokenTerms::default() });
        check(&narrow, "sentry-1", sentry, "203.0.113.7", None);
        check(&narrow, "sentry-1", sentry, "2001:db8::7", None);
        check(&narrow, "sentry-1", sentry, "203.0.114.7", Some(ProblemKind::TokenSource));
        check(&narrow, "other-1", sentry, "203.0.113.7", Some(ProblemKind::TokenName));
        let revoked = Token { revoked_at: Some(Timestamp::from_millis(1)), ..any };
        check(&revoked, "x", sentry, "192.0.2.1", Some(ProblemKind::TokenRevoked));
    }

    #[test]
    fn a_token_has_its_time() {
        let token = token(TokenTerms::default());
        assert!(is_in_time(&token, Timestamp::from_millis(1000)).is_ok());
        assert_eq!(is_in_time(&token, Timestamp::from_millis(1001)).unwrap_err().kind, ProblemKind::TokenExpired);
    }
}
