// Tables that sort and filter, verdicts that open, figures that are read, the run browser, and the
// dialog that says where a number comes from.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const dialog = document.getElementById("origin");
const unique = (values) => [...new Set(values)];
const armOf = (run) => `${run.method}/${run.variant}`;
const dataLabel = (run) => DATA.datasets.find((set) => set.name === run.dataset)?.label ?? run.dataset;
const percent = (value) => (value === null ? "–" : `${+(100 * value).toFixed(1)} %`);
const megabytes = (value) => number(value === null ? null : value / 1e6, 2);
const FINAL = [
  ["test_accuracy", `test ${DATA.score}`, percent, "evaluation.json"],
  ["parameters", "parameters", number, "complexity.json"],
  ["macs", "MACs", number, "complexity.json"],
  ["flops_tf_profiler", "FLOPs (TF profiler)", number, "complexity.json"],
  ["bytes_total", "MB sent", megabytes, "history.csv"],
  ["payload_total", "MB of payload", megabytes, "history.csv"],
];
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8a6d00", "#56B4E9", "#7a68c8", "#a05a2c", "#888888"];

const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function number(value, places = 0) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places }).replace("-", "−");
}

// --- tables

function cellKey(unit, place) {
  const cell = (unit.tagName === "TBODY" ? unit.rows[0] : unit).cells[place];
  const text = cell.dataset.key ?? cell.textContent.trim();
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
}

// Numbers before words, what is empty last, whichever the direction.
function compare(one, other, sign) {
  const empty = (value) => value === "" || value === "–";
  if (empty(one) || empty(other)) return empty(one) - empty(other);
  if (typeof one === "number" && typeof other === "number") return sign * (one - other);
  if (typeof one === typeof other) return sign * one.localeCompare(other, "en", { numeric: true });
  return typeof one === "number" ? -1 : 1;
}

function sortBy(button) {
  const head = button.closest("th"), table = button.closest("table");
  const up = head.getAttribute("aria-sort") !== "ascending";
  table.querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const grouped = table.tBodies.length > 1;
  const units = grouped ? [...table.tBodies] : [...(table.tBodies[0]?.rows ?? [])];
  const keyed = units.map((unit) => [cellKey(unit, head.cellIndex), unit]);
  keyed.sort(([a], [b]) => compare(a, b, up ? 1 : -1));
  (grouped ? table : table.tBodies[0])?.append(...keyed.map(([, unit]) => unit));
}

function filterSheet(sheet) {
  const words = sheet.querySelector(".filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [...sheet.querySelectorAll(".facet")].filter((select) => select.value);
  const rows = [...sheet.querySelector("table").tBodies[0].rows];
  const plain = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word)) && chosen.every((select) => plain(row.cells[select.dataset.place]) === select.value);
    row.hidden = !fits;
    shown += fits;
  }
  sheet.querySelector(".count").textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
}

// --- where a number comes from

const runsOf = (unit) => (unit.dataset.runs ? unit.dataset.runs.split(" ").map((place) => DATA.runs[place]) : []);

// What runs have in common, as rows of a list of facts.
function factsOf(runs) {
  const facts = make("dl");
  const add = (name, ...values) => facts.append(make("dt", {}, name), make("dd", {}, ...values));
  const code = (name) => unique(runs.map((run) => run[name])).flatMap((value) => [make("code", {}, value), make("br")]).slice(0, -1);
  add("Data", unique(runs.map((run) => `${dataLabel(run)}${run.kind === "stand-in" ? "" : " (real)"}`)).join("; "));
  add("Store, SHA-256", ...code("store_checksum"));
  add("Partition, SHA-256", ...code("partition_checksum"));
  add("Code version", ...code("code"));
  add("Environment", unique(runs.map((run) => Object.entries(DATA.versions[run.versions]).map(([k, v]) => `${k} ${v}`).join(", "))).join("; "));
  const git = DATA.environment?.git;
  if (git?.commit) add("Commit", make("code", {}, git.commit), git.modified ? " with changes that are not committed" : "");
  const settings = runs.map((run) => ({ ...DATA.settings, ...run.settings }));
  const values = unique(settings.flatMap(Object.keys)).map((name) => [name, unique(settings.map((s) => s[name] ?? "not set"))]);
  const alike = values.filter(([, found]) => found.length === 1), differ = values.filter(([, found]) => found.length > 1);
  add(runs.length > 1 ? "Settings of all" : "Settings", alike.map(([name, found]) => `${name} ${found[0]}`).join(", "));
  if (differ.length) add("Settings that differ", differ.map(([name, found]) => `${name}: ${found.join(" or ")}`).join("; "));
  const cost = runs.map((run) => run.cost?.seconds).filter(Boolean);
  if (cost.length) add("Time", `${number(cost.reduce((a, b) => a + b, 0))} s of training`);
  return facts;
}

