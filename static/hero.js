// Polling that htmx does not do itself: wait longer after each failure, show it, and pause in a hidden tab.
(() => {
  "use strict";
  const LONGEST_MS = 5 * 60 * 1000;
  let waitMs = 0;
  let notBefore = 0;
  let known = null; // the title, icon and heading of the last state that the server reported

  const hero = () => document.getElementById("hero");
  const banner = () => document.getElementById("offline");
  const announcement = () => document.getElementById("announcement");
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
    announcement().textContent = "";
    document.title = "Out of reach · " + known.title.split(" · ").slice(1).join(" · ");
    icon().href = banner().dataset.icon;
    // No state is certain while the server can't be reached.
    heading().textContent = "As last known";
    hero().append(document.getElementById("away").content.cloneNode(true));
  }

  function reached() {
    waitMs = 0;
    notBefore = 0;
    banner().hidden = true;
    if (!known) return;
    document.title = known.title;
    icon().href = known.icon;
    heading().textContent = known.heading;
    document.querySelector("#hero > .away").remove();
    known = null;
  }

  // Poll at once when somebody returns to the page.
  function now() {
    notBefore = 0;
    if (hero()) htmx.trigger(hero(), "poll-now");
  }

  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(name, failed);
  }
  // Before the response is swapped in, because it may have a new title and a new icon.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.status < 400) reached();
  });
  document.addEventListener("htmx:confirm", (event) => {
    const isPoll = event.target === hero();
    if (isPoll && (document.hidden || Date.now() < notBefore)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) now();
  });
  window.addEventListener("online", now);
})();
