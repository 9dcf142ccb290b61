// The chosen word in the corpus of an index: its senses, and a concordance with the word in the
// middle, coloured by sense.

import { byId, choice, cosine, direction, el, percent } from "./dom.js";
import { ask, Trouble } from "./server.js";

const FOUND = 24;
const AROUND = 90; // characters on each side of the word

export const KINDS = [
  { value: "senses", label: "by sense" },
  { value: "same", label: "used like here" },
  { value: "different", label: "used differently" },
  { value: "synonyms", label: "other words" },
];

/** Hide the panel, or leave it with a note alone. */
export function hideCorpus(note = "") {
  byId("concordance").hidden = note === "";
  byId("corpus-kind").hidden = true;
  byId("corpus").replaceChildren(el("p", { class: "hint" }, note));
}

/**
 * Show what the index has of a word.
 *
 * @param {{text: string, word: string, position: number}} use the chosen word in its sentence
 * @param {string} kind one of KINDS
 */
export async function showCorpus(use, kind, change, signal) {
  byId("concordance").hidden = false;
  byId("concordance-title").replaceChildren(
    el("strong", { dir: "auto" }, use.word),
    " in the corpus",
  );
  const body = byId("corpus");
  if (body.dataset.word !== use.word) {
    body.replaceChildren(el("p", { class: "hint" }, "Looking \u2026"));
    body.dataset.word = use.word;
  }
  byId("corpus-kind").hidden = false;
  choice(byId("corpus-kind"), KINDS, kind, (value) => change({ corpus: value }));
  const panel = byId("concordance");
  panel.setAttribute("aria-busy", "true");
  try {
    const parts = kind === "synonyms" ? await synonyms(use, signal) : await uses(use, kind, signal);
    byId("corpus").replaceChildren(...parts);
  } catch (error) {
    // Not a failure: the corpus does not have the word, and the message says which it has.
    if (!(error instanceof Trouble) || error.status !== 422) throw error;
    byId("corpus").replaceChildren(el("p", { class: "hint" }, error.message));
  } finally {
    if (!signal.aborted) panel.removeAttribute("aria-busy");
  }
}

async function synonyms(use, signal) {
  const found = await search(use, "synonyms", signal);
  return [
    el("p", { class: "hint" }, "Other words that are used in this sense, the nearest use of each."),
    concordance(found.map((occurrence) => ({ occurrence, number: null }))),
  ];
}

async function uses(use, kind, signal) {
  const { senses } = await ask("senses", { word: use.word }, { signal, slow: true });
  if (kind === "senses") {
    const [own] = await numbersOf(use.word, [placeIn(use)], signal);
    return [legend(senses, own), ...senses.map((sense) => group(sense, senses.length, own))];
  }
  const found = await search(use, kind, signal);
  const [own, ...numbers] = await numbersOf(use.word, [placeIn(use), ...found], signal);
  const rows = found.map((occurrence, i) => ({ occurrence, number: numbers[i] }));
  return [legend(senses, own), concordance(rows)];
}

async function search({ text, position }, find, signal) {
  const asked = { text, word: position, k: FOUND, find };
  return (await ask("search", asked, { signal })).occurrences;
}

/** The number of the sense that a word has at each place; null where that can't be said. */
async function numbersOf(word, places, signal) {
  const asked = { texts: places.map(({ text }) => text), words: [word] };
  const { texts } = await ask("tag", asked, { signal });
  return texts.map((tags, i) => tags.find(({ start }) => start === places[i].start)?.number ?? null);
}

const placeIn = ({ text, start }) => ({ text, start });

/** All senses in a row: number, name, how frequent. */
function legend(senses, own) {
  const items = senses.map((sense) =>
    el(
      "li",
      { class: sense.number === own ? "own" : null },
      sign(sense.number),
      el("bdi", {}, titleOf(sense)),
      el("span", { class: "hint" }, percent(sense.share)),
      sense.number === own ? el("span", { class: "hint" }, "\u2190 your sentence") : "",
    ),
  );
  return el("ul", { class: "legend", "aria-label": "Senses" }, items);
}

function group(sense, count, own) {
  const rows = sense.examples.map((occurrence) => ({ occurrence, number: sense.number }));
  const uses = `${sense.size.toLocaleString("en")} use${sense.size === 1 ? "" : "s"}`;
  const marks = sense.marks.length ? ` \u00b7 near it: ${sense.marks.slice(0, 8).join(", ")}` : "";
  return el(
    "section",
    { class: "sense", "aria-label": `Sense ${sense.number} of ${count}` },
    el(
      "h3",
      {},
      sign(sense.number),
      " ",
      el("bdi", {}, titleOf(sense)),
      sense.number === own ? el("span", { class: "hint" }, " the sense in your sentence") : "",
    ),
    el("p", { class: "hint" }, uses, marks),
    concordance(rows),
  );
}

const titleOf = (sense) => sense.label || sense.name || `sense ${sense.number}`;

/** A sense's number; square, where a sentence's is round. */
function sign(number) {
  return el("span", { class: `badge square hue${((number - 1) % 6) + 1}` }, String(number));
}

/** Rows with the word in the middle. */
function concordance(rows) {
  if (rows.length === 0) return el("p", { class: "hint" }, "Nothing was found.");
  const items = rows.map(({ occurrence, number }) => {
    const { before, word, after } = cut(occurrence);
    const from = `${occurrence.source}, line ${occurrence.line}`;
    return el(
      "li",
      { class: number === null ? null : `hue${((number - 1) % 6) + 1}`, title: from },
      el("span", { class: "which" }, number === null ? "" : sign(number)),
      el("span", { class: "before" }, el("span", {}, before)),
      el("mark", {}, word),
      el("span", { class: "after" }, after),
      el("span", { class: "number" }, cosine(occurrence.score)),
    );
  });
  return el("ol", { class: "kwic", dir: direction(rows[0].occurrence.text) }, items);
}

/** The word, and what stands around it, in one line. */
function cut({ text, start, end }) {
  const points = Array.from(text);
  const line = (from, to) => points.slice(Math.max(0, from), to).join("").replace(/\s+/g, " ");
  return {
    before: (start > AROUND ? "\u2026" : "") + line(start - AROUND, start),
    word: line(start, end),
    after: line(end, end + AROUND) + (points.length - end > AROUND ? "\u2026" : ""),
  };
}
