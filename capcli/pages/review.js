// ---- rows: what the file says of each, and what was decided here ----

const SHOWN = 500;
const data = parse("review-data");
const [captionAt, verdictAt] = [data.columns.indexOf("caption"), data.columns.length - 1];
const KEY = `capcli review ${data.sha256} `;
const rows = data.rows.map(([number, cells]) => ({ number, cells, confidence: data.confidences[number] }));
const byNumber = new Map(rows.map((row) => [row.number, row]));

function recall(row) {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEY + row.number));
  } catch { /* nothing is kept here */ }
  row.verdict = kept ? kept.verdict : row.cells[verdictAt];
  row.caption = kept && kept.caption !== undefined ? kept.caption : row.cells[captionAt];
  row.searched = null;
}

function keep(row) {
  const edited = row.caption !== row.cells[captionAt];
  try {
    if (edited) localStorage.setItem(KEY + row.number, JSON.stringify({ verdict: row.verdict, caption: row.caption }));
    else if (row.verdict !== row.cells[verdictAt]) {
      localStorage.setItem(KEY + row.number, JSON.stringify({ verdict: row.verdict }));
    } else localStorage.removeItem(KEY + row.number);
  } catch {
    unkept = true;
    tell("This browser keeps no more of what you do: download the corrected file before you close the page.");
  }
}

let unkept = false;
window.addEventListener("beforeunload", (event) => { if (unkept) event.preventDefault(); });
// The same page in another tab.
window.addEventListener("storage", (event) => {
  const number = event.key && event.key.startsWith(KEY) ? Number(event.key.slice(KEY.length)) : NaN;
  if (byNumber.has(number)) {
    recall(byNumber.get(number));
    dress(byNumber.get(number));
    total();
  }
});

rows.forEach(recall);

// ---- the list: each photo with its rows, as many at a time as a browser draws at once ----

const list = byId("list");
const photos = [...list.children].map((element) => {
  const own = [...element.querySelectorAll(".row")].map((node) => Object.assign(byNumber.get(Number(node.dataset.row)), { node }));
  return { element, rows: own, name: element.querySelector(".name").textContent.toLowerCase() };
});
const reviewed = photos.flatMap((photo) => photo.rows);
const state = { found: photos, start: 0, pattern: null, current: null };
const query = byId("query"), where = byId("where"), from = byId("from"), to = byId("to"), verdict = byId("verdict");

const windowed = () => state.found.slice(state.start, state.start + SHOWN);
const tell = (text) => { byId("problem").textContent = text; };

function dress(row) {
  const { node } = row;
  if (!row.buttons) {
    node.tabIndex = -1;
    node.setAttribute("role", "group");
    row.mark = make("strong", { class: "verdict" });
    row.buttons = [["accept", "Accept"], ["edit", "Edit"], ["reject", "Reject"], ["undo", "Undo"]].map(([act, label]) => {
      const button = make("button", { type: "button", tabindex: "-1" }, label);
      button.addEventListener("click", () => actions[act](row));
      return button;
    });
    node.append(make("p", { class: "verdicts" }, ...row.buttons, row.mark));
    node.querySelector(".caption").addEventListener("click", () => edit(row));
    node.addEventListener("focusin", () => choose(row));
  }
  node.dataset.verdict = row.verdict;
  node.setAttribute("aria-label", `${row.verdict || "not reviewed"}: ${row.caption}`);
  row.mark.textContent = row.verdict;
  row.buttons[0].setAttribute("aria-pressed", String(row.verdict === "accepted" || row.verdict === "edited"));
  row.buttons[2].setAttribute("aria-pressed", String(row.verdict === "rejected"));
  row.buttons[3].hidden = row.verdict === row.cells[verdictAt] && row.caption === row.cells[captionAt];
  const text = row.caption ? marked(row.caption, where.value === "caption" && state.pattern) : ["(no caption)"];
  node.querySelector(".caption").replaceChildren(...text);
}

