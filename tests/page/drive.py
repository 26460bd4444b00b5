"""Looks at the status page of a running mesh in headless Chromium: every view, forms, what changes while one looks, what a
viewer may not, accessibility, and that nothing is loaded or run that the page's policy forbids. `picket-lab page` starts it."""

import argparse
import json
import pathlib
import sys
import time

import axe_playwright_python
from playwright.sync_api import Error, Page, expect, sync_playwright

AXE = (pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
VIEWS = ["/", "/map", "/hosts", "/hosts/prep-1", "/hosts/sentry-1", "/validators", "/attack", "/events", "/why?address=198.51.100.11"]
DESKTOP = {"width": 1200, "height": 860}
PHONE = {"width": 390, "height": 844}
PATIENCE = 20_000

# What a browser refuses by the page's policy is written down where the driver finds it.
WATCH = """
window.refusals = [];
document.addEventListener('securitypolicyviolation', (event) => window.refusals.push(event.violatedDirective + ' ' + event.blockedURI));
"""


class Run:
    """Checks, and what came of them."""

    def __init__(self, told, browser):
        self.told, self.browser = told, browser
        self.failed, self.passed, self.noise = [], 0, []

    def check(self, name, attempt):
        self.noise.clear()
        try:
            attempt()
            if self.noise:
                raise AssertionError("; ".join(self.noise))
        except (AssertionError, Error) as error:
            self.failed.append(name)
            print(f"FAILED {name}: {str(error).strip()[:1500]}", flush=True)
        else:
            self.passed += 1
            print(f"ok {name}", flush=True)

    def page(self, scheme="light", size=None, **more) -> Page:
        """A browser of its own, with nothing remembered."""
        context = self.browser.new_context(viewport=size or DESKTOP, color_scheme=scheme, **more)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.on("console", lambda line: self.hear(line))
        page.on("pageerror", lambda error: self.noise.append(f"script: {error}"))
        page.on("dialog", lambda dialog: (self.noise.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.asked(request))
        return page

    def hear(self, line):
        # A browser tells of every answer that is an error; which of them are right, the checks know.
        if line.type in ("error", "warning") and "Failed to load resource" not in line.text:
            self.noise.append(f"console: {line.text}")

    def asked(self, request):
        issuer = ("https://" + self.told["issuer"]["place"],) if self.told["issuer"] else ()
        if not request.url.startswith((self.told["page"], self.told["public"], *issuer)):
            self.noise.append(f"asked for {request.url}")
        for secret in (self.told["admin"], self.told["viewer"]):
            if secret in request.url:
                self.noise.append("a token is in an address")

    def logged_in(self, role, **more) -> Page:
        page = self.page(**more)
        page.goto(self.told["page"])
        page.get_by_label("Operator's token").fill(self.told[role])
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        return page

    def open(self, page, path):
        page.goto(self.told["page"] + path)


def usable_by_everybody(page):
    """axe-core's rules of WCAG 2.2, levels A and AA, and its best practices."""
    # The text is given to the browser by its own tools, which no policy of a page concerns.
    page.evaluate(AXE)
    found = page.evaluate("async () => (await axe.run(document)).violations")
    lines = [f"{rule['id']}: {node['html'][:160]} ({node.get('failureSummary', '')[:300]})" for rule in found for node in rule["nodes"]]
    assert not lines, "\n".join(lines[:6])


def nothing_refused(page):
    refusals = page.evaluate("window.refusals")
    assert not refusals, refusals


def as_wide_as_the_screen(page):
    wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1], f"{wide[0]} wide on a screen of {wide[1]}"


def login(run):
    page = run.page()
    page.goto(run.told["page"] + "/hosts")
    assert page.url.endswith("/login?to=/hosts"), page.url
    usable_by_everybody(page)
    page.get_by_label("Operator's token").fill("picket-op1.op-x." + "ab" * 32)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")
    usable_by_everybody(page)
    nothing_refused(page)
    page.get_by_label("Operator's token").fill(run.told["viewer"])
    page.keyboard.press("Enter")
    # Where the link led, by way of the login and of a wrong token.
    expect(page.get_by_role("heading", level=1)).to_have_text("Hosts")
    cookie = next(held for held in page.context.cookies() if held["name"] == "picket-session")
    assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Strict", cookie
    assert page.evaluate("document.cookie") == "", "a script can read the session"
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Operator's token")).to_be_visible()
    run.open(page, "/")
    assert page.url.endswith("/login"), "the session is over"


def login_by_an_issuer(run):
    def comes(login):
        # Its certificate is of nobody that the browser knows.
        page = run.page(ignore_https_errors=True)
        page.goto(run.told["page"] + "/hosts")
        usable_by_everybody(page)
        page.get_by_role("link", name="Log in with " + run.told["issuer"]["place"]).click()
        page.get_by_role("textbox").first.fill(login)
        page.keyboard.press("Enter")
        page.locator("input[type=password]").fill(f"{login}s own words")
        page.keyboard.press("Enter")
        page.wait_for_url(run.told["page"] + "/**")
        return page

    page = comes("ada")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hosts")
    expect(page.locator("form.who")).to_contain_text("ada")
    expect(page.locator("form.who")).to_contain_text("admin")
    held = {cookie["name"]: cookie for cookie in page.context.cookies(run.told["page"])}
    assert held["picket-session"]["sameSite"] == "Strict" and "picket-oidc" not in held, held
    nothing_refused(page)
    run.open(page, "/hosts/sentry-1")
    expect(page.get_by_role("link", name="Quarantine…")).to_be_visible()
    page = comes("eve")
    expect(page.get_by_role("alert")).to_contain_text("no [[page.oidc.allow]] of this controller lets them in")
    usable_by_everybody(page)
    run.open(page, "/hosts")
    assert page.url.endswith("/login?to=/hosts"), page.url
    # What the issuer's own pages say on the console is not ours.
    run.noise.clear()


def every_view(run, role, scheme, size):
    page = run.logged_in(role, scheme=scheme, size=size)
    for path in VIEWS:
        run.open(page, path)
        assert page.get_by_role("heading", level=1).count() == 1, path
        if path not in ("/why?address=198.51.100.11",):
            expect(page.locator("#link")).to_contain_text("live")
        try:
            usable_by_everybody(page)
            as_wide_as_the_screen(page)
            nothing_refused(page)
        except AssertionError as error:
            raise AssertionError(f"{path}: {error}") from error


def the_four_answers(run):
    page = run.logged_in("viewer")
    for question in ("Is anything wrong?", "Is my validator hidden?", "Who may reach it?", "What changed?"):
        expect(page.get_by_role("heading", name=question)).to_be_visible()
    hidden = page.locator("section.answer", has_text="Is my validator hidden?")
    expect(hidden).to_contain_text("Yes. prep-1 and prep-2 hide behind sentries.")
    expect(page.locator("section.answer", has_text="Is anything wrong?")).to_contain_text("look")
    expect(page.get_by_text("A change of the list is held back")).to_be_visible()


def what_changed(run):
    """Whoever logs in to ask is not the answer."""
    page = run.logged_in("viewer")
    changed = page.locator("section.answer", has_text="What changed?")
    expect(changed).not_to_contain_text("logged in")
    first = changed.locator("li a").first
    expect(first).to_contain_text("UTC")
    expect(first).to_contain_text(", by ")
    place = first.get_attribute("href").split("#")[1]
    first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Events")
    expect(page.locator(f"#{place}")).to_be_in_viewport()


def what_to_do(run):
    """From what is wrong to its page, and to its runbook."""
    page = run.logged_in("viewer")
    wrong = page.locator("section.answer", has_text="Is anything wrong?")
    expect(wrong.get_by_role("link", name="validator list held")).to_have_attribute("href", "/validators")
    expect(wrong.locator(".todo").first).to_contain_text("Do: ")
    wrong.get_by_role("link", name="PicketListHeld").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("PicketListHeld")
    expect(page.get_by_role("heading", name="Fix")).to_be_visible()
    usable_by_everybody(page)
    as_wide_as_the_screen(page)
    nothing_refused(page)


def a_hostile_name(run):
    page = run.logged_in("viewer")
    run.open(page, "/validators")
    expect(page.get_by_text("<img src=x onerror=alert(1)></td><script>")).to_be_visible()
    assert page.locator("main img, main script").count() == 0
    page.goto(run.told["public"])
    expect(page.get_by_text("<img src=x onerror=alert(1)></td><script>")).to_be_visible()
    assert page.locator("main img, main script").count() == 0
    nothing_refused(page)


def keyboard(run):
    page = run.logged_in("viewer")
    run.open(page, "/hosts")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    assert skip.evaluate("element => getComputedStyle(element).outlineStyle") == "solid", "where one is does not show"
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 40)"))
    assert {"prep-1", "prep-2", "sentry-1"} <= seen, seen


