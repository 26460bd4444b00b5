//! What files give, and what is refused with which words.

use super::*;
use picket_chain::ScoreAddress;

fn check(text: &str, expect: &str) {
    let found = match Config::parse(text, Path::new("c.toml")) {
        Ok(config) => format!("{config:?}"),
        Err(error) => error.to_string(),
    };
    assert!(found.contains(expect), "{text:?} gives {found}");
}

#[test]
fn no_file_means_mainnet_with_defaults() {
    let config = Config::parse("", Path::new("c.toml")).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.chain.sources.len(), 3);
    assert_eq!((config.listen.agents.port(), config.listen.operators.port()), (7443, 7444));
    assert!(Config::load(Some(Path::new("/nowhere/c.toml"))).is_err());
}

#[test]
fn a_wrong_line_is_named_by_file_line_and_column() {
    check("[chain]\nnid = 1\npol_seconds = 3\n", "c.toml:3:1: unknown field `pol_seconds`");
    check("[listen]\nagents = \"7443\"\n", "c.toml:2:10: ");
    check("[policy]\nadmin = [\"192.0.2.0\"]\n", "c.toml:2:");
    check("[chain]\nsources = [\"ftp://example.com\"]\n", "c.toml:2:11: \"ftp://example.com\" begins with neither");
    check("nonsense", "c.toml:1:");
}

#[test]
fn values_out_of_range_are_refused_with_what_to_write() {
    check("[chain]\nsources = []", "chain.sources is empty");
    check("[chain]\nsources = [\"http://a.example/x\", \"http://a.example/y\"]", "names a.example twice");
    check("[chain]\npoll_seconds = 0", "at least 1");
    check("[chain]\nchannel = \"a/b\"", "such as \"icon_dex\"");
    check("[policy]\nagree = 4", "1 to 3");
    check(
        "[policy]\nports = { p2p = [7100], rpc = [7443] }",
        "policy.ports has 7443, on which this controller listens",
    );
    check("[listen]\nagents = \"[::]:1443\"\n[policy]\nports = { p2p = [7100], rpc = [7443] }", "7443");
    check(
        "[listen]\noperators = \"0.0.0.0:7444\"\n[policy]\nports = { p2p = [7100], rpc = [7444] }",
        "policy.ports has 7444",
    );
    for operators in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let listen = format!("[listen]\noperators = \"{operators}:7444\"\n");
        let config = Config::parse(&(listen + "[policy]\nports = { p2p = [7100], rpc = [7444] }"), Path::new("c.toml"));
        assert!(config.is_ok(), "{operators}: {config:?}");
    }
    check("[overlay]\nv4 = \"10.0.0.0/30\"", "/28 or wider");
    check("[keys]\npreshared_seconds = 0", "at least 1");
    check("[keys]\ncertificate_seconds = 1", "write 2 to 7776000");
    check("[keys]\ncertificate_seconds = 7776001", "write 2 to 7776000");
}

#[test]
fn a_policy_is_read_over_its_defaults() {
    let text = "[policy]\nadmin = [\"192.0.2.0/24\"]\n[policy.brakes]\nmin_size = 4\n";
    let policy = Config::parse(text, Path::new("c.toml")).unwrap().policy.unwrap();
    assert_eq!((policy.brakes.min_size, policy.brakes.max_removed), (4, 10));
    assert_eq!(policy.grades, Policy::default().grades);
}

#[test]
fn a_network_is_named_and_any_of_it_may_be_set_beside() {
    let chain = |text: &str| Config::parse(text, Path::new("c.toml")).unwrap().chain;
    assert_eq!(chain(""), chain("[chain]\nnetwork = \"mainnet\""));
    let lisbon = chain("[chain]\nnetwork = \"lisbon\"");
    assert_eq!((lisbon.nid, lisbon.sources.len(), lisbon.poll_seconds), (2, 1, 30));
    assert_eq!(lisbon.sources[0].0.id().as_str(), "lisbon.net.solidwallet.io");
    let berlin = chain("[chain]\nnetwork = \"berlin\"\nsources = [\"http://a.example\"]\npush = false");
    assert_eq!((berlin.nid, berlin.sources[0].0.id().as_str(), berlin.push), (7, "a.example", false));
    let own = chain("[chain]\nnid = 0x53\nchannel = \"own\"\nsources = [\"http://a.example\"]");
    assert_eq!((own.nid, own.channel.as_str(), own.score), (0x53, "own", ScoreAddress::CHAIN));
    check(
        "[chain]\nnetwork = \"lisboa\"\n",
        "c.toml:2:11: \"lisboa\" is no network known by name: write one of mainnet",
    );
    check("[chain]\nnetwrk = \"lisbon\"\n", "c.toml:2:1: unknown field `netwrk`");
}

