// The page: what is written, which word is chosen, and what the server says of it.

import { hideCorpus, showCorpus } from "./corpus.js";
import { byId, el } from "./dom.js";
import { showDistance, showNearest } from "./moved.js";
import { markWord, showSentences } from "./sentences.js";
import { ask, latest, Trouble } from "./server.js";
import { EXAMPLES, exampleState, fromFragment, sentencesOf, toFragment } from "./state.js";
import { showThemeButton } from "./tools.js";
import { placePoints, showUses } from "./uses.js";
import { readSentences } from "./vectors.js";
import { showSwitches, showUnexplained, showWeights, told } from "./weights.js";

const PAUSE = 250; // milliseconds after a key, before the sentences are read
const NEAREST = 8;

let info = null;
let rungs = []; // the served model's own is the last
let state = null;
let sentences = [];

start();

async function start() {
  showThemeButton();
  showExamples();
  byId("text").addEventListener("input", onInput);
  byId("link").addEventListener("click", copyLink);
  window.addEventListener("hashchange", () => adopt(fromFragment(location.hash)));
  await trying("start", start, async () => {
    info = await ask("info");
    rungs = ["static", "parameter-free"].filter((rung) => rung !== info.rung).concat(info.rung);
    const shape = info.layers ? `layers × heads: ${info.layers} × ${info.heads}, ` : "";
    byId("served").textContent = `${info.model} · ${info.rung}, ${shape}${info.dim} numbers a word`;
    const typed = byId("text").value;
    const first = typed.trim() ? { text: typed, word: [0, 0] } : EXAMPLES[0];
    adopt(fromFragment(location.hash) ?? exampleState(first));
  });
}

/** Take over a whole state: an example, a link, or none. */
function adopt(given) {
  if (given === null || info === null) return;
  if (state !== null && toFragment(given) === toFragment(state)) return;
  const isRung = rungs.slice(0, -1).includes(given.rung);
  state = { ...given, rung: isRung ? given.rung : null };
  sentences = []; // the word that was chosen in them is not one to stay on
  byId("text").value = state.text;
  fit();
  read();
}

let typing = null;

function onInput() {
  if (state === null) return; // start() finds it
  state.text = byId("text").value;
  byId("examples").value = "";
  fit();
  clearTimeout(typing);
  typing = setTimeout(read, PAUSE);
}

const reading = latest(async (signal) => {
  const all = sentencesOf(state.text);
  const most = info.limits.sentences;
  byId("unread").textContent =
    all.length > most ? `Read: the first ${most} of ${all.length} sentences.` : "";
  const before = sentences[state.sentence]?.words[state.position];
  sentences = all.length ? await readSentences(all.slice(0, most), signal) : [];
  keepWord(before);
  showSentences(sentences, choose);
  byId("shade").textContent = sentences.some(({ changed }) => changed.some((part) => part > 0.01))
    ? "the stronger its line, the more a word is changed by its sentence"
    : "";
  await refresh();
});

const read = () => trying("read", read, reading);

/** Stay on the word that was chosen while the text around it changes. */
function keepWord(word) {
  const filled = sentences.findIndex(({ words }) => words.length > 0);
  if (!sentences[state.sentence]?.words.length) {
    state.sentence = Math.max(filled, 0);
  }
  const words = sentences[state.sentence]?.words ?? [];
  if (word !== undefined && words[state.position] !== word && words.includes(word)) {
    state.position = words.indexOf(word);
  }
  state.position = Math.max(0, Math.min(state.position, words.length - 1));
}

function choose(sentence, position) {
  change({ sentence, position });
}

/** Change what is seen of the same text. */
function change(changes) {
  Object.assign(state, changes);
  if (Object.keys(changes).join() === "when") {
    placePoints(state.when);
    remember();
  } else {
    refresh();
  }
}

function remember() {
  try {
    history.replaceState(null, "", toFragment(state));
  } catch {
    // Browsers bound how often and how long; the next change may fit again.
  }
}

async function refresh() {
  remember();
  const sentence = sentences[state.sentence];
  const there = Boolean(sentence?.words.length);
  for (const id of ["weights", "moved", "uses"]) byId(id).hidden = !there;
  if (!there) {
    hideCorpus();
    return;
  }
  const word = sentence.words[state.position];
  document.title = `${word} · polyseme`;
  markWord(state, usesOf(word));
  await Promise.all([
    trying("explain", refresh, explaining),
    trying("compare", refresh, comparing),
    trying("near", refresh, nearing),
    trying("search", refresh, searching),
  ]);
}

