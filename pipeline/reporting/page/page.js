"use strict";
// Filters and sorting over the page's own tables; the pictures are Vega-Lite's.
const data = JSON.parse(document.getElementById("data").textContent);
const filters = document.getElementById("filters");
const dark = matchMedia("(prefers-color-scheme: dark)");
let views = [];

function wanted(held) {
  return [...filters.elements].every((e) => !e.name || !e.value || (held[e.name] ?? e.value) === e.value);
}

function show() {
  const rows = document.querySelectorAll("[data-model]");
  for (const row of rows) row.hidden = !wanted(row.dataset);
  const first = [...document.querySelectorAll("#cells ~ .scroll tbody tr")];
  document.getElementById("count").textContent = `${first.filter((row) => !row.hidden).length} of ${first.length} cells`;
  for (const view of views) {
    for (const name of Object.keys(data)) {
      if (!view.data_names.includes(name)) continue;
      view.change(name, vega.changeset().remove(() => true).insert(data[name].filter(wanted)));
    }
    view.runAsync();
  }
}

function sort(button) {
  const head = button.parentElement, place = head.cellIndex, body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[place];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.classList.contains("number") ? null : cell.textContent;
  };
  const order = (a, b) => {
    const x = key(a), y = key(b);
    if (x === null || y === null) return (x === null) - (y === null); // what is missing stays last
    const by = typeof x === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return down ? -by : by;
  };
  body.append(...[...body.rows].sort(order));
}

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("vega").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

async function draw() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [text, muted, line] = ["--text", "--muted", "--line"].map(colour);
  const axis = { labelColor: text, titleColor: text, gridColor: line, domainColor: muted, tickColor: muted };
  const columns = document.body.clientWidth < 600 ? 3 : 6;
  const layout = { bottom: { direction: "vertical", anchor: "start" } };
  const legend = { labelColor: text, symbolBaseFillColor: text, symbolBaseStrokeColor: text, orient: "bottom", columns, layout };
  const config = { background: null, view: { stroke: null }, axis, legend };
  const datasets = Object.fromEntries(Object.entries(data).map(([name, held]) => [name, held.filter(wanted)]));
  const drawn = [];
  for (const place of document.querySelectorAll(".chart")) {
    const named = place.dataset.spec.replace(/"(--[a-z]+)"/g, (_, name) => JSON.stringify(colour(name)));
    const made = await vegaEmbed(place, { ...JSON.parse(named), datasets }, {
      actions: { export: true, source: false, compiled: false, editor: false },
      renderer: "svg",
      logLevel: vega.Error, // an empty selection is none
      config,
      tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    made.view.data_names = Object.keys(datasets).filter((name) => place.dataset.spec.includes(`"${name}"`));
    drawn.push(made.view);
  }
  views = drawn;
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => sort(button));
}
filters.addEventListener("change", show);
addEventListener("hashchange", open);
function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") { target.hidden = false; target.open = true; target.scrollIntoView(); }
}
show();
open();
unpack().then(draw).then(() => {
  dark.addEventListener("change", draw);
  document.body.dataset.drawn = "yes"; // tests wait for it
}).catch((error) => {
  document.getElementById("undrawn").hidden = false;
  console.error(error);
});