#[test]
fn a_short_list_is_believable_on_a_test_network() {
    let check = |text: &str, first: usize, configured: Option<usize>| {
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        let said = config.policy.as_ref().map(|policy| policy.brakes.min_size);
        assert_eq!((config.first_policy().brakes.min_size, said), (first, configured), "{text:?}");
    };
    check("", 20, None);
    check("[policy]\nadmin = []", 20, Some(20));
    check("[chain]\nnetwork = \"lisbon\"", 4, None);
    check("[chain]\nnetwork = \"berlin\"\n[policy]\nadmin = []", 4, Some(4));
    check("[chain]\nnetwork = \"berlin\"\n[policy.brakes]\nmax_removed = 1", 4, Some(4));
    check("[chain]\nnetwork = \"berlin\"\n[policy.brakes]\nmin_size = 20", 4, Some(20));
}

#[test]
fn lines_of_the_policy_say_why_and_may_end() {
    let deny =
        "[policy]\ndeny = [{ network = \"192.0.2.0/24\", comment = \"abuse\", until = \"2026-12-24T18:00:00Z\" }]";
    let policy = Config::parse(deny, Path::new("c.toml")).unwrap().policy.unwrap();
    let end = "2026-12-24T18:00:00Z".parse().unwrap();
    assert_eq!(policy.deny[0].until, Some(end));
    assert_eq!(policy.next_end(end), None);
    let old = "[policy]\ndeny = [\"192.0.2.0/24\"]";
    check(old, "c.toml:2:9: a line of policy.deny is written { network = \"192.0.2.0/24\", comment = \"why\" }");
    check("[policy]\nallow = [\"192.0.2.0/24\"]", "c.toml:2:10: a line of policy.allow is written { purpose = ");
    check("[policy]\ndeny = [{ comment = \"whom?\" }]", "c.toml:2:8: a deny line names either network");
    check("[policy]\ndeny = [{ network = \"192.0.2.0/24\" }]", "missing field `comment`");
    let until = "[policy]\ndeny = [{ network = \"192.0.2.0/24\", comment = \"x\", until = \"tomorrow\" }]";
    check(until, "\"tomorrow\" is no point in time: write it as in \"2026-12-24T18:00:00Z\"");
    check("[policy.names]\nshortest_seconds = 0", "at least 1");
}

/// The file is held against what the module writes by `cargo xtask test --terraform`.
#[test]
fn what_terraform_writes_is_understood() {
    let text = include_str!("../../../terraform/tests/controller.toml");
    let config = Config::parse(text, Path::new("terraform/tests/controller.toml")).unwrap();
    assert!(config.listen.operators.ip().is_loopback() && config.listen.health.ip().is_loopback());
    assert_eq!(config.enroll.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["edge", "edge-sts"]);
    assert!(config.hooks.allows_aws("123456789012", "eu-central-1", Some("mesh-sentries")));
    assert!(!config.hooks.allows_aws("123456789012", "eu-central-1", Some("another")));
}

/// As above.
#[test]
fn what_terraform_writes_for_several_controllers_is_understood() {
    let text = include_str!("../../../terraform/tests/controller-several.toml");
    let config = Config::parse(text, Path::new("terraform/tests/controller-several.toml")).unwrap();
    let url = config.database.unwrap();
    assert!(url.as_str().starts_with("postgres://picket@") && url.as_str().contains("sslrootcert="));
    assert!(config.database_password_file.is_some());
}

/// The file is what `picket init` writes, by its own tests.
#[test]
fn what_picket_init_writes_is_read() {
    let text = include_str!("../../../cli/tests/init/controller.toml");
    let config = Config::parse(text, Path::new("controller.toml")).unwrap();
    let policy = config.policy.unwrap();
    assert_eq!(policy.admin.len(), 2);
    let hidden: Vec<_> = policy.hidden.iter().map(|line| (line.prep.as_str(), line.strict)).collect();
    assert_eq!(hidden, [("prep-1", false)]);
    assert_eq!(config.listen, Config::default().listen);
}
