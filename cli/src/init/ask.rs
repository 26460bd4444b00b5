//! Questions to a person at a terminal, one after another; a wrong answer is asked again.

use super::answers::{Answers, Host};
use anyhow::{Result, bail};
use std::{
    io::{BufRead, Write},
    str::FromStr,
};

/// Asks for what `answers` does not say yet.
pub(super) fn ask(mut answers: Answers, from: &mut impl BufRead, to: &mut impl Write) -> Result<Answers> {
    if answers.name.is_none() {
        let name: Option<String> = one("The mesh's name [picket]", from, to)?;
        answers.name = name;
    }
    while answers.controller.is_none() {
        answers.controller = one::<Host>("The controller's host, NAME=ADDRESS", from, to)?;
    }
    if answers.sentries.is_empty() {
        answers.sentries = many("A sentry, NAME=ADDRESS (nothing more: empty line)", from, to)?;
    }
    if answers.preps.is_empty() {
        answers.preps = many("A validator's host, NAME=ADDRESS (nothing more: empty line)", from, to)?;
    }
    if answers.admin.is_empty() {
        answers.admin =
            many("One of your own networks, from which you always get in (nothing more: empty line)", from, to)?
                .into_iter()
                .collect();
    }
    if answers.ssh_user.is_none() {
        answers.ssh_user = one("Whom Ansible logs in as [root]", from, to)?;
    }
    if !answers.hide && !answers.sentries.is_empty() && !answers.preps.is_empty() {
        let said: Option<String> = one("Hide the validators behind the sentries, step by step? y or n [n]", from, to)?;
        answers.hide = said.is_some_and(|said| ["y", "yes"].contains(&said.as_str()));
    }
    Ok(answers)
}

/// One answer; `None` for an empty line.
fn one<T: FromStr<Err: std::fmt::Display>>(
    question: &str,
    from: &mut impl BufRead,
    to: &mut impl Write,
) -> Result<Option<T>> {
    loop {
        write!(to, "{question}: ")?;
        to.flush()?;
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            bail!("the answers ended before the questions: nothing was written");
        }
        match line.trim() {
            "" => return Ok(None),
            text => match text.parse() {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => writeln!(to, "  {error}")?,
            },
        }
    }
}

/// Answers until an empty line.
fn many<T: FromStr<Err: std::fmt::Display>>(
    question: &str,
    from: &mut impl BufRead,
    to: &mut impl Write,
) -> Result<Vec<T>> {
    let mut answers = Vec::new();
    while let Some(answer) = one(question, from, to)? {
        answers.push(answer);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_until_they_are_answered() {
        let typed = "\ncontrol-1\n\ncontrol-1=192.0.2.1\nsentry-1=192.0.2.2\n\nprep-1=192.0.2.3\n\n192.0.2.0\n192.0.2.0/28\n\ndebian\ny\n";
        let mut said = Vec::new();
        let answers = ask(Answers::default(), &mut typed.as_bytes(), &mut said).unwrap();
        answers.check().unwrap();
        assert_eq!((answers.name(), answers.hide, answers.ssh_user.as_deref()), ("picket", true, Some("debian")));
        assert_eq!(answers.hosts().count(), 3);
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.matches("The controller's host").count(), 3, "{said}");
        assert!(said.contains("  give it as NAME=ADDRESS"), "{said}");
    }

    #[test]
    fn what_was_said_is_not_asked_again_and_an_early_end_is_an_error() {
        let known = Answers { name: Some("own".to_owned()), ..Answers::default() };
        let mut said = Vec::new();
        let error = ask(known, &mut "control-1=192.0.2.1\n".as_bytes(), &mut said).unwrap_err().to_string();
        assert!(error.contains("nothing was written"), "{error}");
        assert!(!String::from_utf8(said).unwrap().contains("mesh's name"));
    }
}
