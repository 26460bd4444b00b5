//! Any bytes as what somebody posts to a hook: an event, a message of SNS that nobody signed, a push of Pub/Sub, a webhook's
//! order. What is read of it goes into the database, the audit log, and requests to a cloud.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_attest::hooks::{
    HookError, Notice,
    event::Event,
    pubsub::Push,
    sns::Unverified,
    webhook::{Headers, Order, Secret},
};
use picket_fuzz::NOW;

/// Longest text of a refusal in bytes: some words around what was shown, of which 160 characters are kept and escaped.
const LONGEST_REFUSAL: usize = 4000;

fuzz_target!(|body: &[u8]| {
    if let Some(event) = read(Event::parse(body)) {
        check_plain(&event.id);
        check_notice(&event.notice);
    }
    if let Some(push) = read(Push::parse(body, true)) {
        check_plain(&push.id);
        push.notice.iter().for_each(check_notice);
    }
    if let Some(message) = read(Unverified::parse(body))
        && let Some(path) = read(message.certificate_path(true))
    {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-.".contains(&byte);
        assert!(path.starts_with("/SimpleNotificationService-") && path.bytes().all(is_plain), "{path:?}");
        assert!(message.topic().host().starts_with("sns."));
    }
    if let Some(order) = read(Order::parse(body)) {
        check_plain(&order.node);
    }
    let secret = Secret::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("a secret");
    let text = String::from_utf8_lossy(body);
    let headers = Headers { id: "1", timestamp: &text, signature: &text };
    read(secret.verify(headers, body, NOW).map(|()| unreachable!("nobody signed it")));
});

fn check_notice(notice: &Notice) {
    assert!(notice.identity.as_str().ends_with(&notice.instance));
    [&notice.account, &notice.place, &notice.what].into_iter().for_each(|text| check_plain(text));
    if let Some(action) = &notice.action {
        let written = serde_json::to_string(action).expect("JSON");
        assert_eq!(serde_json::from_str(&written).as_ref().ok(), Some(action));
        [&action.group, &action.hook, &action.token].into_iter().for_each(|text| check_plain(text));
    }
}

fn check_plain(text: &str) {
    assert!(!text.is_empty() && text.len() <= 300, "{text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text:?}");
}

fn read<T>(read: Result<T, HookError>) -> Option<T> {
    read.map_err(|refused| {
        let text = refused.to_string();
        assert!(text.len() <= LONGEST_REFUSAL, "{} bytes", text.len());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    })
    .ok()
}
