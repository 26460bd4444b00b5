//! Tests of tokens: their text, their secrecy.

use super::*;
use proptest::prelude::*;
use secrecy::ExposeSecret;

const CA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SECRET: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

#[test]
fn error_says_which_part_is_wrong() {
    use TokenError::*;
    let check = |text: &str, error: TokenError| assert_eq!(text.parse::<JoinToken>().unwrap_err(), error, "{text:?}");
    let short = CutShort { expected: "picket1.<ca-fingerprint>.<token-id>.<secret>" };
    check("", NotJoin);
    check(&format!("picket-op1.a.{SECRET}"), NotJoin);
    check(&format!("picket2.{CA}.a.{SECRET}"), NotJoin);
    check("picket1", NotJoin);
    check("picket1.", short);
    check(&format!("picket1.{CA}"), short);
    check(&format!("picket1.{CA}.a"), short);
    check(&format!("picket1.{}.a.{SECRET}", &CA[1..]), Fingerprint);
    check(&format!("picket1.{}.a.{SECRET}", CA.to_uppercase()), Fingerprint);
    check(&format!("picket1.{CA}..{SECRET}"), Id);
    check(&format!("picket1.{CA}.A.{SECRET}"), Id);
    check(&format!("picket1.{CA}.{SECRET}.{SECRET}"), Id);
    check(&format!("picket1.{CA}.a.{}", &SECRET[1..]), Secret);
    check(&format!("picket1.{CA}.a.{SECRET}.b"), Secret);
    let error = format!("picket1.{CA}.a.{SECRET}").parse::<OperatorToken>().unwrap_err();
    assert_eq!(error, NotOperator);
    assert_eq!("picket-op1.a".parse::<OperatorToken>().unwrap_err(), CutShort { expected: "picket-op1.<id>.<secret>" });
}

#[test]
fn token_is_read_from_a_file_with_a_line_end() {
    let token: JoinToken = format!("picket1.{CA}.seoul.7.{SECRET}\n").parse().unwrap();
    assert_eq!((token.ca.to_string().as_str(), token.id.as_str()), (CA, "seoul.7"));
}

#[test]
fn hash_is_stored_and_found_again() {
    let token: OperatorToken = format!("picket-op1.alice.{SECRET}").parse().unwrap();
    let stored: SecretHash = token.secret_hash().to_string().parse().unwrap();
    assert_eq!(stored, token.secret_hash());
    assert_ne!(stored, TokenSecret::from_bytes([0; 32]).hash());
    assert_eq!(
        TokenSecret::from_bytes([0; 32]).hash().to_string(),
        "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925",
        "SHA-256 of 32 zero bytes"
    );
}

#[test]
fn debug_shows_no_secret() {
    let join: JoinToken = format!("picket1.{CA}.a.{SECRET}").parse().unwrap();
    let operator: OperatorToken = format!("picket-op1.a.{SECRET}").parse().unwrap();
    let text = join.to_secret_string();
    let shown = format!("{join:?} {operator:?} {text:?} {:?}", join.secret_hash());
    assert!(!shown.contains("ffeedd") && !shown.contains("255, 238"), "{shown}");
    assert!(!shown.contains(&join.secret_hash().to_string()), "{shown}");
}

#[test]
fn roles_are_ordered_and_have_one_text() {
    assert!(OperatorRole::Viewer < OperatorRole::Admin);
    for role in [OperatorRole::Viewer, OperatorRole::Admin] {
        assert_eq!(role.to_string().parse(), Ok(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.to_string());
    }
    assert!("root".parse::<OperatorRole>().is_err());
}

proptest! {
    #[test]
    fn tokens_survive_their_text(ca: [u8; 32], id in "[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?", secret: [u8; 32]) {
        let token = JoinToken {
            ca: hex::encode(ca).parse().unwrap(),
            id: id.parse().unwrap(),
            secret: TokenSecret::from_bytes(secret),
        };
        let read: JoinToken = token.to_secret_string().expose_secret().parse().unwrap();
        prop_assert_eq!((read.ca, &read.id, read.secret_hash()), (token.ca, &token.id, token.secret_hash()));
        let token = OperatorToken { id: token.id, secret: token.secret };
        let read: OperatorToken = token.to_secret_string().expose_secret().parse().unwrap();
        prop_assert_eq!((&read.id, read.secret_hash()), (&token.id, token.secret_hash()));
    }

    #[test]
    fn nonsense_is_refused(text in "(picket1\\.|picket-op1\\.)?([0-9a-f]{64}|.{0,70})(\\.[^0]{0,40}){0,3}") {
        prop_assert!(text.parse::<JoinToken>().is_err());
        prop_assert!(text.parse::<OperatorToken>().is_err());
    }

    #[test]
    fn a_token_with_one_character_changed_is_not_that_token(at in 0_usize..131, with in "[ -~]") {
        let text = format!("picket1.{CA}.a.{SECRET}");
        let mut changed = text.clone();
        changed.replace_range(at..=at, &with);
        prop_assume!(changed != text);
        let token: JoinToken = text.parse().unwrap();
        if let Ok(other) = changed.parse::<JoinToken>() {
            let same = other.ca == token.ca && other.id == token.id && other.secret_hash() == token.secret_hash();
            prop_assert!(!same, "{}", changed);
        }
    }
}
