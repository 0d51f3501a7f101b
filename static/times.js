// Times in the reader's own time zone.  Without it they are UTC; days of growth stay UTC days.
(() => {
  "use strict";
  const DATE = { day: "numeric", month: "short", year: "numeric" };
  const MOMENT = {
    day: "numeric", month: "long", year: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short",
  };
  const date = new Intl.DateTimeFormat("en-US", DATE); // as the server: Sep, not Sept
  const moment = new Intl.DateTimeFormat("en-GB", MOMENT);

  function text(format, at) {
    const part = Object.fromEntries(format.formatToParts(at).map((each) => [each.type, each.value]));
    const day = `${part.day} ${part.month} ${part.year}`;
    return part.hour ? `${day}, ${part.hour}:${part.minute}:${part.second} ${part.timeZoneName}` : day;
  }

  // A day, such as 2026-01-31, has no T and is left alone.
  function show(within) {
    for (const each of within.querySelectorAll("time[datetime*='T']:not([data-local])")) {
      const at = new Date(each.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      each.dataset.local = "";
      each.textContent = text("date" in each.dataset ? date : moment, at);
    }
  }

  show(document);
  const zone = document.getElementById("zone");
  if (zone) zone.textContent = `Times are in your time zone, ${moment.resolvedOptions().timeZone}. Days of growth are UTC days.`;
  // Parts of the page that htmx swaps in.
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE) show(node.parentNode || node);
    }
  }).observe(document.body, { childList: true, subtree: true });
})();