def without_scripts(run):
    page = run.logged_in("viewer", java_script_enabled=False)
    run.open(page, "/hosts/prep-1")
    expect(page.get_by_text("in force").first).to_be_visible()
    assert page.locator("meta[http-equiv=refresh]").count() == 1
    run.open(page, "/why")
    page.get_by_label("From address").fill("198.51.100.66")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer")).to_contain_text("No.")


def who_may_reach_what(run):
    page = run.logged_in("viewer")
    run.open(page, "/why")
    page.get_by_label("From address").fill("198.51.100.250")
    page.get_by_label("to host").select_option("prep-1")
    page.get_by_label("at port").fill("9000")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer")).to_contain_text("Yes, to guarded ports on 1 of 1 host")
    expect(page.locator("#answer")).to_contain_text("policy: admin")
    usable_by_everybody(page)
    page.get_by_label("at port").fill("22")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer .summary")).to_contain_text("Not guarded: Picket does not decide")
    page.get_by_label("From address").fill("not an address")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("is no address")


def a_viewer_changes_nothing(run):
    page = run.logged_in("viewer")
    for path, word in (("/hosts/sentry-1", "Revoke"), ("/hosts/sentry-1", "Quarantine"), ("/validators", "Let exactly")):
        run.open(page, path)
        assert word not in page.locator("main").inner_text(), f"{word} on {path}"
    send = """async ([path, csrf]) => (await fetch(path, { method: 'POST', redirect: 'manual',
              headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'csrf=' + csrf })).status"""
    csrf = page.locator("input[name=csrf]").first.get_attribute("value")
    for path in ("/hosts/sentry-1/revoke", "/hosts/sentry-1/quarantine", "/validators/approve", "/validators/hold"):
        status = page.evaluate(send, [path, csrf])
        assert status == 403, f"{path}: {status}"