function runLine(run, files) {
  const shown = run.files.map(([name]) => name).filter((name) => !files?.length || files.includes(name));
  const go = () => { dialog.close(); openRun(run.id); };
  return make("li", {}, make("button", { type: "button", class: "link", onclick: go }, run.id), " ",
    ...unique([...shown, "run.json"]).flatMap((name) => [" ", make("a", { href: `${run.address}/${name}` }, name)]));
}

function showOrigin(value, title, runs, files, table) {
  const note = (...parts) => make("p", { class: "note" }, ...parts);
  const parts = [make("p", { class: "big" }, value), make("p", {}, title)];
  if (table) parts.push(note("In ", make("code", {}, table.path), table.columns ? `, columns ${table.columns.split(" ").join(", ")}` : ""));
  if (table?.measured) parts.push(note("Read from ", make("code", {}, table.measured.split(";").join(", ")), runs.length ? ". The networks are of:" : "."));
  if (runs.some((run) => run.kind === "stand-in")) parts.push(make("p", { class: "alarm" }, "Made from stand-in data."));
  if (runs.length) {
    parts.push(make("h3", {}, runs.length === 1 ? "One run" : `${runs.length} runs`), factsOf(runs),
      make("ul", { class: "list" }, ...runs.map((run) => runLine(run, files))));
  }
  if (table?.data) {
    const facts = [["Data", table.data.label], ["Made by", table.data.source], ["Store, SHA-256", table.data.store], ["Partition", `${table.data.scheme}, ${table.data.clients} clients, target ${table.data.target}`]];
    parts.push(make("h3", {}, "The data itself; no run"), make("dl", {}, ...facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])));
  }
  document.getElementById("origin-body").replaceChildren(...parts);
  dialog.showModal();
  dialog.scrollTop = 0;
}

function originOfCell(button) {
  const cell = button.closest("td"), table = button.closest("table"), row = cell.parentElement;
  const value = button.textContent.trim();
  if (table.classList.contains("claims")) {
    const claim = cell.closest("tbody");
    return showOrigin(value, claim.dataset.name, runsOf(claim), [], { path: CLAIMS_PATH, columns: button.dataset.columns, measured: claim.dataset.measured });
  }
  const head = table.tHead.rows[0].cells[cell.cellIndex];
  const words = [...row.cells].filter((other) => !other.classList.contains("n")).map((other) => other.textContent.trim().replace(/\s+/g, " "));
  const where = { path: table.dataset.path, columns: head.dataset.columns, measured: row.dataset.measured, data: DATA.datasets[row.dataset.dataset] };
  return showOrigin(value, `${head.textContent.trim()}: ${words.join(", ")}`, runsOf("runs" in cell.dataset ? cell : row), head.dataset.files.split(" ").filter(Boolean), where);
}

// A final figure of one run, which opens to its origin.
function finalNumber(run, [name, label, format, file]) {
  const text = format(run.final[name]);
  return make("button", { type: "button", class: "number", onclick: () => showOrigin(text, `${label}, ${run.id}`, [run], [file]) }, text);
}

