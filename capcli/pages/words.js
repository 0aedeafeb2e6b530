"use strict";
// What the scripts of several pages have alike: elements, names as they can be shown, and words to be found in texts.
// Texts of other people are only ever set as text (textContent), never as markup.
const WORD = /[\p{L}\p{N}\p{M}]+(?:['\u2019.\-][\p{L}\p{N}\p{M}]+)*/gu;
const byId = (id) => document.getElementById(id);
const parse = (id) => JSON.parse(byId(id).textContent);

function make(tag, attributes = {}, ...children) {
  const node = tag === "svg" || make.inSvg.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
make.inSvg = new Set(["rect", "text", "g", "title"]);

// What cannot be seen in a file name, or would turn its text around, is shown by its number.
const visible = (name) => name.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (character) =>
  "\\u" + character.codePointAt(0).toString(16).padStart(4, "0"));
const count = (number, one, many = one + "s") => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// ---- whole words, in a text as written ----

const plain = (text) => (text.toLowerCase().match(WORD) || []).join(" ");

function termsOf(query) {
  if (query.startsWith("=")) return { whole: query.slice(1).trim().toLowerCase(), terms: [] };
  const found = [...query.toLowerCase().matchAll(/"([^"]*)"|(\S+)/g)];
  const texts = found.map((match) => (match[1] ?? match[2]).replaceAll('"', "").trim().replace(/\s+/g, " "));
  return { whole: null, terms: texts.filter(Boolean) };
}

function holds(text, term) {
  const bare = plain(term);
  return text.includes(` ${term} `) || (bare !== "" && text.includes(` ${bare} `));
}

function pattern({ whole, terms }) {
  const escaped = (word) => word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const parts = (whole === null ? terms : [whole]).map((term) =>
    plain(term).split(" ").filter(Boolean).map(escaped).join("[^\\p{L}\\p{N}]+")).filter(Boolean);
  return parts.length ? new RegExp(`(?<![\\p{L}\\p{N}])(?:${parts.join("|")})(?![\\p{L}\\p{N}])`, "giu") : null;
}

function marked(text, found) {
  if (!found) return [text];
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(found)) {
    pieces.push(text.slice(end, match.index), make("mark", {}, match[0]));
    end = match.index + match[0].length;
  }
  return [...pieces, text.slice(end)];
}