def a_forged_form(run):
    page = run.logged_in("admin")
    run.open(page, "/hosts/sentry-2/quarantine")
    page.evaluate("document.querySelectorAll('input[name=csrf]').forEach((field) => { field.value = 'forged'; })")
    page.get_by_role("button", name="Quarantine").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Forbidden")
    # From a page of somebody else's, the browser brings no session along and says whence it comes.
    page = page.context.new_page()
    page.set_content(f"<form method=post action='{run.told['page']}/hosts/sentry-2/quarantine'><button>Go</button></form>")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Forbidden")
    expect(page.locator("main")).to_contain_text("sent from another site")
    usable_by_everybody(page)
    run.noise.clear()
    run.open(page, "/hosts/sentry-2")
    assert "quarantine," not in page.locator("main").inner_text()


def seen_while_it_happens(run):
    viewer, admin = run.logged_in("viewer"), run.logged_in("admin")
    run.open(viewer, "/hosts")
    expect(viewer.locator("#link")).to_contain_text("live")
    viewer.evaluate("window.mark = 'the same page'")
    run.open(admin, "/hosts/sentry-3")
    admin.get_by_role("link", name="Quarantine…").click()
    usable_by_everybody(admin)
    admin.get_by_role("button", name="Quarantine").click()
    expect(admin.locator("main")).to_contain_text("in quarantine")
    expect(viewer.get_by_role("row", name="sentry-3")).to_contain_text("in quarantine")
    expect(viewer.locator("#said")).to_contain_text("in force on")
    admin.get_by_role("button", name="Readmit").click()
    expect(viewer.get_by_role("row", name="sentry-3")).to_contain_text("good")
    assert viewer.evaluate("window.mark") == "the same page", "it was loaded anew"
    nothing_refused(viewer)


def a_revoke(run):
    admin = run.logged_in("admin")
    run.open(admin, "/hosts/sentry-3/revoke")
    expect(admin.locator("main")).to_contain_text("2 hosts will read the cut back: prep-1 and prep-2")
    admin.get_by_label("Reason").fill("its disk was stolen")
    admin.get_by_role("button", name="Revoke").click()
    expect(admin.locator(".cut")).to_contain_text("in force on 2 of 2 hosts")
    usable_by_everybody(admin)
    run.open(admin, "/events")
    expect(admin.locator(".timeline")).to_contain_text("its disk was stolen")
    expect(admin.locator(".timeline .diff").first).to_contain_text("tunnel to sentry-3")


def what_a_brake_holds(run):
    viewer, admin = run.logged_in("viewer"), run.logged_in("admin")
    expect(viewer.get_by_text("A change of the list is held back")).to_be_visible()
    run.open(admin, "/validators")
    admin.get_by_role("link", name="Decide…").click()
    expect(admin.get_by_role("heading", level=1)).to_have_text("Let this change through?")
    rows = admin.locator("tbody tr")
    expect(rows).to_have_count(40)
    assert admin.locator("html[data-live]").count() == 0, "it changes while somebody decides"
    usable_by_everybody(admin)
    as_wide_as_the_screen(admin)
    nothing_refused(admin)
    admin.get_by_role("button", name="Let exactly this change through").click()
    expect(admin.get_by_role("heading", name="Held back")).to_have_count(0)
    expect(admin.locator("main")).to_contain_text("60 validators")
    expect(viewer.get_by_text("A change of the list is held back")).to_have_count(0)


