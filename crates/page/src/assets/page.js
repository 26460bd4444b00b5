// Keeps what is shown up to date: the controller says that something changed, the page is fetched again, and what differs is
// exchanged in place, so that focus, selection and scrolling stay. Every page works without this file.
(() => {
  "use strict";
  if (document.documentElement.dataset.live !== "events") return;
  const main = document.getElementById("main");
  const link = document.getElementById("link");
  const said = document.getElementById("said");
  const pause = 15000;
  let busy = false;
  let again = false;

  const tell = (text, isLive) => {
    link.textContent = text;
    link.classList.toggle("live", isLive);
  };
  const live = () => tell(`live, ${new Date().toLocaleTimeString([], { hour12: false })}`, true);
  const sentence = () => main.querySelector("[data-say]")?.textContent;

  const morph = (old, next) => {
    if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || old.id !== next.id) {
      old.replaceWith(next);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== next.data) old.data = next.data;
      return;
    }
    // What somebody is typing is theirs.
    if (old.matches("input:not([type=hidden]), select, textarea")) return;
    for (const { name, value } of [...next.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name)) old.removeAttribute(name);
    }
    const [had, has] = [[...old.childNodes], [...next.childNodes]];
    has.forEach((child, place) => (had[place] ? morph(had[place], child) : old.append(child)));
    had.slice(has.length).forEach((child) => child.remove());
  };

  const exchange = (fresh) => {
    const before = sentence();
    for (const open of main.querySelectorAll("details[open][id]")) {
      fresh.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
    }
    morph(main, document.adoptNode(fresh.getElementById("main")));
    const now = sentence();
    if (now && now !== before) said.textContent = now;
  };

  const refresh = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      // Says that nobody asked for it: a page that is left open does not keep its login alive.
      const headers = { accept: "text/html", "picket-live": "1" };
      const answer = await fetch(location.href, { cache: "no-store", headers });
      if (answer.redirected || answer.status === 401) {
        location.reload();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
      live();
    } catch {
      tell("the controller does not answer; what is shown is of before", false);
    } finally {
      busy = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  };

  const listen = () => {
    const source = new EventSource("/live");
    source.addEventListener("open", live);
    source.addEventListener("changed", refresh);
    source.addEventListener("error", () => {
      tell("the connection is lost; trying again", false);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { refresh(); listen(); }, pause);
    });
  };
  listen();
})();
