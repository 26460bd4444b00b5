//! `picket token create`: what goes beside the token, which is alone on stdout.

use crate::{
    table::Page,
    time::{ago, rough},
};
use picket_api::operator::{TokenCreated, TokenView};
use picket_model::{NodeRole, Timestamp};
use std::time::Duration;

/// Where a controller listens for agents, unless its configuration says otherwise.
const AGENTS_PORT: u16 = 7443;

/// What the token is good for and how to use it. `now` is for the time left. Never shows the token.
pub(crate) fn explanation(token: &TokenCreated, now: Timestamp) -> String {
    let mut page = Page::default();
    let hosts = if token.uses == 1 { "one host".to_owned() } else { format!("{} hosts", token.uses) };
    let left = rough(token.expires_at.since(now));
    page.line(format_args!(
        "join token {} for {hosts} with role {}; it expires in {left} ({}) and is not shown again",
        token.id, token.role, token.expires_at
    ));
    // The token goes by the environment: every user of a host can read the arguments of its processes.
    let (agent, endpoint) = match token.role {
        NodeRole::Sentry => ("picket-sentry-agent", " --endpoint PUBLIC-ADDRESS:51820"),
        NodeRole::Prep => ("picket-prep-agent", ""),
    };
    page.line("on the host, as root:");
    page.line(format_args!(
        "  PICKET_JOIN_TOKEN=TOKEN {agent} enroll --controller https://CONTROLLER:{AGENTS_PORT} --name NAME{endpoint}"
    ));
    page.finish()
}

/// The tokens as a table.
pub(crate) fn list(tokens: &[TokenView], now: Timestamp) -> String {
    let mut page = Page::default();
    if tokens.is_empty() {
        page.line("no join token is kept; `picket token create --role sentry` makes one");
        return page.finish();
    }
    let heading = ["id", "role", "pool", "used", "names", "from", "lease", "made by", "state", "comment"];
    page.table(heading, tokens.iter().map(|token| row(token, now)));
    page.finish()
}

fn row(token: &TokenView, now: Timestamp) -> [String; 10] {
    let networks: Vec<String> = token.from.iter().map(ToString::to_string).collect();
    let any = |text: String| if text.is_empty() { "any".to_owned() } else { text };
    [
        token.id.to_string(),
        token.role.to_string(),
        token.pool.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        format!("{} of {}", token.used, token.uses),
        any(token.name.as_ref().map(ToString::to_string).unwrap_or_default()),
        any(networks.join(" ")),
        match token.lease_seconds {
            None => "by role".to_owned(),
            Some(0) => "none".to_owned(),
            Some(seconds) => rough(Duration::from_secs(seconds)),
        },
        token.made_by.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        match token.revoked_at {
            Some(at) => format!("revoked {}", ago(Some(at), now)),
            None if token.expires_at <= now => format!("expired {}", ago(Some(token.expires_at), now)),
            None if token.used >= token.uses => "used up".to_owned(),
            None => format!("{} left", rough(token.expires_at.since(now))),
        },
        token.comment.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str, used: u32) -> TokenView {
        TokenView {
            id: id.parse().unwrap(),
            role: NodeRole::Sentry,
            uses: 20,
            used,
            created_at: Timestamp::from_millis(1_700_000_000_000),
            expires_at: Timestamp::from_millis(1_700_003_600_000),
            revoked_at: None,
            lease_seconds: Some(600),
            pool: Some("edge".parse().unwrap()),
            name: Some("sentry-*".parse().unwrap()),
            from: vec!["203.0.113.0/24".parse().unwrap()],
            comment: "eu\u{1b}[2J".to_owned(),
            made_by: Some("op-1".parse().unwrap()),
        }
    }

    #[test]
    fn the_list_says_what_each_token_is_still_good_for() {
        let plain = TokenView {
            lease_seconds: None,
            pool: None,
            name: None,
            from: Vec::new(),
            made_by: None,
            ..kept("t-2", 20)
        };
        let revoked = Some(Timestamp::from_millis(1_700_000_060_000));
        let revoked = TokenView { revoked_at: revoked, lease_seconds: Some(0), ..kept("t-3", 1) };
        let old = TokenView { expires_at: Timestamp::from_millis(1_700_000_000_000), ..kept("t-4", 0) };
        let text = list(&[kept("t-1", 3), plain, revoked, old], Timestamp::from_millis(1_700_000_120_000));
        let lines: Vec<&str> = text.lines().collect();
        let check = |line: usize, parts: &[&str]| {
            assert!(parts.iter().all(|part| lines[line].contains(part)), "{parts:?} in {}", lines[line]);
        };
        check(0, &["ID", "ROLE", "POOL", "USED", "NAMES", "FROM", "LEASE", "MADE BY", "STATE", "COMMENT"]);
        check(
            1,
            &[
                "t-1",
                "sentry  edge  3 of 20",
                "sentry-*",
                "203.0.113.0/24",
                "10 min",
                "op-1",
                "58 min left",
                "eu\\u{1b}[2J",
            ],
        );
        check(2, &["t-2", "sentry  -     20 of 20", "used up", "any", "by role"]);
        check(3, &["t-3", "none", "revoked 60 s ago"]);
        check(4, &["t-4", "expired 2 min ago"]);
        assert!(list(&[], Timestamp::from_millis(0)).contains("token create"));
    }

    fn token(role: NodeRole, uses: u32) -> TokenCreated {
        TokenCreated {
            id: "t-1".parse().unwrap(),
            token: "picket1.fingerprint.t-1.secret".to_owned(),
            role,
            uses,
            expires_at: Timestamp::from_millis(1_700_003_600_000),
        }
    }

    #[test]
    fn the_explanation_names_the_command_and_not_the_secret() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        insta::assert_snapshot!(explanation(&token(NodeRole::Sentry, 1), now), @r#"
        join token t-1 for one host with role sentry; it expires in 60 min (2023-11-14T23:13:20Z) and is not shown again
        on the host, as root:
          PICKET_JOIN_TOKEN=TOKEN picket-sentry-agent enroll --controller https://CONTROLLER:7443 --name NAME --endpoint PUBLIC-ADDRESS:51820
        "#);
        insta::assert_snapshot!(explanation(&token(NodeRole::Prep, 3), now), @r#"
        join token t-1 for 3 hosts with role prep; it expires in 60 min (2023-11-14T23:13:20Z) and is not shown again
        on the host, as root:
          PICKET_JOIN_TOKEN=TOKEN picket-prep-agent enroll --controller https://CONTROLLER:7443 --name NAME
        "#);
        assert!(!explanation(&token(NodeRole::Prep, 1), now).contains("secret"));
    }
}
