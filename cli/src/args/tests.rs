//! Every verb as it is typed, and what is refused with which words.

use super::{attack::Export, *};
use clap::CommandFactory as _;
use picket_api::shield::ShieldWish;
use picket_model::{BlocklistBy, NodeRole};
use picket_pki::OperatorRole;
use std::num::NonZeroU16;

pub(super) fn verb(line: &str) -> Result<Verb, String> {
    let words = std::iter::once("picket").chain(line.split_whitespace());
    match Arguments::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Mesh(verb) => Ok(verb),
        Command::Here(here) => Err(format!("{here:?}")),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn the_manual_has_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    Manual::Man { out: folder.path().to_owned() }.write(Arguments::command()).unwrap();
    for verb in Arguments::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let page = folder.path().join(format!("picket-{}.1", verb.get_name()));
        assert!(page.is_file(), "{}", page.display());
    }
    assert!(folder.path().join("picket-token-create.1").is_file());
}

#[test]
fn every_verb_is_understood() {
    let check = |line: &str, expect: Verb| assert_eq!(verb(line).unwrap(), expect, "{line}");
    check("status", Verb::Status { watch: false });
    check("status --watch", Verb::Status { watch: true });
    check("attack", Verb::Attack(Attack::default()));
    let export =
        |format, by, least| Verb::Attack(Attack { verb: Some(AttackVerb::Export(Export { format, by, least })) });
    check("attack export", export(Format::Text, BlocklistBy::Address, None));
    check("attack export --format nft --by prefix --least 9", export(Format::Nft, BlocklistBy::Prefix, Some(9)));
    check("events -f", Verb::Events(Events { follow: true, ..Events::default() }));
    check("nodes --json", Verb::Nodes(Nodes::default()));
    let edge = || "edge".parse().ok();
    check("nodes --pool edge", Verb::Nodes(Nodes { verb: None, pool: edge() }));
    let clear = NodesVerb::Clear { node: "sentry-1".parse().unwrap() };
    check("nodes clear sentry-1 --reason looked", Verb::Nodes(Nodes { verb: Some(clear), pool: None }));
    let validators = |validators| Verb::Validators(validators);
    check("validators", validators(Validators::default()));
    check("validators --refused", validators(Validators { refused: true, ..Validators::default() }));
    let prep = format!("hx{}", "1".repeat(40));
    let history =
        Validators { history: true, prep: prep.parse().ok(), limit: Some(5), before: Some(9), ..Validators::default() };
    check(&format!("validators --history --prep {prep} --limit 5 --before 9"), validators(history));
    let order = |verb| Verb::Validators(Validators { verb: Some(verb), ..Validators::default() });
    let diff = ValidatorsVerb::Diff { from: Generation(3), to: Generation(7) };
    check("validators diff 3 7 --json", order(diff));
    check("--json validators release", order(ValidatorsVerb::Release));
    check("validators approve 0123456789ab", order(ValidatorsVerb::Approve { digest: "0123456789ab".to_owned() }));
    let hold = |time| order(ValidatorsVerb::Hold { comment: "incident".to_owned(), time });
    check("validators hold --comment incident", hold(None));
    check("validators hold --comment incident --for 6h", hold(Some(Duration::from_secs(6 * 3600))));
    let create = |role, ttl, uses| {
        let (pool, name, from, lease, comment) = (None, None, Vec::new(), None, String::new());
        Verb::Token(TokenVerb::Create { role, ttl: Duration::from_secs(ttl), uses, pool, name, from, lease, comment })
    };
    let narrow = TokenVerb::Create {
        role: NodeRole::Sentry,
        ttl: Duration::from_secs(3600),
        uses: 20,
        pool: edge(),
        name: Some("sentry-*".parse().unwrap()),
        from: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        lease: Some(Duration::from_secs(600)),
        comment: "eu".to_owned(),
    };
    let line = "token create --role sentry --uses 20 --expires 1h --pool edge --name sentry-* --from 203.0.113.0/24 \
                --from 2001:db8::/32 --lease 10m --comment eu";
    check(line, Verb::Token(narrow));
    check("token list", Verb::Token(TokenVerb::List));
    check("token revoke t-1", Verb::Token(TokenVerb::Revoke { id: "t-1".parse().unwrap() }));
    check("token create --role sentry", create(NodeRole::Sentry, 3600, 1));
    check("token create --role prep --ttl 15m --uses 3", create(NodeRole::Prep, 900, 3));
    let (node, two) = (|| "sentry-1".parse().unwrap(), Duration::from_secs(2));
    check("revoke sentry-1", Verb::Revoke { node: node(), wait: two });
    check("revoke sentry-1 --wait 500ms --reason x", Verb::Revoke { node: node(), wait: two / 4 });
    check("quarantine sentry-1", Verb::Quarantine { node: node(), wait: two });
    check("readmit sentry-1", Verb::Readmit { node: node() });
    let target = Target { address: "192.0.2.1".parse().unwrap(), port: NonZeroU16::new(7100) };
    check("explain 192.0.2.1:7100", Verb::Explain { target, generation: None });
    check("explain 192.0.2.1:7100 --generation 7", Verb::Explain { target, generation: Some(Generation(7)) });
    let diff = |from, to| Plan { dry_run: None, verb: Some(PlanVerb::Diff { from: Generation(from), to }) };
    check("plan diff 7", Verb::Plan(diff(7, None)));
    check("plan diff 7 9", Verb::Plan(diff(7, Some(Generation(9)))));
    check("plan --dry-run a.toml", Verb::Plan(Plan { dry_run: Some("a.toml".into()), verb: None }));
    let identities = |verb| Verb::Identities(Identities { verb });
    check("identities", identities(None));
    let id = || "aws/1/i-1".to_owned();
    check("identities forget aws/1/i-1", identities(Some(IdentitiesVerb::Forget { id: id(), forbidden: false })));
    let forget = IdentitiesVerb::Forget { id: id(), forbidden: true };
    check("identities forget --forbidden aws/1/i-1", identities(Some(forget)));
    check("identities forbid aws/1/i-1", identities(Some(IdentitiesVerb::Forbid { id: id() })));
    check("--json events", Verb::Events(Events::default()));
    check("events --limit 5 --before 9", Verb::Events(Events { limit: Some(5), before: Some(9), ..Events::default() }));
    check("events --verify", Verb::Events(Events { verify: true, ..Events::default() }));
    let ninety = Some(Duration::from_secs(90 * 24 * 3600));
    let operator = OperatorVerb::Create { role: OperatorRole::Enroller, expires: ninety, comment: "ci".to_owned() };
    check("operator create --role enroller --expires 90d --comment ci", Verb::Operator(operator));
    check("operator revoke op-1", Verb::Operator(OperatorVerb::Revoke { id: "op-1".parse().unwrap() }));
    check("operator readmit sso-1", Verb::Operator(OperatorVerb::Readmit { id: "sso-1".parse().unwrap() }));
    let issue =
        KeysVerb::Issue { name: "laptop".parse().unwrap(), role: NodeRole::Prep, endpoint: None, replace: false };
    check("keys issue --name laptop --role prep", Verb::Keys(issue));
    let rotate = |wait| Verb::Keys(KeysVerb::Rotate { node: "sentry-1".parse().unwrap(), wait });
    check("keys rotate sentry-1 --reason yearly", rotate(None));
    check("keys rotate sentry-1 --wait 2m", rotate(Some(Duration::from_secs(120))));
    let shield = |wish, nodes: &[&str], seconds: Option<u64>| {
        let nodes = nodes.iter().map(|name| name.parse().unwrap()).collect();
        Verb::Shield(Shield { wish, nodes, time: seconds.map(Duration::from_secs) })
    };
    check("shield --json", shield(None, &[], None));
    check("shield on --reason flood", shield(Some(ShieldWish::On), &[], None));
    check("shield on sentry-1 sentry-2 --for 2h", shield(Some(ShieldWish::On), &["sentry-1", "sentry-2"], Some(7200)));
    check("shield auto", shield(Some(ShieldWish::Auto), &[], None));
    check("shield off prep-1", shield(Some(ShieldWish::Off), &["prep-1"], None));
    check("shield policy", shield(Some(ShieldWish::Policy), &[], None));
}

