
"use strict";
const STRONGEST = 0.85;
const maps = JSON.parse(document.getElementById("maps-data").textContent);
const places = [...document.querySelectorAll(".place")];
const words = [...document.querySelectorAll(".said-word")];

function show(number) {
  words.forEach((word, other) => word.setAttribute("aria-pressed", String(other === number)));
  document.getElementById("told").textContent = maps.told[number];
  const shares = maps.shares[number] || [];
  places.forEach((place, at) => { place.style.fillOpacity = STRONGEST * (shares[at] || 0) / maps.largest; });
}

words.forEach((word, number) => {
  word.addEventListener("click", () => show(number));
  word.addEventListener("focus", () => show(number));
  word.addEventListener("pointerenter", () => show(number));
});
