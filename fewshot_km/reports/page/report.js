"use strict";

// A number as tables write it, or null: "93.53 ± 0.52", "−0.31 +0.22 (600)" (half its width), "< 0.0001", "111,749".
function numberIn(text) {
  const plain = text.replaceAll("−", "-").replaceAll(",", "").replace(/^± ?/, "").trim();
  const sides = /^-([\d.]+) \+([\d.]+)/.exec(plain);
  if (sides) return (Number(sides[1]) + Number(sides[2])) / 2;
  const found = /^(<? ?)([+-]?[\d.]+)/.exec(plain);
  return found ? Number(found[2]) - (found[1] ? 1e-9 : 0) : null;
}

const MOST_SEEN = 10; // rows: what is seen at a glance needs no filter

function rowsOf(table) {
  return [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.classList.contains("section"));
}

function sortRows(table, column, direction) {
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
    const numbers = new Map(rows.map((row) => [row, numberIn(texts.get(row))]));
    const known = rows.filter((row) => texts.get(row) !== "–");
    const isNumber = (row) => numbers.get(row) !== null;
    const numeric = known.some(isNumber) && (rows[0].cells[column].classList.contains("number") || known.every(isNumber));
    rows.sort((a, b) => {
      if (numeric) {
        if (!isNumber(a) || !isNumber(b)) return isNumber(b) - isNumber(a); // what has no number comes last
        return direction * (numbers.get(a) - numbers.get(b));
      }
      return direction * texts.get(a).localeCompare(texts.get(b), "en", { numeric: true });
    });
    body.append(...rows);
  }
}

function makeSortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const first = header.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = header.getAttribute("aria-sort") === first ? other : first;
      headers.forEach((one) => one.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      sortRows(table, column, order === "ascending" ? 1 : -1);
    });
  });
}

function makeFilterable(table) {
  const tools = document.createElement("div");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("span");
  tools.className = "tools";
  input.type = "search";
  label.append("Filter rows ", input);
  count.setAttribute("role", "status");
  tools.append(label, count);
  table.closest(".scroll").before(tools);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = rowsOf(table);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
}

function startViewer(viewer, { names, answers }) {
  const choice = (what) => viewer.querySelector(`[data-choose="${what}"]`);
  const episode = choice("episode");
  const score = viewer.querySelector("[data-score]");
  const steps = [...viewer.querySelectorAll("[data-step]")];

  function show() {
    const at = Number(episode.value);
    const seed = choice("seed").value;
    const chosen = choice("method").value;
    const counts = new Map();
    viewer.style.setProperty("--episode", at);
    viewer.querySelectorAll("[data-name]").forEach((one) => { one.textContent = names[at][one.dataset.name]; });
    for (const query of viewer.querySelectorAll("[data-truth]")) {
      const truth = Number(query.dataset.truth);
      for (const mark of query.querySelectorAll("[data-method]")) {
        const method = mark.dataset.method;
        const given = answers[method][seed]?.[at][query.dataset.place];
        const isRight = given === truth;
        mark.hidden = chosen !== "" && chosen !== method;
        mark.className = given === undefined ? "none" : isRight ? "right" : "wrong";
        mark.querySelector(".sign").textContent = given === undefined ? "" : isRight ? "✓" : "✗";
        mark.querySelector(".said").textContent =
          given === undefined ? ": not kept" : isRight ? "" : given < 0 ? ": no answer" : `: ${given} ${names[at][given]}`;
        if (given !== undefined && !mark.hidden) {
          const [right, all] = counts.get(method) ?? [0, 0];
          counts.set(method, [right + isRight, all + 1]);
        }
      }
    }
    score.textContent = [...counts].map(([method, [right, all]]) => `${method}: ${right} of ${all} right`).join(", ");
    steps.forEach((step) => { step.disabled = !episode.options[at + Number(step.dataset.step)]; });
  }

  viewer.querySelectorAll("select").forEach((select) => select.addEventListener("change", show));
  for (const step of steps) {
    step.addEventListener("click", () => {
      episode.value = String(Number(episode.value) + Number(step.dataset.step));
      show();
    });
  }
  viewer.querySelector("[data-controls]").hidden = false;
  show();
}

function startTheme(button) {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
}

function openTarget() { // browsers that do not yet open what a link leads to
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const around = target?.closest("details");
  if (around && !around.open) {
    around.open = true;
    target.scrollIntoView();
  }
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  makeSortable(table);
  if (rowsOf(table).length > MOST_SEEN) makeFilterable(table);
}
const viewerData = JSON.parse(document.getElementById("viewer-data").textContent);
document.querySelectorAll("[data-viewer]").forEach((viewer) => startViewer(viewer, viewerData[viewer.dataset.viewer]));
startTheme(document.querySelector("[data-theme-toggle]"));
addEventListener("hashchange", openTarget);
openTarget();