function draw() {
  const shown = windowed();
  shown.forEach((photo) => photo.rows.forEach(dress));
  list.replaceChildren(...shown.map((photo) => photo.element));
  list.start = state.start + 1;
  const last = state.start + shown.length;
  byId("back").disabled = state.start === 0;
  byId("on").disabled = last >= state.found.length;
  byId("window").textContent = `${(state.start + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${state.found.length.toLocaleString("en")}`;
  document.querySelector(".turn").hidden = state.found.length <= SHOWN;
}

function total() {
  const of = { accepted: 0, edited: 0, rejected: 0, "": 0 };
  for (const row of reviewed) of[row.verdict] += 1;
  const shown = state.found.length === photos.length ? "" : `${state.found.length.toLocaleString("en")} of ${count(photos.length, "photo")} shown; `;
  byId("count").textContent = `${shown}${of.accepted.toLocaleString("en")} accepted, ${of.edited.toLocaleString("en")} edited, ` +
    `${of.rejected.toLocaleString("en")} rejected, ${of[""].toLocaleString("en")} not reviewed`;
}

// ---- filtering ----

function matches(row, name, { whole, terms }) {
  if (where.value === "name") return whole === null ? terms.every((term) => name.includes(term)) : name === whole;
  row.searched ??= ` ${plain(row.caption)} `;
  return whole === null ? terms.every((term) => holds(row.searched, term)) : row.searched === ` ${plain(whole)} `;
}

function update() {
  const terms = termsOf(query.value.trim());
  const [least, most] = [from, to].map((field) => field.value === "" ? null : Number(field.value) / 100);
  const wanted = verdict.value === "open" ? "" : verdict.value;
  const fits = (row, name) => matches(row, name, terms)
    && (least === null || row.confidence >= least) && (most === null || row.confidence <= most)
    && (wanted === "all" || row.verdict === wanted);
  state.pattern = pattern(terms);
  state.found = photos.filter((photo) => photo.rows.some((row) => fits(row, photo.name)));
  state.start = 0;
  byId("clear").hidden = [query, from, to].every((field) => field.value === "") && verdict.value === "all";
  choose(state.found.length ? state.found[0].rows[0] : null);
  draw();
  total();
}

// ---- where one is, and where one goes ----

function choose(row) {
  if (state.current && state.current.node) {
    state.current.node.tabIndex = -1;
    state.current.node.removeAttribute("aria-current");
  }
  state.current = row;
  if (row) {
    row.node.tabIndex = 0;
    row.node.setAttribute("aria-current", "true");
  }
}

function visit(row) {
  const place = state.found.findIndex((photo) => photo.rows.includes(row));
  const start = place - place % SHOWN;
  if (start !== state.start) {
    state.start = start;
    draw();
  }
  choose(row);
  row.node.scrollIntoView({ block: "center" });
  row.node.focus({ preventScroll: true });
}

function go(step, wanted = () => true) {
  const inOrder = state.found.flatMap((photo) => photo.rows);
  let place = inOrder.indexOf(state.current) + step;
  while (inOrder[place] && !wanted(inOrder[place])) place += step;
  if (inOrder[place]) visit(inOrder[place]);
  else if (state.current) visit(state.current);
}

// ---- what is done with a row ----

function decide(row, caption, verdict) {
  Object.assign(row, { caption, verdict, searched: null });
  keep(row);
  dress(row);
  total();
}

const written = (row, caption) => caption !== row.cells[captionAt] || row.cells[verdictAt] === "edited";

const actions = {
  accept(row) {
    if (!row.caption) return edit(row);
    decide(row, row.caption, written(row, row.caption) ? "edited" : "accepted");
    go(1);
  },
  reject(row) {
    decide(row, row.caption, "rejected");
    go(1);
  },
  undo(row) {
    decide(row, row.cells[captionAt], row.cells[verdictAt]);
    visit(row);
  },
  edit,
};

