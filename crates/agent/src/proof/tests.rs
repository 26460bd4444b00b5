//! Tests of what needs no metadata server; the controller's tests have one.

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ca() -> Fingerprint {
    Fingerprint::of(b"ca")
}

fn collect(options: &ProofOptions, kind: ProofKind) -> Result<Proof, String> {
    runtime().block_on(options.collect(kind, ca(), "picket://m-1/enroll/00")).map_err(|error| format!("{error:#}"))
}

fn command(line: &str) -> Result<Proof, String> {
    collect(&ProofOptions { proof_command: Some(line.to_owned()), ..ProofOptions::default() }, ProofKind::Oidc)
}

#[test]
fn a_command_is_told_the_audience_and_gives_one_word() {
    let Ok(Proof::Oidc { token }) = command("echo \"token-for-$PICKET_AUDIENCE\"") else { panic!() };
    assert_eq!(token, "token-for-picket://m-1/enroll/00");
    for (line, expect) in [
        ("echo not yet >&2; exit 3", "--proof-command failed (exit status: 3): not yet"),
        ("echo s3cret two", "not one word"),
        ("printf 's3cret\\nmore'", "not one word"),
        ("true", "not one word"),
        ("head -c 20000 /dev/zero | tr '\\0' s3cret", "more than 16384 bytes"),
    ] {
        let error = command(line).unwrap_err();
        assert!(error.contains(expect) && !error.contains("s3cret"), "{line}: {error}");
    }
}

#[test]
fn a_file_holds_one_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let options = ProofOptions { proof_file: Some(file.clone()), ..ProofOptions::default() };
    assert!(collect(&options, ProofKind::AwsSts).unwrap_err().contains("read the token from"));
    std::fs::write(&file, "a.b.c\n").unwrap();
    let Ok(Proof::AwsSts { token }) = collect(&options, ProofKind::AwsSts) else { panic!() };
    assert_eq!(token, "a.b.c");
    std::fs::write(&file, "x".repeat(LARGEST + 1)).unwrap();
    assert!(collect(&options, ProofKind::AwsSts).unwrap_err().contains("no token is so large"));
}

#[test]
fn a_host_without_a_metadata_server_is_told_what_was_asked() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = ProofOptions { metadata: format!("http://{dead}").parse().ok(), ..ProofOptions::default() };
    for (kind, asked) in [(ProofKind::Aws, "begin a session"), (ProofKind::Gcp, "get an identity token")] {
        let error = collect(&options, kind).unwrap_err();
        assert!(error.contains(asked) && error.contains("is this an instance of that cloud?"), "{error}");
    }
    let secure = ProofOptions { metadata: "https://192.0.2.1".parse().ok(), ..ProofOptions::default() };
    assert!(collect(&secure, ProofKind::Aws).unwrap_err().contains("plain HTTP"));
}

#[test]
fn a_proof_needs_the_cas_fingerprint_and_a_source() {
    let check = |options: ProofOptions, expect: &str| {
        let error = format!("{:#}", options.chosen().unwrap_err());
        assert!(error.contains(expect), "{error}");
    };
    let with = |proof| ProofOptions { proof: Some(proof), ca_fingerprint: Some(ca()), ..ProofOptions::default() };
    assert!(ProofOptions::default().chosen().unwrap().is_none());
    assert_eq!(with(ProofKind::Gcp).chosen().unwrap(), Some((ProofKind::Gcp, ca())));
    check(ProofOptions { ca_fingerprint: None, ..with(ProofKind::Aws) }, "--ca-fingerprint");
    check(with(ProofKind::Oidc), "--proof-command or --proof-file");
    check(ProofOptions { proof_command: Some("x".into()), ..with(ProofKind::Aws) }, "leave out");
    assert!(ProofOptions { print_audience: true, ..with(ProofKind::Oidc) }.chosen().is_ok());
}