#[test]
fn wrong_arguments_are_refused_with_the_reason() {
    let check = |line: &str, expect: &str| {
        let error = verb(line).unwrap_err();
        assert!(error.contains(expect), "{line}: {error}");
    };
    check("token create", "--role");
    check("token create --role king", "sentry or prep");
    check("token create --role prep --ttl 90", "has no unit");
    check("token create --role prep --ttl 10ms", "1s or more");
    check("token create --role prep --uses 0", "0 is not in");
    check("token create --role sentry --lease 10", "has no unit");
    check("token create --role sentry --name Sentry", "name pattern");
    check("token create --role sentry --pool Edge", "pool name");
    check("nodes --pool a/b", "pool name");
    check("nodes --pool edge clear sentry-1", "cannot be used with");
    check("events --verify --limit 3", "cannot be used with");
    check("events --follow --before 9", "cannot be used with");
    check("operator create", "--role");
    check("status --reason \u{1}", "one line");
    check("revoke ../tokens", "is not 1 to 64 characters");
    check("revoke sentry-1 --wait 31s", "30s at most");
    check("status --url http://controller:8443", "not https");
    check("status --url controller", "https://host:port");
    check("status --ca abc", "64 lower-case hexadecimal digits");
    check("explain 192.0.2.1:0", "port 0");
    check("explain 192.0.2.1 --generation last", "`picket status` shows it");
    check("validators hold", "--comment");
    check("validators hold --comment x --for 6", "has no unit");
    check("validators --prep hx11", "hx11");
    check("validators --limit 5", "--history");
    check("validators --history --limit 0", "0 is not in");
    check("validators --history --refused", "cannot be used with");
    check("validators --refused release", "cannot be used with");
    check("shield sentry-1", "on, off, auto or policy");
    check("shield --for 1h", "required");
    check("shield on --for 1", "has no unit");
}

#[test]
fn targets_are_addresses_with_or_without_a_port() {
    let check = |text: &str, expect: Option<(&str, Option<u16>)>| {
        let found = text.parse::<Target>().ok().map(|t| (t.address.to_string(), t.port.map(NonZeroU16::get)));
        assert_eq!(found, expect.map(|(address, port)| (address.to_owned(), port)), "{text}");
    };
    check("192.0.2.1", Some(("192.0.2.1", None)));
    check("192.0.2.1:7100", Some(("192.0.2.1", Some(7100))));
    check("2001:db8::1", Some(("2001:db8::1", None)));
    check("2001:db8::1:7100", Some(("2001:db8::1:7100", None)));
    check("[2001:db8::1]", Some(("2001:db8::1", None)));
    check("[2001:db8::1]:7100", Some(("2001:db8::1", Some(7100))));
    for wrong in ["", "localhost", "192.0.2.1:", "192.0.2.1:65536", "[192.0.2.1]", "[2001:db8::1", "2001:db8::1%eth0"] {
        check(wrong, None);
    }
}
