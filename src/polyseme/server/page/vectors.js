// The words of the sentences, as the server reads them, and how much its sentence changes each.

import { ask } from "./server.js";

const ALONE = new Map();
const AT_ONCE = 1024; // texts of a request

/**
 * Read sentences.
 *
 * @returns {Promise<{text: string, words: string[], starts: number[], pieces: string[],
 *   known: boolean[], changed: number[]}[]>} for each sentence its words, the code point at which
 *   each starts, the text between them (one piece more than words), and 1 - cosine of each word to
 *   the same word without any context.
 */
export async function readSentences(sentences, signal) {
  const texts = await contextualize(sentences, signal);
  await readAlone([...new Set(texts.flatMap(({ words }) => words))], signal);
  return texts.map(({ text, words, spans, known, vectors }) => ({
    text,
    words,
    known,
    starts: spans.map(([start]) => start),
    pieces: between(text, spans),
    changed: words.map((word, i) => 1 - cosineOf(vectors[i], ALONE.get(word))),
  }));
}

async function contextualize(texts, signal) {
  const answer = await ask("contextualize", { texts, encoding_format: "base64" }, { signal });
  return answer.texts.map((text) => ({ ...text, vectors: rows(text.vectors, answer.dim) }));
}

/** The vectors of words by themselves, each asked for once. */
async function readAlone(words, signal) {
  const unread = words.filter((word) => !ALONE.has(word));
  for (let start = 0; start < unread.length; start += AT_ONCE) {
    const asked = unread.slice(start, start + AT_ONCE);
    const texts = await contextualize(
      asked.map((word) => [word]),
      signal,
    );
    texts.forEach(({ vectors }, i) => ALONE.set(asked[i], vectors[0]));
  }
}

/** Little-endian float32 in base64, cut into rows. */
function rows(base64, dim) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const numbers = Float32Array.from({ length: bytes.length / 4 }, (_, i) =>
    view.getFloat32(4 * i, true),
  );
  return Array.from({ length: numbers.length / dim }, (_, i) =>
    numbers.subarray(i * dim, (i + 1) * dim),
  );
}

/** The text before, between and after the words; spans count code points, strings UTF-16. */
function between(text, spans) {
  const points = Array.from(text);
  const ends = [0, ...spans.map(([, end]) => end)];
  const starts = [...spans.map(([start]) => start), points.length];
  return ends.map((end, i) => points.slice(end, starts[i]).join(""));
}

function cosineOf(a, b) {
  let [product, squares, others] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    product += a[i] * b[i];
    squares += a[i] * a[i];
    others += b[i] * b[i];
  }
  const size = Math.sqrt(squares * others);
  // A word that the model does not know at all has no direction, so nothing can turn it.
  return size > 0 ? product / size : 1;
}
