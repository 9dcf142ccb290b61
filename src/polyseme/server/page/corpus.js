import { byId, el } from "./dom.js";

export function hideCorpus(note = "") {
  byId("concordance").hidden = note === "";
  byId("corpus").replaceChildren(el("p", { class: "hint" }, note));
}

export async function showCorpus() {}
