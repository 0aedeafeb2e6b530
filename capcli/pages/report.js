const PAGE = 30;
const LONGEST = 30;
const NAMES = { bleu_1: "BLEU-1", bleu_2: "BLEU-2", bleu_3: "BLEU-3", bleu_4: "BLEU-4", meteor: "METEOR",
  rouge_l: "ROUGE-L", cider: "CIDEr", model: "model score" };
const summary = parse("summary-data");
const images = parse("images-data");

const percent = (part, whole) => {
  const share = whole ? 100 * part / whole : 0;
  return part && share < 0.1 ? "<0.1%" : share.toFixed(1) + "%";
};
const wordsIn = (text) => text ? text.split(" ").filter(Boolean).length : 0;
const lengthOf = (image) => wordsIn(image.tokens.caption);

// ---- filtering: whole words, in the scorers' tokens or in the text as written ----

const lined = (texts) => texts.map((text) => ` ${text} `).join("\n");

function searched(image) {
  if (!image.searched) {
    const caption = lined([image.tokens.caption, plain(image.caption)]);
    const references = lined([...image.tokens.references, ...image.references.map(plain)]);
    image.searched = { caption, references, name: image.name.toLowerCase() };
  }
  return image.searched;
}

function matches(image, { whole, terms }, where) {
  const text = searched(image);
  if (whole !== null) {
    const lines = [...(where === "references" ? [] : text.caption.split("\n")),
      ...(where === "references" || where === "both" ? text.references.split("\n") : [])];
    return where === "name" ? text.name === whole
      : lines.some((line) => line === ` ${whole} ` || (whole !== "" && line === ` ${plain(whole)} `));
  }
  return terms.every((term) => where === "name" ? text.name.includes(term)
    : (where !== "references" && holds(text.caption, term)) || (where !== "caption" && holds(text.references, term)));
}

// ---- sorting ----

const collator = new Intl.Collator(undefined, { numeric: true });
const values = {
  length: lengthOf,
  given: (image) => image.number,
  name: (image) => image.name,
};
const valueOf = (image, order) => order in values ? values[order](image) : image.scores[order];

function sorted(list, order, rising) {
  const sign = rising ? 1 : -1;
  return list.sort((one, other) => {
    const [a, b] = [valueOf(one, order), valueOf(other, order)];
    // Without a score is neither best nor worst, whichever way round.
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * (order === "name" ? collator.compare(a, b) : a - b) || one.number - other.number;
  });
}

// ---- the list of images, drawn as far as somebody looks ----

const state = { found: [], drawn: 0, rising: true, pattern: null };
const query = byId("query"), where = byId("where"), order = byId("order"), more = byId("more");

function picture(image) {
  if (!image.thumbnail) return make("p", { class: "quiet" }, `No picture: ${image.error}.`);
  return make("img", { src: image.thumbnail, alt: "", decoding: "async" });
}

function entry(image) {
  const inCaption = where.value === "both" || where.value === "caption";
  const inReferences = where.value === "both" || where.value === "references";
  const scores = make("dl", { class: "scores" });
  const put = (key, name, value) => scores.append(make("div", order.value === key ? { class: "sorted" } : {},
    make("dt", {}, name), make("dd", {}, value)));
  for (const key of ["cider", "meteor", "rouge_l", "bleu_4"]) put(key, NAMES[key], image.scores[key].toFixed(1));
  if (image.scores.model !== undefined) put("model", NAMES.model, image.scores.model.toFixed(2));
  put("length", "length", count(lengthOf(image), "word"));
  const caption = image.caption.trim() ? marked(image.caption, inCaption && state.pattern) : ["(nothing was said)"];
  return make("li", { class: "image" },
    make("div", { class: "picture" }, picture(image)),
    make("div", {},
      make("p", { class: "caption", dir: "auto" }, ...caption),
      scores,
      make("ul", { "aria-label": "References" }, ...image.references.map((text) =>
        make("li", { dir: "auto" }, ...marked(text, inReferences && state.pattern)))),
      make("p", { class: "name" }, make("bdi", {}, visible(image.name)))));
}

const watcher = "IntersectionObserver" in window ? new IntersectionObserver((seen) => {
  if (seen.some((one) => one.isIntersecting)) draw();
}, { rootMargin: "800px" }) : null;

function draw() {
  byId("list").append(...state.found.slice(state.drawn, state.drawn + PAGE).map(entry));
  state.drawn = Math.min(state.drawn + PAGE, state.found.length);
  more.hidden = state.drawn === state.found.length;
  // Watched anew: whoever still sees the end after this page is asked for the next one.
  if (watcher) { watcher.unobserve(more); if (!more.hidden) watcher.observe(more); }
}

function update() {
  const terms = termsOf(query.value.trim());
  state.pattern = pattern(terms);
  state.found = sorted(images.filter((image) => matches(image, terms, where.value)), order.value, state.rising);
  state.drawn = 0;
  const words = { name: ["A to Z", "Z to A"], length: ["shortest first", "longest first"],
    given: ["first to last", "last to first"] };
  byId("direction").textContent = (words[order.value] || ["lowest first", "highest first"])[state.rising ? 0 : 1];
  byId("count").textContent = state.found.length === images.length ? count(images.length, "image")
    : `${state.found.length.toLocaleString("en")} of ${count(images.length, "image")}`;
  byId("clear").hidden = query.value === "";
  byId("list").replaceChildren();
  draw();
}

function show(text, place) {
  query.value = text;
  where.value = place;
  update();
  byId("images-heading").focus({ preventScroll: true });
  byId("images").scrollIntoView();
}

