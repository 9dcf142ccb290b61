// What is seen, as a plain object and as the fragment of a link. A fragment never goes to a server,
// so the sentences in it don't either.

export const EXAMPLES = [
  {
    name: "apple: fruit or company",
    text: "An apple a day keeps the doctor away\nApple just launched a new iPhone\nShe baked an apple pie with cinnamon",
    word: [1, 0],
  },
  {
    name: "bank: river or money",
    text: "We sat on the grassy bank of the river\nThe bank raised its interest rates\nHe opened an account at the bank",
    word: [0, 5],
  },
  {
    name: "piece of cake: easy or sweet",
    text: "The exam was a piece of cake\nShe ate a piece of cake with her tea\nThe cake is still in the oven",
    word: [0, 6],
  },
  {
    name: "spring: season, coil or water",
    text: "The garden wakes up in spring\nThe spring in the old mattress is broken\nThey drank cold water from a spring",
    word: [1, 1],
  },
  {
    name: "mouse: animal or device",
    text: "The cat caught a mouse in the barn\nClick the left button of the mouse\nMy keyboard and mouse are wireless",
    word: [1, 6],
  },
  {
    name: "bass: fish or music",
    text: "He caught a huge bass in the lake\nShe plays bass in a jazz band\nTurn the bass down on the speakers",
    word: [1, 2],
  },
];

const CORPUS = ["senses", "same", "different", "synonyms"];

export function exampleState(example) {
  return {
    text: example.text,
    sentence: example.word[0],
    position: example.word[1],
    rung: null, // the served model
    view: "arcs",
    layer: null, // all of them
    head: null, // the mean of all
    when: "after",
    corpus: "senses",
  };
}

/** The state that a fragment says; null if it has no text. */
export function fromFragment(fragment) {
  const said = new URLSearchParams(fragment.replace(/^#/, ""));
  const text = said.get("text");
  if (text === null) return null;
  const [sentence, position] = (said.get("word") ?? "").split(".").map(Number);
  return {
    ...exampleState({ text, word: [whole(sentence) ?? 0, whole(position) ?? 0] }),
    rung: said.get("rung"),
    view: said.get("view") === "heat" ? "heat" : "arcs",
    layer: whole(Number(said.get("layer") ?? NaN)),
    head: whole(Number(said.get("head") ?? NaN)),
    when: said.get("when") === "before" ? "before" : "after",
    corpus: CORPUS.includes(said.get("corpus")) ? said.get("corpus") : "senses",
  };
}

export function toFragment(state) {
  const said = new URLSearchParams({
    text: state.text,
    word: `${state.sentence}.${state.position}`,
  });
  if (state.rung !== null) said.set("rung", state.rung);
  if (state.view !== "arcs") said.set("view", state.view);
  if (state.layer !== null) said.set("layer", state.layer);
  if (state.head !== null) said.set("head", state.head);
  if (state.when !== "after") said.set("when", state.when);
  if (state.corpus !== "senses") said.set("corpus", state.corpus);
  return `#${said}`;
}

/** The sentences of a text: its lines that say something. */
export const sentencesOf = (text) =>
  text
    .split(/\r\n|[\n\r\u2028\u2029]/)
    .map((line) => line.trim())
    .filter((line) => line !== "");

const whole = (number) => (Number.isInteger(number) && number >= 0 ? number : null);
