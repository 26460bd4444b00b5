//! Durations as operators write them and ages as they read them.

use picket_model::Timestamp;
use std::time::Duration;

/// Units from long to short, in milliseconds; `ms` before `m` and `s`, of which it would look like one.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration like `90s`, `15m`, `1h30m`, `500ms`: whole numbers with units, each unit once, from long to short.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let example = "write it like 90s, 15m or 1h30m";
    let (mut rest, mut millis, mut units) = (text, 0_u64, &UNITS[..]);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (name, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        if number.is_empty() {
            return Err(format!("{text:?} is not a duration; {example}"));
        }
        if name.is_empty() {
            return Err(format!("{number} has no unit; {example}"));
        }
        let at = units.iter().position(|(unit, _)| *unit == name);
        let Some((place, factor)) = at.and_then(|place| Some((place, units.get(place)?.1))) else {
            return Err(format!("{name:?} is not a unit here (d, h, m, s, ms, from long to short); {example}"));
        };
        let more = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        millis = more.and_then(|more| millis.checked_add(more)).ok_or_else(|| format!("{text} is too long"))?;
        (rest, units) = (after, &units[place + 1..]);
    }
    if text.is_empty() { Err(format!("a duration is missing; {example}")) } else { Ok(Duration::from_millis(millis)) }
}

/// A duration in its largest whole unit: `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// How long ago something was: `12 s ago`; `never` where it was not.
pub(crate) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", rough(now.since(at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let check = |text: &str, millis: u64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        check("90s", 90_000);
        check("15m", 900_000);
        check("1h30m", 5_400_000);
        check("2d", 172_800_000);
        check("1d2h3m4s5ms", 93_784_005);
        check("500ms", 500);
        check("0s", 0);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        let check = |text: &str, expect: &str| {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("", "is missing; write it like 90s");
        check("90", "90 has no unit");
        check("1h30", "30 has no unit");
        check("h", "\"h\" is not a duration");
        check("-5s", "\"-5s\" is not a duration");
        check("1.5h", "\".\" is not a unit");
        check("5 s", "\" s\" is not a unit");
        check("1y", "\"y\" is not a unit");
        check("1m1h", "from long to short");
        check("1m1m", "from long to short");
        check("99999999999999999999s", "too long");
        check("18446744073709551615d", "too long");
    }

    #[test]
    fn ages_are_rough_and_never_negative() {
        let now = Timestamp::from_millis(1_000_000_000);
        let check = |seconds: i64, expect: &str| {
            let at = Timestamp::from_millis(1_000_000_000 - seconds * 1000);
            assert_eq!(ago(Some(at), now), expect);
        };
        check(0, "0 s ago");
        check(-5, "0 s ago");
        check(12, "12 s ago");
        check(119, "119 s ago");
        check(120, "2 min ago");
        check(7199, "119 min ago");
        check(7200, "2 h ago");
        check(172_800, "2 d ago");
        assert_eq!(ago(None, now), "never");
    }
}
