//! Words as other programs read them, so that nothing that was typed is taken for syntax there.

/// A word for a POSIX shell.
pub(crate) fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A text for YAML, TOML, HCL and JSON, whose double-quoted texts agree on these escapes.
pub(crate) fn double(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(shell("https://c.example:7443"), "https://c.example:7443");
        assert_eq!(
            (shell(""), shell("a b"), shell("a'b")),
            ("''".to_owned(), "'a b'".to_owned(), r"'a'\''b'".to_owned())
        );
        assert_eq!(double("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
