// Flaws of the page's layout in the present window, as sentences.
() => {
  const SLACK = 1; // px: rounding
  const flaws = new Set();
  const CARDS = "section, article, aside, .bar, footer, .banner, .outcome, .notice";
  const DRAWN = "button, input, select, textarea, progress, svg, .dot, .key, .mark";
  const isShown = (element) =>
    element.checkVisibility({ visibilityProperty: true }) && !element.closest(".visually-hidden, .skip, svg svg");
  const short = (text) => text.trim().replace(/\s+/g, " ").slice(0, 24);
  const named = (element) =>
    element.tagName.toLowerCase() + (element.id ? "#" + element.id : "") +
    [...element.classList].map((name) => "." + name).join("");
  const blocks = new Map();
  const blockOf = (element) => {
    if (!blocks.has(element)) {
      const isInline = getComputedStyle(element).display.startsWith("inline");
      blocks.set(element, isInline ? blockOf(element.parentElement) : element);
    }
    return blocks.get(element);
  };
  // The box that cuts off what is beyond it, as that of a long name in a list.
  const cuts = new Map();
  const cutOf = (element) => {
    if (!element || element === document.body) return null;
    if (!cuts.has(element)) {
      const isCut = getComputedStyle(element).overflowY === "hidden";
      cuts.set(element, isCut ? element.getBoundingClientRect() : cutOf(element.parentElement));
    }
    return cuts.get(element);
  };
  // Where ink may be: within the padding of its card, but from the upper border to the lower one.
  const insides = new Map();
  const insideOf = (card) => {
    if (!insides.has(card)) {
      const box = card.getBoundingClientRect(), style = getComputedStyle(card);
      insides.set(card, {
        left: box.left + parseFloat(style.borderLeftWidth) + parseFloat(style.paddingLeft) - SLACK,
        right: box.right - parseFloat(style.borderRightWidth) - parseFloat(style.paddingRight) + SLACK,
        top: box.top - SLACK,
        bottom: box.bottom + SLACK,
      });
    }
    return insides.get(card);
  };

  // Whatever ink there is: lines of text, and controls and drawings as a whole.
  const inks = [], severalLines = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest("svg, select, textarea, script") || !isShown(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const block = blockOf(element), boxes = range.getClientRects();
    if (boxes.length > 1) severalLines.push(node);
    for (const box of boxes) {
      // A line's box is higher than its letters.
      const inset = box.height * 0.15, cut = cutOf(element);
      if (box.width && !(cut && box.top + inset > cut.bottom)) inks.push({ element, block, of: node, name: `“${short(node.data)}”`, left: box.left, right: box.right, top: box.top + inset, bottom: box.bottom - inset });
    }
  }
  // A short word stays whole wherever its card has room for it: a column may not be squeezed to single letters.
  const splitWords = function* (node) {
    const range = document.createRange();
    for (const word of node.data.matchAll(/(?<=^|\s)[\p{L}\p{N}.,:;]{2,20}(?=$|\s)/gu)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = [...range.getClientRects()];
      if (lines.length > 1 && lines.at(-1).top >= lines[0].bottom - SLACK) yield [word[0], lines.reduce((sum, line) => sum + line.width, 0)];
    }
  };
  for (const node of severalLines) {
    const inside = insideOf(node.parentElement.closest(`pre, ${CARDS}`) ?? document.body);
    for (const [word, width] of splitWords(node))
      if (width < inside.right - inside.left - 3 * SLACK) flaws.add(`“${word}” is split in “${short(node.data)}”`);
  }
  for (const element of document.body.querySelectorAll(DRAWN)) {
    const box = element.getBoundingClientRect();
    if (!isShown(element) || !box.width || !box.height) continue;
    inks.push({ element, block: element, of: element, name: named(element), left: box.left, right: box.right, top: box.top, bottom: box.bottom });
  }

  if (document.documentElement.scrollWidth > innerWidth) flaws.add(`the page is ${document.documentElement.scrollWidth - innerWidth} px too wide`);

  for (const ink of inks) {
    const card = ink.element.closest(CARDS) ?? document.body, inside = insideOf(card);
    if (ink.left < inside.left || ink.right > inside.right || ink.top < inside.top || ink.bottom > inside.bottom)
      flaws.add(`${ink.name} leaves ${named(card)}`);
  }

  for (const element of document.body.querySelectorAll("*")) {
    if (element.scrollWidth <= element.clientWidth + SLACK || !element.clientWidth || element.matches("input, .visually-hidden, svg *") || !isShown(element)) continue;
    flaws.add(`${named(element)} (${short(element.textContent)}) has more than fits`);
  }

  inks.sort((one, other) => one.top - other.top);
  for (const [at, one] of inks.entries()) {
    for (let next = at + 1; next < inks.length && inks[next].top < one.bottom - SLACK; next++) {
      const other = inks[next];
      if (one.of === other.of || one.element.contains(other.element) || other.element.contains(one.element)) continue;
      // Words of one sentence may touch; those of two cells may not.
      const between = one.block === other.block ? SLACK : -2 * SLACK;
      if (one.left < other.right - between && other.left < one.right - between)
        flaws.add(`${one.name} is over ${other.name}`);
    }
  }
  return [...flaws];
}