def what_everybody_sees(run):
    page = run.page()
    answer = page.goto(run.told["public"])
    text = answer.text()
    found = [address for address in run.told["addresses"] if address in text]
    assert not found and len(run.told["addresses"]) > 10, f"{found} of {len(run.told['addresses'])}"
    expect(page.get_by_role("heading", level=1)).to_have_text("Demonstration mesh")
    usable_by_everybody(page)
    nothing_refused(page)
    assert page.goto(run.told["public"] + "/hosts").status == 404


def pictures(run, folder):
    """What the README shows: light, dark, and as small as a phone."""
    shots = [
        ("overview-light", "/", "light", DESKTOP), ("overview-dark", "/", "dark", DESKTOP), ("overview-phone", "/", "light", PHONE),
        ("map-light", "/map", "light", DESKTOP), ("map-dark", "/map", "dark", DESKTOP), ("map-phone", "/map", "dark", PHONE),
        ("host-light", "/hosts/prep-1", "light", DESKTOP), ("host-phone", "/hosts/prep-1", "dark", PHONE),
        ("validators-light", "/validators", "light", DESKTOP), ("events-dark", "/events", "dark", DESKTOP),
        ("attack-light", "/attack", "light", DESKTOP), ("attack-phone", "/attack", "dark", PHONE),
        ("why-light", "/why?address=198.51.100.11&host=sentry-1", "light", DESKTOP),
    ]
    if not run.all_views:
        kept = ("overview-light", "map-dark", "validators-light", "overview-phone")
        shots = [shot for shot in shots if shot[0] in kept]
    for name, path, scheme, size in shots:
        page = run.logged_in("admin", scheme=scheme, size=size)
        run.open(page, path)
        if "why" not in name:
            expect(page.locator("#link")).to_contain_text("live")
        page.screenshot(path=folder / f"{name}.png")
    if run.all_views:
        for scheme in ("light", "dark"):
            page = run.page(scheme=scheme)
            page.goto(run.told["page"])
            page.screenshot(path=folder / f"login-{scheme}.png")
            page.goto(run.told["public"])
            page.screenshot(path=folder / f"public-{scheme}.png")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("told", type=pathlib.Path)
    arguments.add_argument("pictures", type=pathlib.Path)
    arguments.add_argument("--pictures-only", action="store_true")
    given = arguments.parse_args()
    told, start = json.loads(given.told.read_text()), time.monotonic()
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"]
        if told["issuer"]:
            arguments.append("--host-resolver-rules=MAP {place} {relay}".format(**told["issuer"]))
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        run = Run(told, browser)
        run.all_views = not given.pictures_only
        expect.set_options(timeout=PATIENCE)
        run.check("pictures", lambda: pictures(run, given.pictures))
        if not given.pictures_only:
            run.check("login and logout", lambda: login(run))
            run.check("login by an issuer", lambda: login_by_an_issuer(run))
            run.check("the four answers", lambda: the_four_answers(run))
            run.check("what changed is a change", lambda: what_changed(run))
            run.check("what is wrong comes with what to do", lambda: what_to_do(run))
            run.check("every view, light", lambda: every_view(run, "admin", "light", DESKTOP))
            run.check("every view, dark", lambda: every_view(run, "viewer", "dark", DESKTOP))
            run.check("every view, phone", lambda: every_view(run, "admin", "light", PHONE))
            run.check("a hostile name does nothing", lambda: a_hostile_name(run))
            run.check("keyboard", lambda: keyboard(run))
            run.check("without scripts", lambda: without_scripts(run))
            run.check("who may reach what", lambda: who_may_reach_what(run))
            run.check("a viewer changes nothing", lambda: a_viewer_changes_nothing(run))
            run.check("a forged form changes nothing", lambda: a_forged_form(run))
            run.check("a change is seen while it happens", lambda: seen_while_it_happens(run))
            run.check("what a brake holds is let through", lambda: what_a_brake_holds(run))
            run.check("a revoke is followed from host to host", lambda: a_revoke(run))
            run.check("what everybody sees", lambda: what_everybody_sees(run))
        browser.close()
    print(f"page: {run.passed} passed, {len(run.failed)} failed in {time.monotonic() - start:.0f} s", flush=True)
    return 1 if run.failed or not run.passed else 0


if __name__ == "__main__":
    sys.exit(main())
