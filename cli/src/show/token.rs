//! `picket token create`: what goes beside the token, which is alone on stdout.

use crate::{table::Page, time::rough};
use picket_api::operator::TokenCreated;
use picket_model::{NodeRole, Timestamp};

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

#[cfg(test)]
mod tests {
    use super::*;

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
