//! How single values are written on the page. Strangers' texts are shown whole and harmless: markup is escaped by type, and here
//! what is invisible, or turns the direction of reading, is spelt out.

use maud::{Markup, html};
use picket_model::Timestamp;
use std::net::IpAddr;

/// Characters of a stranger's text that are shown.
const LONGEST: usize = 300;
/// Of one that is folded away.
const LONGEST_FOLDED: usize = 20_000;

/// A text from anywhere, on its own: control characters, marks that turn the direction, and invisible ones are written as escapes.
pub(crate) fn plain(text: &str) -> String {
    shown(text, LONGEST)
}

fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (place, c) in text.chars().enumerate() {
        if place == most {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// A stranger's text between others: whichever way it is read, what stands round it keeps its place.
pub(crate) fn foreign(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// The same where it is folded away and may be long.
pub(crate) fn foreign_whole(text: &str) -> Markup {
    html! { bdi { (shown(text, LONGEST_FOLDED)) } }
}

/// A point in time, and how long ago it was.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) title=(at) { (ago(at, now)) } }
}

/// A point in time in full.
pub(crate) fn full(at: Timestamp) -> Markup {
    let text = at.to_string().replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(at) { (text) } }
}

/// The minute of a day.
pub(crate) fn minute(at: Timestamp) -> String {
    format!("{} UTC", at.to_string().get(11..16).unwrap_or_default())
}

/// How long ago, in one unit.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        return format!("in {}", span(at.since(now).as_secs()));
    }
    format!("{} ago", span(now.since(at).as_secs()))
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number in groups of three.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes.
pub(crate) fn bytes(value: u64) -> String {
    match value {
        0..1024 => format!("{value} B"),
        1024..1_048_576 => format!("{} KiB", value >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", value >> 20),
        _ => format!("{}.{} GiB", value >> 30, ((value & 0x3fff_ffff) * 10) >> 30),
    }
}

/// `1 host`, `2 hosts`.
pub(crate) fn count(number: usize, one: &str) -> String {
    counted(number, one, &format!("{one}s"))
}

/// `1 sentry`, `2 sentries`.
pub(crate) fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// Names with commas and a last "and"; beyond `most` they are counted.
pub(crate) fn names<T: AsRef<str>>(all: &[T], most: usize) -> String {
    let shown: Vec<&str> = all.iter().take(most).map(AsRef::as_ref).collect();
    match (all.len().checked_sub(most), shown.as_slice()) {
        (Some(more), shown) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        (_, []) => String::new(),
        (_, [one]) => (*one).to_owned(),
        (_, [first @ .., last]) => format!("{} and {last}", first.join(", ")),
    }
}

/// Whether a text has a network address in it, however it is decorated: `203.0.113.7`, `ip-203-0-113-7`, `2001:db8::1`.
pub(crate) fn has_address(text: &str) -> bool {
    let dotted = text.replace(['-', '_'], ".");
    let v4 = |text: &str| {
        let numbers: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).collect();
        let small = |number: &&str| number.parse::<u8>().is_ok();
        numbers.windows(4).any(|four| four.iter().all(small)) && text.contains('.')
    };
    let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.');
    let v6 = |word: &str| word.trim_matches('.').parse::<IpAddr>().is_ok() || word.matches(':').count() >= 3;
    v4(&dotted) || words.into_iter().any(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invisible_or_turns_the_line_is_spelt_out() {
        assert_eq!(plain("Zürich \"x\" 'y' \\"), "Zürich \"x\" 'y' \\");
        assert_eq!(plain("a\u{202e}b\u{200b}\n\u{1b}[2J"), "a\\u{202e}b\\u{200b}\\n\\u{1b}[2J");
        assert_eq!(plain(&"x".repeat(400)).chars().count(), LONGEST + 1);
        assert_eq!(foreign("<script>").into_string(), "<bdi>&lt;script&gt;</bdi>");
    }

    #[test]
    fn times_and_numbers_are_short() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let check = |then, now, expect: &str| assert_eq!(ago(at(then), at(now)), expect);
        check(0, 5, "5 s ago");
        check(0, 600, "10 min ago");
        check(0, 7_200, "2 h ago");
        check(0, 200_000, "2 days ago");
        check(60, 0, "in 60 s");
        assert_eq!((number(1_234_567).as_str(), number(12).as_str()), ("1\u{202f}234\u{202f}567", "12"));
        assert_eq!((bytes(5), bytes(3 << 30)), ("5 B".to_owned(), "3.0 GiB".to_owned()));
        assert_eq!((count(1, "host"), count(0, "host")), ("1 host".to_owned(), "0 hosts".to_owned()));
        assert_eq!(
            (names(&["a", "b", "c"], 5), names(&["a", "b", "c"], 1)),
            ("a, b and c".into(), "a and 2 more".into())
        );
    }

    #[test]
    fn addresses_are_found_in_whatever_is_round_them() {
        for text in
            ["203.0.113.7", "at 203.0.113.7:7100!", "ip-203-0-113-7", "x_10_0_0_1", "2001:db8::1", "[fd00::1]:9", "::1"]
        {
            assert!(has_address(text), "{text}");
        }
        for text in ["validator 7", "ICX-Station", "v1.2.3", "12:30", "a:b", "Ωmega 3000", "2026-11-23"] {
            assert!(!has_address(text), "{text}");
        }
    }
}