function edit(row) {
  if (row.editor) return row.editor.focus();
  visit(row);
  const shown = row.node.querySelector(".caption");
  const editor = make("textarea", { "aria-label": "Caption", dir: "auto", rows: "2" });
  editor.value = row.caption;
  row.editor = editor;
  let done = false;
  const leave = (take, moves) => {
    if (done) return;
    done = true;
    // One line, as captions are wherever they go.
    const text = editor.value.replace(/[\s\p{Cc}]+/gu, " ").trim();
    row.editor = null;
    editor.replaceWith(shown);
    if (take && !text) decide(row, row.caption, "rejected");
    else if (take && (moves || text !== row.caption)) decide(row, text, written(row, text) ? "edited" : "accepted");
    if (moves) go(1);
    else if (!take) visit(row);
  };
  editor.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") { event.preventDefault(); leave(true, true); }
    if (event.key === "Escape") { event.preventDefault(); leave(false, false); }
    event.stopPropagation();
  });
  editor.addEventListener("blur", () => leave(true, false));
  shown.replaceWith(editor);
  editor.focus();
  editor.setSelectionRange(editor.value.length, editor.value.length);
}

// ---- keys ----

const keys = {
  a: (row) => actions.accept(row), x: (row) => actions.reject(row), e: edit, enter: edit, u: (row) => actions.undo(row),
  j: () => go(1), arrowdown: () => go(1), k: () => go(-1), arrowup: () => go(-1), n: () => go(1, (row) => !row.verdict),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  const key = event.key.toLowerCase(), target = event.target;
  if (byId("controls").contains(target)) {
    if (target.tagName === "INPUT" && ["enter", "escape", "arrowdown"].includes(key) && state.current) {
      event.preventDefault();
      visit(state.current);
    }
    return;
  }
  if (target !== document.body && !list.contains(target)) return;
  if (key === "/") {
    event.preventDefault();
    query.focus();
  } else if (keys[key] && state.current && !(target.tagName === "BUTTON" && key === "enter")) {
    event.preventDefault();
    // Held down, a key walks; it decides about one caption only.
    if (!event.repeat || ["j", "k", "arrowdown", "arrowup"].includes(key)) keys[key](state.current);
  }
});

// ---- the corrected file ----

const quoted = (cell) => /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
const line = (cells) => cells.map(quoted).join(",") + "\r\n";

// UTF-8, but for bytes of names that are none: they are half characters here, and become themselves again.
function bytesOf(text) {
  const parts = [];
  let end = 0;
  for (const { 0: half, index } of text.matchAll(/[\udc80-\udcff]/gu)) {
    parts.push(text.slice(end, index), new Uint8Array([half.charCodeAt(0) - 0xdc00]));
    end = index + 1;
  }
  return new Blob([...parts, text.slice(end)], { type: "text/csv" });
}

function corrected() {
  const cellsOf = (row) => row.cells.map((cell, at) => at === captionAt ? row.caption : at === verdictAt ? row.verdict : cell);
  return bytesOf((data.marked ? "\ufeff" : "") + [data.columns, ...rows.map(cellsOf)].map(line).join(""));
}

byId("download").addEventListener("click", () => {
  const link = make("a", { href: URL.createObjectURL(corrected()), download: data.download });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unkept = false;
  // Keys go on where they were.
  if (state.current) state.current.node.focus({ preventScroll: true });
});

// ---- the start ----

for (const id of ["controls", "keys", "bar"]) byId(id).hidden = false;
if (!Object.keys(data.confidences).length) document.querySelectorAll(".confidence").forEach((label) => { label.hidden = true; });
for (const control of [query, where, from, to, verdict]) control.addEventListener("input", update);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", () => {
  for (const field of [query, from, to]) field.value = "";
  verdict.value = "all";
  update();
  query.focus();
});
byId("back").addEventListener("click", () => visit(state.found[state.start - SHOWN].rows[0]));
byId("on").addEventListener("click", () => visit(state.found[state.start + SHOWN].rows[0]));
update();
// Whoever comes back goes on where there is something left to do.
const left = reviewed.find((row) => !row.verdict);
if (left && left !== reviewed[0]) visit(left);
else if (reviewed.length) reviewed[0].node.focus({ preventScroll: true });