const explaining = latest(async (signal) => {
  const { text, changed } = sentences[state.sentence];
  const matrices = state.view === "heat" && state.layer !== null;
  const asked = { text, word: state.position, rung: state.rung, matrices };
  let found = null;
  try {
    found = await busy("weights", ask("explain", asked, { signal, onWait: sayBusy }));
  } catch (error) {
    if (!(error instanceof Trouble) || !error.isLasting) throw error;
    showUnexplained(error.message);
    byId("moved").hidden = true;
    return;
  }
  const [layers, heads] = [found.layer_weights.length, found.layer_weights[0]?.length ?? 0];
  if (state.layer > layers) Object.assign(state, { layer: null, head: null });
  if (state.head > heads) state.head = null;
  showSwitches(state, rungs, { layers, heads }, change);
  showWeights(state, found, (position) => choose(state.sentence, position));
  showDistance(found, state.rung === null ? changed[state.position] : null);
  say(told(found, state));
});

const comparing = latest(async (signal) => {
  const word = sentences[state.sentence].words[state.position];
  const uses = usesOf(word);
  const numbers = [...new Set(uses.map((use) => use.sentence))];
  const asked = { word, sentences: numbers.map((i) => sentences[i].text) };
  const compared = await busy("uses", ask("compare", asked, { signal, onWait: sayBusy }));
  const shown = compared.uses.map((use) => ({ ...use, sentence: numbers[use.sentence] }));
  const named = shown.map((use, i) => {
    const own = shown.filter((other) => other.sentence === use.sentence);
    const letter = own.length > 1 ? String.fromCharCode(97 + own.indexOf(use)) : "";
    return { ...use, name: `${use.sentence + 1}${letter}`, text: sentences[use.sentence].text, i };
  });
  const chosen = named.findIndex(
    (use) => use.sentence === state.sentence && use.position === state.position,
  );
  showUses({ ...compared, word, uses: named }, chosen, state.when, change);
});

const nearing = latest(async (signal) => {
  const { text, known } = sentences[state.sentence];
  const rung = state.rung ?? rungs.at(-1);
  if (!known[state.position]) {
    showNearest(rung, null, null, "The model does not know this word.");
    return;
  }
  showNearest(rung, null, null);
  const waits = () =>
    showNearest(rung, null, null, "The vocabulary is being computed, once …");
  const near = async (given) => {
    const asked = { text, word: state.position, rung: given, topn: NEAREST };
    const answer = await ask("neighbours", asked, { signal, slow: true, onWait: waits });
    return answer.nearest;
  };
  const before = await near("static");
  showNearest(rung, before, null);
  if (rung !== "static") showNearest(rung, before, await near(state.rung));
});

const searching = latest(async (signal) => {
  if (info.index === null) {
    hideCorpus("No index is served. `polyseme serve --index INDEX` shows a word's uses in a corpus, by sense.");
    return;
  }
  const { text, words, starts } = sentences[state.sentence];
  const { position } = state;
  const use = { text, position, word: words[position], start: starts[position] };
  await showCorpus(use, state.corpus, change, signal);
});

/** Every place at which a word stands, whatever the case of its letters. */
function usesOf(word) {
  const own = word.toLowerCase();
  return sentences.flatMap(({ words }, sentence) =>
    words.flatMap((other, position) =>
      other.toLowerCase() === own ? [{ sentence, position }] : [],
    ),
  );
}

/** Do something that has a name; if it fails, say so, with a button that tries again. */
async function trying(name, again, work) {
  const trouble = byId("trouble");
  try {
    await work();
    if (trouble.dataset.of === name) trouble.replaceChildren();
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    trouble.dataset.of = name;
    const retry = () => {
      trouble.replaceChildren();
      again();
    };
    trouble.replaceChildren(
      el(
        "p",
        { class: "trouble" },
        el("span", {}, error.message),
        error.isLasting ? "" : el("button", { type: "button", onclick: retry }, "Try again"),
      ),
    );
  }
}

/** Say that a panel is at work, until it is not. */
async function busy(id, answer) {
  const panel = byId(id);
  panel.setAttribute("aria-busy", "true");
  try {
    return await answer;
  } finally {
    panel.removeAttribute("aria-busy");
  }
}

function say(text) {
  byId("said").textContent = text;
}

const sayBusy = () => say("The server is busy. Trying again.");

function showExamples() {
  const select = byId("examples");
  select.append(...EXAMPLES.map(({ name }, i) => el("option", { value: i }, name)));
  select.addEventListener("change", () => {
    if (select.value !== "") adopt({ ...exampleState(EXAMPLES[select.value]), view: state.view });
  });
}

/** Make the field as high as its text. */
function fit() {
  const field = byId("text");
  field.style.setProperty("height", "auto");
  field.style.setProperty("height", `${field.scrollHeight + 2}px`);
}

async function copyLink() {
  remember();
  const button = byId("link");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "It is in the address bar";
  }
  setTimeout(() => {
    button.textContent = "Copy link";
  }, 2000);
}
