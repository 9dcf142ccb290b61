// The sentences as words that can be chosen: with a click, or from the keyboard.

import { badge, byId, direction, el } from "./dom.js";

/**
 * Show sentences.
 *
 * @param {{words: string[], pieces: string[], changed: number[]}[]} sentences
 * @param {(sentence: number, position: number) => void} onChoose
 */
export function showSentences(sentences, onChoose) {
  const list = byId("reading");
  const focused = placeOf(document.activeElement);
  list.replaceChildren(
    ...sentences.map(({ words, pieces, known, changed }, s) => {
      const line = el("p", { dir: direction(pieces.join("") + words.join("")) }, pieces[0]);
      words.forEach((word, i) => {
        line.append(wordOf(word, s, i, known[i], changed[i]), pieces[i + 1]);
      });
      return el("li", { "aria-label": `Sentence ${s + 1}` }, badge(s + 1), line);
    }),
  );
  list.onclick = ({ target }) => {
    const place = placeOf(target);
    if (place !== null) onChoose(...place);
  };
  list.onkeydown = (event) => onKey(event, onChoose);
  if (focused !== null) wordAt(...focused)?.focus();
}

/** Mark the chosen word, and where else it stands. */
export function markWord(chosen, others) {
  for (const word of byId("reading").querySelectorAll(".word")) {
    const [sentence, position] = placeOf(word);
    const isChosen = sentence === chosen.sentence && position === chosen.position;
    word.setAttribute("aria-pressed", isChosen);
    // One stop of the Tab key for all words; arrows move among them.
    word.tabIndex = isChosen ? 0 : -1;
    word.classList.toggle(
      "same",
      others.some((use) => use.sentence === sentence && use.position === position),
    );
  }
}

function wordOf(word, sentence, position, known, changed) {
  // A span and not a button: a button is a box of its own, which breaks the order of words in lines
  // of two directions, and the breaking of lines without spaces.
  return el(
    "span",
    {
      class: known ? "word" : "word unknown",
      role: "button",
      tabindex: -1,
      "aria-pressed": "false",
      "data-sentence": sentence,
      "data-position": position,
      "--changed": Math.min(1, Math.max(0, changed)).toFixed(3),
      title: known ? null : "The model has no piece of this word",
    },
    word,
  );
}

function onKey(event, onChoose) {
  const place = placeOf(event.target);
  if (place === null || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Enter" || event.key === " ") {
    onChoose(...place);
  } else {
    const next = wordFrom(event.target, event.key, ...place);
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
  event.preventDefault();
}

/** The word that a key leads to, if there is one. */
function wordFrom(word, key, sentence, position) {
  const all = [...byId("reading").querySelectorAll(".word")];
  const onward = getComputedStyle(word.parentElement).direction === "rtl" ? -1 : 1;
  const steps = { ArrowRight: onward, ArrowLeft: -onward };
  if (key in steps) return all[all.indexOf(word) + steps[key]];
  const lines = { ArrowDown: sentence + 1, ArrowUp: sentence - 1 };
  if (key in lines) {
    const line = all.filter((other) => placeOf(other)[0] === lines[key]);
    return line[Math.min(position, line.length - 1)];
  }
  const own = all.filter((other) => placeOf(other)[0] === sentence);
  return { Home: own[0], End: own.at(-1) }[key];
}

function wordAt(sentence, position) {
  return byId("reading").querySelector(
    `[data-sentence="${sentence}"][data-position="${position}"]`,
  );
}

/** Sentence and position of a word's element; null for any other. */
function placeOf(node) {
  if (!node?.classList?.contains("word") || !("sentence" in node.dataset)) return null;
  return [Number(node.dataset.sentence), Number(node.dataset.position)];
}
