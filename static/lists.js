// Only the totals are polled.  Say when the lists are older, and swap them without losing the reader's place.
(() => {
  "use strict";
  const FIELDS = "input:not([type=hidden]), details";
  const ACTIVE = "a, button, input, select, summary, details";
  let place = null; // what to restore after a swap
  let state = null; // that of the totals before it
  let cameFrom = null; // what had the focus before the notice's link

  const byId = (id) => document.getElementById(id);
  // What stays the same when an element is replaced by its successor.
  const key = (element) =>
    element.tagName + (element.id || element.name || element.getAttribute("href") || element.textContent.trim());

  function successor(part, saved) {
    return [...part.querySelectorAll(ACTIVE)].find((each) => key(each) === saved);
  }

  function remember() {
    const link = byId("newer-link");
    let at = document.activeElement;
    const isLink = at === link;
    if (isLink) at = cameFrom && cameFrom.isConnected && cameFrom.closest("#lists") ? cameFrom : null;
    const part = isLink ? byId("lists") : at.closest("#hero, #lists");
    state = byId("hero").dataset.state;
    place = {
      part: part && part.id,
      focus: part && at && key(at),
      selection: at && at.id === "q" && [at.selectionStart, at.selectionEnd],
      fields: [...byId("lists").querySelectorAll(FIELDS)].map((each) => [key(each), each.value, each.checked, each.open]),
      scroll: [scrollX, scrollY],
    };
  }

  function restore() {
    if (!place) return;
    const saved = place;
    place = null;
    for (const [name, value, checked, open] of saved.fields) {
      const found = successor(byId("lists"), name);
      if (found) Object.assign(found, found.tagName === "DETAILS" ? { open } : { value, checked });
    }
    if (saved.part) focusAgain(byId(saved.part), saved);
    scrollTo(...saved.scroll);
  }

  // On the element that had the focus; or if it is gone, on the heading, from where the keyboard goes on.
  function focusAgain(part, saved) {
    const found = saved.focus && successor(part, saved.focus);
    const target = found || part.querySelector("h1, h2");
    if (!target || target === document.activeElement) return;
    if (!found) target.tabIndex = -1;
    target.focus({ preventScroll: true });
    if (found && saved.selection) found.setSelectionRange(...saved.selection);
  }

  function compare() {
    const lists = byId("lists");
    const areOlder = lists.dataset.figures !== byId("hero").dataset.figures;
    byId("newer").firstElementChild.hidden = !areOlder;
    // Where nothing is shown yet there is no place to lose.
    if (areOlder && !lists.firstElementChild) htmx.trigger("#newer-link", "fill");
  }

  // New lists come with the totals of the same moment.  A new state has its icon and its announcement too.
  function followState() {
    const hero = byId("hero");
    if (state === null || hero.dataset.state === state) return;
    const address = hero.getAttribute("hx-get").split("?")[0];
    htmx.ajax("GET", address, { target: "#hero", swap: "outerHTML" });
  }

  document.addEventListener("focusin", (event) => {
    if (event.target === byId("newer-link")) cameFrom = event.relatedTarget;
  });
  document.addEventListener("htmx:beforeSwap", remember);
  document.addEventListener("htmx:afterSwap", (event) => {
    restore();
    compare();
    if (event.target.id === "lists") followState();
  });
})();
