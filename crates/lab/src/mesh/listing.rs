//! What nft lists, made comparable. Knows no host.

/// A listing without what is in meters, which comes and goes with packets. A set's own lines are indented by two tabs.
pub fn without_meters(listing: &str) -> String {
    let (mut kept, mut is_meter, mut is_inside) = (String::new(), false, false);
    for line in listing.lines() {
        if line.starts_with("\tset ") {
            is_meter = false;
        } else if line.starts_with("\t\tsize ") || line.starts_with("\t\tflags ") && line.contains("dynamic") {
            is_meter = true;
        } else if is_meter && line.starts_with("\t\telements = {") {
            is_inside = true;
        }
        if !is_inside {
            kept.push_str(line);
            kept.push('\n');
        }
        is_inside &= !line.ends_with('}');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_are_empty_and_other_sets_are_not() {
        let meter = |elements: &str| {
            format!(
                "table inet picket {{\n\tset syn4 {{ # handle 4\n\t\ttypeof ip saddr\n\t\tsize 9\n\t\tflags dynamic\n{elements}\t}}\n\n\
                 \tset hosts4 {{\n\t\ttypeof ip saddr\n\t\telements = {{ 192.0.2.1,\n\t\t\t     192.0.2.2 }}\n\t}}\n}}\n"
            )
        };
        let empty = meter("");
        assert_eq!(without_meters(&empty), empty);
        assert_eq!(without_meters(&meter("\t\telements = { 192.0.2.1 expires 3s }\n")), empty);
        assert_eq!(without_meters(&meter("\t\telements = { 192.0.2.1 expires 3s,\n\t\t\t     192.0.2.9 }\n")), empty);
    }
}
