//! The XML of AWS's answers, as far as elements without attributes go that do not nest in themselves. No parser of XML: what is
//! not found so is not there.

/// Texts of all elements of this name, as they stand.
pub fn elements<'a>(xml: &'a str, tag: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        Some(text)
    })
}

/// The text of the first element of this name, as it stands.
pub fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    elements(xml, tag).next()
}

/// A text as it may stand in an element.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text as it was before it stood in an element.
pub fn plain(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_in_order_and_half_of_one_is_none() {
        let xml = "<Error><Code>ValidationError</Code><Message>a</Message><Message>b</Message><Message>c";
        assert_eq!(element(xml, "Code"), Some("ValidationError"));
        assert_eq!(elements(xml, "Message").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((element("<Code>x", "Code"), element("", "Code"), element(xml, "Error")), (None, None, None));
    }

    #[test]
    fn what_was_escaped_is_plain_again() {
        let text = "\"a&lt;b\" <c> & d";
        assert_eq!(escaped(text), "&quot;a&amp;lt;b&quot; &lt;c&gt; &amp; d");
        assert_eq!(plain(&escaped(text)), text);
        assert_eq!(plain("&#34;&apos;"), "\"'");
    }
}
