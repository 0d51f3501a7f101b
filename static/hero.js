// What htmx leaves to the page: wait longer after each failure, say so, and rest in a hidden tab.
(() => {
  "use strict";
  const LONGEST_MS = 5 * 60 * 1000;
  let waitMs = 0;
  let notBefore = 0;
  let known = null; // the title, icon and heading of the last state that was heard of

  const hero = () => document.getElementById("hero");
  const banner = () => document.getElementById("offline");
  const icon = () => document.getElementById("icon");
  const heading = () => document.querySelector("#hero-title span:last-child");

  function failed() {
    const first = Number(hero().dataset.pollSeconds) * 1000;
    waitMs = Math.min(waitMs ? waitMs * 2 : first, LONGEST_MS);
    // Jitter, so that many open pages do not all return in the same second.
    notBefore = Date.now() + waitMs * (0.75 + Math.random() / 2);
    banner().hidden = false;
    if (known) return;
    known = { title: document.title, icon: icon().href, heading: heading().textContent };
    document.title = "Out of reach · " + known.title.split(" · ").slice(1).join(" · ");
    icon().href = banner().dataset.icon;
    // No state can be vouched for.
    heading().textContent = "As last known";
  }

  function reached() {
    waitMs = 0;
    notBefore = 0;
    banner().hidden = true;
    if (!known) return;
    document.title = known.title;
    icon().href = known.icon;
    heading().textContent = known.heading;
    known = null;
  }

  // Whoever comes back looks now: the wait is for those who are away.
  function now() {
    notBefore = 0;
    if (hero()) htmx.trigger(hero(), "poll-now");
  }

  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(name, failed);
  }
  // Before the answer is put in, which may bring a new title and a new icon.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.status < 400) reached();
  });
  document.addEventListener("htmx:confirm", (event) => {
    if (document.hidden || Date.now() < notBefore) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) now();
  });
  window.addEventListener("online", now);
})();
