// Requests to the server that the page is from: tried again while it is busy, with a key where it
// wants one, and with errors that a person understands.

import { byId } from "./dom.js";

const KEY = "polyseme-key";
const TRIES = 6;
const KEPT = 64;

/** What went wrong, in words; status 0 if there was no answer at all. */
export class Trouble extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
    // Whether it will be the same if it is asked again.
    this.isLasting = status >= 400 && status < 500 && status !== 429;
  }
}

const answers = new Map();

/**
 * The answer to a POST (or a GET without a body), as JSON. Equal questions are asked once.
 *
 * @param {string} path such as "explain"
 * @param {object|null} body
 * @param {{signal?: AbortSignal, slow?: boolean, onWait?: () => void}} how  `slow`: what the server
 *   had no time for it may have done by the next try; `onWait` is called before each.
 */
export async function ask(path, body = null, { signal, slow = false, onWait } = {}) {
  const question = `${path} ${JSON.stringify(body)}`;
  signal?.throwIfAborted();
  if (answers.has(question)) return answers.get(question);
  const answer = await asked(path, body, { signal, slow, onWait });
  answers.set(question, answer);
  if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  return answer;
}

/** A function that asks by `work(signal, ...)`, and gives up what it asked before. */
export function latest(work) {
  let running = null;
  return async (...given) => {
    running?.abort();
    const own = new AbortController();
    running = own;
    try {
      return await work(own.signal, ...given);
    } catch (error) {
      if (!own.signal.aborted) throw error;
    }
  };
}

async function asked(path, body, { signal, slow, onWait }) {
  const passing = slow ? [429, 503, 504] : [429, 503];
  for (let tries = 1; ; tries += 1) {
    const key = kept();
    const response = await sent(path, body, key, signal);
    if (response.ok) return response.json();
    if (response.status === 401) {
      if (kept() === key) await askForKey();
      signal?.throwIfAborted();
    } else if (passing.includes(response.status) && tries < TRIES) {
      const seconds = Number(response.headers.get("retry-after")) || tries;
      onWait?.();
      await pause(seconds * 1000, signal);
    } else {
      throw new Trouble(response.status, await inWords(response));
    }
  }
}

async function sent(path, body, key, signal) {
  const headers = { accept: "application/json" };
  if (key !== null) headers.authorization = `Bearer ${key}`;
  if (body !== null) headers["content-type"] = "application/json";
  try {
    return await fetch(path, {
      method: body === null ? "GET" : "POST",
      body: body === null ? undefined : JSON.stringify(body),
      headers,
      signal,
      // Else a browser asks for name and password itself when the server says 401.
      credentials: "omit",
      cache: "no-store",
    });
  } catch {
    signal?.throwIfAborted();
    throw new Trouble(0, "The server does not answer. Is it still running?");
  }
}

async function inWords(response) {
  try {
    const { error } = await response.json();
    return error.message;
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

let asking = null;

/** One dialog for all requests that need the key. */
function askForKey() {
  asking ??= new Promise((resolve) => {
    const [dialog, field] = [byId("key"), byId("key-field")];
    byId("key-wrong").textContent = kept() === null ? "" : "That key does not open this server.";
    dialog.addEventListener(
      "close",
      () => {
        if (field.value.trim()) sessionStorage.setItem(KEY, field.value.trim());
        field.value = "";
        asking = null;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}
