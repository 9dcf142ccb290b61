// Who a word attends to: the formula, the arcs or the heat map, for all layers or one of them, for
// all heads or one of them.

import { drawArcs } from "./arcs.js";
import { badge, byId, choice, el, options, percent } from "./dom.js";
import { heatMap } from "./heat.js";

const TERMS = 4;

export const RUNGS = {
  static: "the word's own vector, whatever its sentence",
  "parameter-free": "dot products of static vectors, softmax, weighted sum",
  learned: "queries, keys and values that a model has learned",
  pretrained: "a BERT-like model, layer by layer",
};

/** The switches: which vectors, which picture, which layer and head. */
export function showSwitches(state, rungs, { layers, heads }, change) {
  choice(
    byId("rung"),
    rungs.map((rung) => ({ value: rung, label: rung, title: RUNGS[rung] })),
    state.rung ?? rungs.at(-1),
    (rung) => change({ rung: rung === rungs.at(-1) ? null : rung, layer: null, head: null }),
  );
  choice(
    byId("view"),
    [
      { value: "arcs", label: "Arcs" },
      { value: "heat", label: "Heat map" },
    ],
    state.view,
    (view) => change({ view }),
  );
  const [layer, head] = [byId("layer"), byId("head")];
  const numbers = (count) => Array.from({ length: count }, (_, i) => [String(i + 1), `${i + 1}`]);
  options(layer, [["", "all together"], ...numbers(layers)], String(state.layer ?? ""));
  options(head, [["", "mean of all"], ...numbers(heads)], String(state.head ?? ""));
  const one = layers * heads <= 1;
  layer.parentElement.hidden = one;
  head.parentElement.hidden = one;
  head.disabled = state.layer === null;
  head.title = head.disabled ? "Choose a layer first" : "";
  layer.onchange = () =>
    change({ layer: Number(layer.value) || null, head: layer.value ? state.head : null });
  head.onchange = () => change({ head: Number(head.value) || null });
}

/** All of the panel but the switches. */
export function showWeights(state, found, onChoose) {
  const title = byId("weights-title");
  title.replaceChildren(
    "What made ",
    el("strong", { dir: "auto" }, found.word),
    " what it is in sentence ",
    badge(state.sentence + 1),
  );
  const shares = sharesOf(found, state);
  byId("formula").replaceChildren(formula(found, shares, state), ...honesty(found, state));
  const picture = byId("picture");
  if (state.view === "heat") {
    picture.replaceChildren(heatMap(found, matrixOf(found, state), onChoose));
  } else {
    drawArcs(picture, found, shares, onChoose);
  }
  byId("weights-note").textContent = noteOf(found, state);
}

/** Say why there is nothing to show. */
export function showUnexplained(message) {
  byId("formula").replaceChildren(el("p", { class: "trouble" }, message));
  byId("picture").replaceChildren();
  byId("weights-note").textContent = "";
}

/** What the panel shows, for who can't see it. */
export function told(found, state) {
  const shares = sharesOf(found, state);
  const most = strongest(shares).map((i) => `${percent(shares[i])} from ${found.words[i]}`);
  return `${found.word}, sentence ${state.sentence + 1}: ${most.join(", ")}.`;
}

/** A number for each word: what the chosen word takes from it. */
function sharesOf(found, { layer, head }) {
  const heads = found.layer_weights[layer - 1];
  if (!heads) return found.weights;
  return heads[head - 1] ?? mean(heads);
}

/** The same for every word, a row each. */
function matrixOf(found, { layer, head }) {
  const heads = found.layer_matrices?.[layer - 1];
  if (!heads) return found.matrix;
  return heads[head - 1] ?? heads[0].map((_, i) => mean(heads.map((rows) => rows[i])));
}

const mean = (rows) =>
  rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);

function strongest(shares) {
  const order = shares.map((_, i) => i).sort((i, j) => shares[j] - shares[i] || i - j);
  return order.slice(0, TERMS).filter((i) => shares[i] > 0);
}

/** The weighted sum as a person writes it, largest share first. */
function formula(found, shares, state) {
  const named = strongest(shares);
  const terms = named.map((i) => term(shares[i], found.words[i]));
  const rest = shares.reduce((sum, share) => sum + share, 0) - sumOf(shares, named);
  const others = shares.length - named.length;
  if (others > 0 && rest >= 0.005) {
    const words = `${others} other word${others > 1 ? "s" : ""}`;
    terms.push(el("span", { class: "term rest" }, el("b", {}, rest.toFixed(2)), ` from ${words}`));
  }
  const special = 1 - shares.reduce((sum, share) => sum + share, 0);
  if (state.layer !== null && special >= 0.005) {
    const amount = el("b", {}, special.toFixed(2));
    terms.push(el("span", { class: "term rest" }, amount, " special tokens at the sentence's ends"));
  }
  const sign = state.layer !== null ? "looks at" : found.exact ? "=" : "\u2248";
  const plus = () => el("span", { class: "plus" }, "+");
  const sum = terms.map((each, i) => (i ? el("span", { class: "added" }, plus(), each) : each));
  return el(
    "p",
    { class: "formula" },
    el("strong", { dir: "auto" }, found.word),
    el("span", { class: "plus" }, sign),
    sum.length ? sum : "nothing",
  );
}

const term = (share, word) =>
  el("span", { class: "term" }, el("b", {}, share.toFixed(2)), " ", el("bdi", {}, word));

const sumOf = (numbers, places) => places.reduce((sum, i) => sum + numbers[i], 0);

/** Whether the weights are the whole truth, and what they are. */
function honesty(found, state) {
  if (state.layer !== null) {
    const which = state.head === null ? "all its heads, in the mean" : `head ${state.head}`;
    const said = `Attention of ${which}, in layer ${state.layer} of ${found.layer_weights.length}: where it looks, one step of several.`;
    return [el("p", { class: "honest" }, el("span", { class: "mark part" }, "one layer"), said)];
  }
  const mark = found.exact
    ? el("span", { class: "mark exact" }, "= exact")
    : el("span", { class: "mark rough" }, "\u2248 approximate");
  return [el("p", { class: "honest" }, mark, found.note.replace(/^Exact: (.)/, (_, first) => first.toUpperCase()))];
}

function noteOf(found, state) {
  if (state.view === "heat") return "In percent. A row is what its word takes from the words of the columns.";
  if (found.words.length === 1) return "";
  return "Without it: how far the vector turns (1 − cosine) if that word is left out of the sentence.";
}
