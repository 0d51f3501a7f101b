// What htmx leaves to the page: wait longer after each failure, say so, and rest in a hidden tab.
(() => {
  "use strict";
  const LONGEST_MS = 5 * 60 * 1000;
  let waitMs = 0;
  let notBefore = 0;

  const hero = () => document.getElementById("hero");
  const banner = () => document.getElementById("offline");

  function failed() {
    const first = Number(hero().dataset.pollSeconds) * 1000;
    waitMs = Math.min(waitMs ? waitMs * 2 : first, LONGEST_MS);
    // Jitter, so that many open pages do not all return in the same second.
    notBefore = Date.now() + waitMs * (0.75 + Math.random() / 2);
    banner().hidden = false;
  }

  function reached() {
    waitMs = 0;
    notBefore = 0;
    banner().hidden = true;
  }

  // Whoever comes back looks now: the wait is for those who are away.
  function now() {
    notBefore = 0;
    if (hero()) htmx.trigger(hero(), "poll-now");
  }

  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(name, failed);
  }
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) reached();
  });
  document.addEventListener("htmx:confirm", (event) => {
    if (document.hidden || Date.now() < notBefore) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) now();
  });
  window.addEventListener("online", now);
})();