// ---- words and lengths ----

const wording = summary.wording;
const button = (label, text, place) => {
  const node = make("button", { type: "button", class: "word", dir: "auto" }, label);
  node.addEventListener("click", () => show(text, place));
  return node;
};
const row = (first, cells) => make("tr", {}, make("th", { scope: "row" }, first),
  ...cells.map((cell) => make("td", {}, cell)));
function table(head, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows));
}
function panel(title, note, content, scrolls = true) {
  const box = scrolls ? make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, content)
    : content;
  byId("panels").append(make("div", { class: "panel" }, make("h3", {}, title), make("p", { class: "quiet" }, note), box));
}

function ratio(use) {
  if (!use.captions) return "never said";
  return use.ratio === null ? "no reference" : "\u00d7" + (use.ratio < 0.095 ? use.ratio.toFixed(2) : use.ratio.toFixed(1));
}

function usages(title, note, uses, place, kind) {
  if (!uses.length) return;
  panel(title, note, table([kind, "captions", "references", "ratio"], uses.map((use) =>
    row(button(use.text, kind === "phrase" ? `"${use.text}"` : use.text, place),
      [percent(use.captions, wording.captions.texts), percent(use.references, wording.references.texts), ratio(use)]))));
}

function lengths() {
  const bins = new Map();
  for (const one of wording.lengths) {
    const at = Math.min(one.length, LONGEST);
    const bin = bins.get(at) || { captions: 0, references: 0 };
    bins.set(at, { captions: bin.captions + one.captions, references: bin.references + one.references });
  }
  const first = Math.min(...bins.keys()), last = Math.max(...bins.keys());
  const share = (bin, key) => bin[key] / wording[key].texts;
  const highest = Math.max(...[...bins.values()].flatMap((bin) => [share(bin, "captions"), share(bin, "references")]));
  const [width, height, step] = [400, 180, 400 / Math.max(8, last - first + 1)];
  const mean = (key) => (wording[key].words / wording[key].texts).toFixed(1);
  const note = `Words a caption: ${mean("captions")} on average, in references ${mean("references")}.`;
  const chart = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": note });
  for (let length = first; length <= last; length++) {
    const bin = bins.get(length) || { captions: 0, references: 0 };
    const name = length === LONGEST ? `${length} or more` : String(length);
    const bars = ["captions", "references"].map((key, side) => {
      const tall = (height - 40) * share(bin, key) / highest;
      return make("rect", { class: side ? "wanted" : "said", x: (length - first + 0.1 + side * 0.4) * step,
        y: height - 20 - tall, width: 0.38 * step, height: tall });
    });
    const told = `${name} words: ${percent(bin.captions, wording.captions.texts)} of captions, ` +
      `${percent(bin.references, wording.references.texts)} of references`;
    const label = make("text", { x: (length - first + 0.5) * step, y: height - 6, "text-anchor": "middle" }, String(length));
    chart.append(make("g", {}, make("title", {}, told), ...bars, ...(step > 15 || length % 2 === 0 ? [label] : [])));
  }
  panel("Length", note, chart, false);
}

function habits() {
  const both = ["captions", "references"].map((key) => wording[key]);
  const each = (name, told) => row(name, both.map(told));
  const shares = (name, key) => each(name, (one) => percent(one[key], one.texts));
  panel("Habits", "Content words are all but articles, prepositions and the like.", table(["", "captions", "references"], [
    each("Texts", (one) => one.texts.toLocaleString("en")),
    each("Distinct texts", (one) => `${one.distinct.toLocaleString("en")} (${percent(one.distinct, one.texts)})`),
    each("Distinct words", (one) => one.distinct_words.toLocaleString("en")),
    each("Words a text", (one) => (one.words / one.texts).toFixed(1)),
    shares("Say a content word twice", "repeat_word"),
    shares("End in mid-phrase (a, of, with)", "end_in_function_word"),
    shares("Empty", "empty"),
  ]));
}

function repetitions() {
  if (!wording.repeated.length) return;
  panel("Captions said of several images", "", table(["caption", "images"], wording.repeated.map((one) =>
    row(button(one.text, "=" + one.text, "caption"), [one.count.toLocaleString("en")]))));
}

function totals() {
  byId("title").textContent = `${visible(summary.captions)} on ${visible(summary.data)}`;
  document.title = byId("title").textContent;
  byId("about").textContent = `${count(summary.scores.images, "image")}, ${summary.scores.tokeniser}`;
  for (const [key, name] of Object.entries(NAMES)) {
    if (key in summary.scores) {
      byId("totals").append(make("div", {}, make("dt", {}, name), make("dd", {}, summary.scores[key].toFixed(1))));
    }
  }
}

images.forEach((image, number) => { image.number = number; });
if (!images.some((image) => image.scores.model !== undefined)) order.querySelector("[value=model]").remove();
totals();
lengths();
habits();
usages("Most frequent words", "", wording.frequent, "caption", "word");
usages("Over-used words", "The surest differences first.", wording.over_used, "caption", "word");
usages("Under-used words", "Shows images whose references hold them.", wording.under_used, "references", "word");
usages("Four words in a row", "", wording.phrases, "caption", "phrase");
repetitions();
for (const control of [query, where, order]) control.addEventListener("input", update);
byId("direction").addEventListener("click", () => { state.rising = !state.rising; update(); });
byId("clear").addEventListener("click", () => { query.value = ""; update(); query.focus(); });
byId("controls").addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", draw);
update();