// The runs behind a verdict, each with its final figures; made when it is first opened.
function openVerdict(button) {
  const evidence = document.getElementById(button.getAttribute("aria-controls"));
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  evidence.hidden = !open;
  const host = evidence.querySelector(".runs-behind"), runs = runsOf(evidence.closest("tbody"));
  if (!open || host.childElementCount || !runs.length) return;
  const link = (run) => make("button", { type: "button", class: "link", onclick: () => openRun(run.id) }, `${dataLabel(run)}, ${DATA.models[run.model]}, ${run.label}, seed ${run.seed}`);
  const rows = runs.map((run) => make("tr", {}, make("td", {}, link(run)), ...FINAL.map((figure) => make("td", { class: "n" }, make("span", {}, finalNumber(run, figure))))));
  host.append(sheet("Runs behind the verdict", ["run", ...FINAL.map(([, label]) => label)], rows, (place) => place > 0));
}

function sheet(name, titles, rows, numeric) {
  const head = make("tr", {}, ...titles.map((title, place) => make("th", { scope: "col", class: numeric(place) ? "n" : null }, title)));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

// --- figures: pictures with the values that their SVG carries, read by pointer or arrow keys

function still(figure) {
  const { width, spots } = JSON.parse(figure.dataset.values);
  const image = figure.querySelector("img");
  const tip = make("output", { class: "tip" });
  const plot = draw("svg", { role: "group", tabindex: 0, "aria-roledescription": "chart", "aria-label": image.alt });
  const frame = make("div", { class: "over" });
  const state = { spots: [], at: null };
  image.replaceWith(frame);
  frame.append(image, plot, tip);
  new ResizeObserver(() => {
    const scale = image.clientWidth / width;
    plot.setAttribute("viewBox", `0 0 ${frame.clientWidth} ${frame.clientHeight}`);
    plot.replaceChildren();
    state.at = null;
    state.spots = spots.map(([series, x, y, w, h, say]) => ({ series, x: x * scale, y: y * scale, w: w * scale, h: h * scale, say }));
  }).observe(image); // which may be narrower than its frame, and has no size until it is loaded
  const read = (place) => showSpot(plot, tip, state, place);
  for (const kind of ["pointermove", "pointerdown"]) plot.addEventListener(kind, (event) => read(nearest(plot, state, event)));
  for (const kind of ["pointerleave", "blur"]) plot.addEventListener(kind, () => read(null));
  plot.addEventListener("keydown", (event) => {
    const to = step(state, event.key);
    if (to === undefined) return;
    event.preventDefault();
    read(to);
  });
}

function nearest(plot, state, event) {
  const area = plot.getBoundingClientRect();
  const away = (far, size) => Math.max(Math.abs(far) - size / 2, 0);
  let best = null, least = 60 ** 2;
  state.spots.forEach((spot, place) => {
    const far = away(spot.x - event.clientX + area.left, spot.w) ** 2 + away(spot.y - event.clientY + area.top, spot.h) ** 2;
    if (far < least) [best, least] = [place, far];
  });
  return best;
}

// Left and right go along a series, up and down to the next one; Home and End to its ends.
function step(state, key) {
  if (key === "Escape") return state.at === null ? undefined : null;
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key) || !state.spots.length) return undefined;
  if (state.at === null) return 0;
  const here = state.spots[state.at];
  const of = (series) => state.spots.flatMap((spot, place) => (spot.series === series ? [place] : []));
  const mine = of(here.series), place = mine.indexOf(state.at);
  if (key === "Home") return mine[0];
  if (key === "End") return mine.at(-1);
  if (key === "ArrowLeft") return mine[Math.max(place - 1, 0)];
  if (key === "ArrowRight") return mine[Math.min(place + 1, mine.length - 1)];
  const order = unique(state.spots.map((spot) => spot.series));
  const other = order[(order.indexOf(here.series) + (key === "ArrowDown" ? 1 : order.length - 1)) % order.length];
  const far = (at) => Math.abs(state.spots[at].x - here.x);
  return of(other).reduce((best, at) => (far(at) < far(best) ? at : best));
}

