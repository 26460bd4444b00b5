//! What every page of the operators' has round it: head, navigation, who is logged in, and the place where the script says what
//! changed. And the page for what went wrong.

use crate::{Answer, Mark, advice::items, assets};
use maud::{DOCTYPE, Markup, html};
use picket_model::{MeshId, TokenId};
use picket_pki::OperatorRole;

/// Who looks.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The operator.
    pub operator: TokenId,
    /// What they are called; nothing where nobody said.
    pub name: String,
    /// What they may do.
    pub role: OperatorRole,
    /// What each of their forms has to bring along.
    pub csrf: String,
}

impl Viewer {
    /// Whether they may change things.
    pub fn is_admin(&self) -> bool {
        self.role == OperatorRole::Admin
    }

    /// What people know them by.
    fn called(&self) -> String {
        if self.name.is_empty() { self.operator.to_string() } else { crate::text::plain(&self.name) }
    }

    /// The hidden field of a form.
    pub(crate) fn proof(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.csrf); }
    }
}

/// The views that the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The answers.
    Overview,
    /// The mesh as a picture.
    Map,
    /// The hosts.
    Hosts,
    /// The validator set.
    Validators,
    /// Who is refused.
    Attack,
    /// What happened.
    Events,
    /// Who may reach what.
    Why,
}

impl Section {
    const ALL: [Self; 7] =
        [Self::Overview, Self::Map, Self::Hosts, Self::Validators, Self::Attack, Self::Events, Self::Why];

    const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Map => "Map",
            Self::Hosts => "Hosts",
            Self::Validators => "Validators",
            Self::Attack => "Attack",
            Self::Events => "Events",
            Self::Why => "Who may reach what",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Map => "/map",
            Self::Hosts => "/hosts",
            Self::Validators => "/validators",
            Self::Attack => "/attack",
            Self::Events => "/events",
            Self::Why => "/why",
        }
    }
}

/// What a page is in.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The mesh.
    pub mesh: MeshId,
    /// Who looks.
    pub viewer: Viewer,
    /// Where in the navigation.
    pub section: Section,
}

impl Frame {
    /// A whole page that follows what happens.
    pub(crate) fn live(&self, title: &str, content: &Markup) -> Markup {
        self.whole(title, true, content)
    }

    /// A whole page that stays as it is, as one with a form that somebody fills in.
    pub(crate) fn still(&self, title: &str, content: &Markup) -> Markup {
        self.whole(title, false, content)
    }

    fn whole(&self, title: &str, is_live: bool, content: &Markup) -> Markup {
        let inner = html! {
            header.top {
                a.brand href="/" { (assets::mark()) span { "Picket" } }
                nav aria-label="Views" {
                    ul {
                        @for section in Section::ALL {
                            li { a href=(section.path()) aria-current=[(section == self.section).then_some("page")] {
                                (section.title())
                            } }
                        }
                    }
                }
                form.who method="post" action="/logout" {
                    (self.viewer.proof())
                    span title=(self.viewer.operator) { (self.viewer.called()) " · " (self.viewer.role) }
                    button.quiet type="submit" { "Log out" }
                }
            }
            main id="main" tabindex="-1" { (content) }
            footer {
                p { "mesh " (self.mesh) }
                @if is_live { p id="link" { "shown as of when it was loaded" } }
                p id="said" role="status" aria-live="polite" {}
            }
        };
        document(title, is_live, &inner)
    }
}

/// A document with our style and script.
pub(crate) fn document(title: &str, is_live: bool, body: &Markup) -> Markup {
    let head = html! { @if is_live { noscript { meta http-equiv="refresh" content="30"; } } };
    drawn(title, is_live, &head, body)
}

/// A document that a browser leaves at once for another page of ours.
pub(crate) fn leading_on(title: &str, to: &str, body: &Markup) -> Markup {
    drawn(title, false, &html! { meta http-equiv="refresh" content=(format_args!("0; url={to}")); }, body)
}

fn drawn(title: &str, is_live: bool, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-live=[is_live.then_some("events")] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Picket" }
                link rel="icon" href=(assets::ICON.path()) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE.path());
                script src=(assets::SCRIPT.path()) defer {}
                (head)
            }
            body {
                a.skip href="#main" { "Skip to content" }
                (body)
            }
        }
    }
}

/// A mark beside an answer: sign, word and colour.
pub(crate) fn mark(mark: Mark) -> Markup {
    html! {
        span class={ "mark " (mark.class()) } {
            span aria-hidden="true" { (mark.sign()) } " " (mark.as_str())
        }
    }
}

/// An answer as the overview has it; a change of the one that is `said` is read out.
pub(crate) fn answer(answer: &Answer, is_said: bool, more: Option<Markup>) -> Markup {
    html! {
        section class={ "answer " (answer.mark.class()) } {
            h2 { (answer.question) @if answer.mark != Mark::Plain { " " (mark(answer.mark)) } }
            p.said data-say[is_said] { (answer.text) }
            @if !answer.more.is_empty() {
                ul { (items(&answer.more)) }
            }
            @if let Some(more) = more { (more) }
        }
    }
}

/// Something went wrong, or may not be: what, and where to go on.
pub fn problem(title: &str, detail: &str, back: &str) -> Markup {
    let inner = html! {
        main.narrow id="main" {
            h1 { (title) }
            p { (crate::text::plain(detail)) }
            p { a href=(back) { "Back" } }
        }
    };
    document(title, false, &inner)
}