function showSpot(plot, tip, state, place) {
  if (place === state.at) return;
  state.at = place;
  plot.querySelector(".spot")?.remove();
  const spot = place === null ? null : state.spots[place];
  tip.textContent = spot ? spot.say : "";
  if (!spot) return;
  plot.append(spot.w
    ? draw("rect", { class: "spot", x: spot.x - spot.w / 2, y: spot.y - spot.h / 2, width: spot.w, height: spot.h })
    : draw("circle", { class: "spot", cx: spot.x, cy: spot.y, r: 6 }));
  tip.style.left = `${Math.max(0, Math.min(spot.x + 12, plot.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${spot.y + (spot.y > 90 && spot.y - 14 > tip.offsetHeight ? -14 - tip.offsetHeight : 14)}px`;
}

// --- the run browser

function startBrowser() {
  const form = document.getElementById("run-choice");
  const part = { dataset: (r) => r.dataset, model: (r) => r.model, arm: armOf, seed: (r) => String(r.seed) };
  const text = { dataset: dataLabel, model: (r) => DATA.models[r.model], arm: (r) => r.label, seed: (r) => String(r.seed) };
  const names = Object.keys(part);
  // Each list holds what there is after the choices before it; a choice stays where it can.
  const choose = (wanted) => {
    let left = DATA.runs;
    for (const name of names) {
      const options = new Map(left.map((run) => [part[name](run), text[name](run)]));
      const value = options.has(wanted[name]) ? wanted[name] : options.keys().next().value;
      form.elements[name].replaceChildren(...[...options].map(([v, t]) => make("option", { value: v, ...(v === value ? { selected: "" } : {}) }, t)));
      left = left.filter((run) => part[name](run) === value);
    }
    showRun(left[0]);
    return left[0];
  };
  const follow = (id) => {
    const run = DATA.runs.find((one) => one.id === id);
    return run && choose(Object.fromEntries(names.map((name) => [name, part[name](run)])));
  };
  const show = () => document.getElementById("browser").scrollIntoView();
  const linked = () => location.hash.startsWith("#run=") && follow(decodeURIComponent(location.hash.slice(5)));
  const chosen = () => choose(Object.fromEntries(names.map((name) => [name, form.elements[name].value])));
  form.addEventListener("change", () => history.replaceState(null, "", `#run=${chosen().id}`));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.openRun = (id) => {
    if (!follow(id)) return;
    history.replaceState(null, "", `#run=${id}`);
    show();
    form.elements.dataset.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", () => linked() && show());
  if (linked()) show();
  else follow((DATA.runs.find((run) => run.plan?.shrinks.length) ?? DATA.runs[0]).id);
}

function showRun(run) {
  const head = make("div", { class: "run-head" }, ...FINAL.map((figure) => make("div", {}, make("b", {}, finalNumber(run, figure)), make("span", {}, figure[1]))));
  if (run.kind === "stand-in") head.prepend(make("div", {}, make("span", { class: "stand-in" }, "stand-in data")));
  const { round, validation, test, widths, live, shrunk } = run.curves;
  const seen = (values, name, colour, dash) => ({ name, colour, dash, points: round.flatMap((at, i) => (values[i] === null ? [] : [[at, values[i]]])) });
  const steps = (rows, what, dash) => (rows[0] ?? []).slice(1).map((_, layer) => ({
    name: `layer ${layer + 1}, ${what}`, colour: COLOURS[layer % COLOURS.length], dash,
    points: [...rows, [round.at(-1), ...rows.at(-1).slice(1)]].flatMap((row, i, all) => [...(i ? [[row[0], all[i - 1][layer + 1]]] : []), [row[0], row[layer + 1]]]),
  }));
  const charts = make("div", { class: "charts" },
    lines(`${DATA.score[0].toUpperCase()}${DATA.score.slice(1)} by round`, `Solid: validation. Dashed: test. Shrinks in rounds: ${shrunk.join(", ") || "none"}.`, [seen(validation, "validation", COLOURS[0]), seen(test, "test", COLOURS[1], "4 2")], percent),
    lines("Filters by round", `A step line a layer${live.length ? "; dashed: its live filters" : ""}.`, [...steps(widths, "filters"), ...steps(live, "live filters", "3 2")], (value) => number(value)));
  const origin = make("details", {}, make("summary", {}, "Settings, data, code and environment"), factsOf([run]));
  document.getElementById("run-view").replaceChildren(head, make("h3", {}, "Training"), charts, planOf(run), filesOf(run), origin);
}

// Curves over rounds, in one frame from the least to the largest value.
function lines(title, about, series, format) {
  const [width, height, left, right, bottom] = [440, 190, 48, 426, 172];
  const all = series.flatMap((one) => one.points), [xs, ys] = [0, 1].map((axis) => all.map((point) => point[axis]));
  const [low, high, last] = [Math.min(...ys), Math.max(...ys), Math.max(...xs, 1)];
  const x = (value) => left + ((right - left) * value) / last;
  const y = (value) => bottom - ((bottom - 10) * (value - low)) / (high - low || 1);
  const plot = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${about}` });
  for (const value of unique([low, (low + high) / 2, high])) {
    plot.append(draw("line", { x1: left, x2: right, y1: y(value), y2: y(value) }), draw("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  for (const value of unique([0, Math.round(last / 2), last])) plot.append(draw("text", { x: x(value), y: height - 4, "text-anchor": "middle" }, String(value)));
  for (const one of series) {
    const path = one.points.map((point) => `${x(point[0])} ${y(point[1])}`).join("L");
    plot.append(draw("path", { d: `M${path}`, stroke: one.colour, "stroke-dasharray": one.dash }, draw("title", {}, one.name)));
  }
  return make("figure", { class: "lines" }, make("h4", {}, title), plot, make("figcaption", {}, about));
}

function planOf(run) {
  const part = make("section", { "aria-label": "Pruning plan", class: "plan" }, make("h3", {}, "Pruning plan"));
  const say = (text) => part.append(make("p", {}, text));
  if (!run.plan) { say("None: this method prunes nothing."); return part; }
  const { facts, shrinks, mask, base } = run.plan;
  const stopped = ({ round, reason }) => `search stopped in round ${round} (${reason})`;
  say(`From widths ${base.join(" ")}; ${Object.entries(facts).map(([name, value]) => (name === "stopped" ? stopped(value) : `${name} ${value}`)).join(", ")}.`);
  if (mask.length) say(`Single weights are masked: ${mask.map(([round, left]) => `${number(left)} left in round ${round}`).join(", ")}.`);
  if (!shrinks.length) { say(mask.length ? "The widths stay." : "No shrink."); return part; }
  const cell = (value) => make("td", { class: "n" }, value === undefined || value === null ? "–" : String(+value.toPrecision(4)));
  const rows = shrinks.flatMap((shrink) => shrink.layers.map((layer, i) => make("tr", {},
    make("td", {}, i === 0 ? String(shrink.round) : ""), make("th", { scope: "row" }, layer.layer), cell(layer.width), cell(layer.width - layer.removed.length),
    ...["mean", "std", "lower", "upper"].map((name) => cell(layer[name])), make("td", {}, layer.removed.join(", ") || "none"))));
  part.append(sheet("Pruning plan, table", ["round", "layer", "before", "after", "mean", "std", "lower", "upper", "removed filters"], rows, (place) => place > 1 && place < 8),
    make("p", { class: "note" }, "A filter is numbered in the network as it was before that shrink."));
  return part;
}

function filesOf(run) {
  const size = (bytes) => (bytes < 1e4 ? `${number(bytes)} bytes` : `${number(bytes / 1e3)} kB`);
  const items = run.files.map(([name, bytes]) => make("li", {}, make("a", { href: `${run.address}/${name}` }, name), ` ${size(bytes)}`));
  return make("section", { "aria-label": "Files" }, make("h3", {}, "Files"), make("p", {}, make("code", {}, run.folder)), make("ul", { class: "list" }, ...items));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("sort")) sortBy(button);
  else if (button.classList.contains("open")) openVerdict(button);
  else if (button.matches("td > .number")) originOfCell(button);
});
for (const kind of ["input", "change"]) {
  document.addEventListener(kind, (event) => {
    const shown = event.target.closest(".sheet");
    if (shown) filterSheet(shown);
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
window.addEventListener("beforeprint", () => document.querySelectorAll("details.group").forEach((group) => { group.open = true; }));
document.querySelectorAll("[data-values]").forEach(still);
startBrowser();
