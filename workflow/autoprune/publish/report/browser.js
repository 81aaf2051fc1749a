// The run browser: one run's curve, widths, plan, origin and files.

const megabytes = (value) => number(value === null ? null : value / 1e6, 2);
const FINAL = [
  ["test_accuracy", "test accuracy", percent, "evaluation.json"],
  ["parameters", "parameters", number, "complexity.json"],
  ["macs", "MACs", number, "complexity.json"],
  ["flops_tf_profiler", "FLOPs (TF profiler)", number, "complexity.json"],
  ["bytes_total", "MB sent", megabytes, "history.csv"],
  ["payload_total", "MB of payload", megabytes, "history.csv"],
];
const LAYERS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8a6d00", "#56B4E9", "#7a68c8", "#a05a2c", "#888888"];

function startBrowser() {
  const form = document.getElementById("run-choice");
  const names = ["dataset", "model", "arm", "seed"];
  const part = { dataset: (r) => r.dataset, model: (r) => r.model, arm: armOf, seed: (r) => String(r.seed) };
  const text = { dataset: dataLabel, model: modelLabel, arm: (r) => look(armOf(r)).label, seed: (r) => String(r.seed) };
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
  const wanted = () => Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
  form.addEventListener("change", () => history.replaceState(null, "", `#run=${choose(wanted()).id}`));
  form.addEventListener("submit", (event) => event.preventDefault());
  const follow = (id) => {
    const run = DATA.runs.find((one) => one.id === id);
    if (!run) return false;
    choose(Object.fromEntries(names.map((name) => [name, part[name](run)])));
    return true;
  };
  window.openRun = (id) => {
    if (!follow(id)) return;
    history.replaceState(null, "", `#run=${id}`);
    document.getElementById("browser").scrollIntoView();
    form.elements.dataset.focus({ preventScroll: true });
  };
  const linked = () => location.hash.startsWith("#run=") && follow(decodeURIComponent(location.hash.slice(5)));
  window.addEventListener("hashchange", () => linked() && document.getElementById("browser").scrollIntoView());
  if (linked()) document.getElementById("browser").scrollIntoView();
  else follow((DATA.runs.find((run) => run.plan?.shrinks.length) ?? DATA.runs[0]).id);
}

function showRun(run) {
  const head = make("div", { class: "run-head" }, ...FINAL.map((figure) => make("div", {}, make("b", {}, finalNumber(run, figure)), make("span", {}, figure[1]))));
  if (run.kind === "stand-in") head.prepend(make("div", {}, make("span", { class: "stand-in" }, "stand-in data")));
  const charts = make("div", { class: "charts" }, chart(runCurve(run)), chart(runWidths(run)));
  const parts = [head, make("h3", {}, "Training"), charts, planOf(run), filesOf(run), make("details", {}, make("summary", {}, "Settings, data, code and environment"), originOf([run]))];
  document.getElementById("run-view").replaceChildren(...parts.filter(Boolean));
}

// A final figure of one run, which opens to its origin.
function finalNumber(run, [name, label, format, file]) {
  const text = format(run.final[name]);
  return make("button", { type: "button", class: "number", onclick: () => showOrigin(text, `${label}, ${run.id}`, [DATA.runs.indexOf(run)], [file]) }, text);
}

function runCurve(run) {
  const c = run.curves;
  const points = (values, word) => c.round.flatMap((round, i) => (values[i] === null ? [] : [{ x: round, y: values[i], say: `round ${round}, ${word}: ${percent(values[i])}` }]));
  const series = [
    { name: "validation", colour: "var(--link)", points: points(c.validation, "validation") },
    { name: "test", colour: "var(--bad)", dash: [4, 2], points: points(c.test, "test") },
  ];
  const rules = [...chanceRule(run.dataset), ...c.shrunk.map((round, i) => ({ x: round, label: i === 0 ? "shrinks" : "" }))];
  return { title: "Accuracy by round", heading: "h4", about: `Solid: validation. Dashed: test. Dotted uprights: rounds with a shrink${c.shrunk.length ? ` (${c.shrunk.join(", ")})` : ", none here"}.`, x: { label: "round (solid: validation, dashed: test)" }, y: { format: percent }, series, rules };
}

function runWidths(run) {
  const { widths, live, round } = run.curves;
  const last = round.at(-1);
  const layers = widths[0].length - 1;
  const named = (layer) => run.plan?.shrinks[0]?.layers[layer]?.layer ?? `layer ${layer + 1}`;
  const colour = (layer) => LAYERS[layer % LAYERS.length];
  // A step line of one layer; what is said of its last value is said again at the end.
  const steps = (rows, layer, what) => {
    const points = rows.map((row) => ({ x: row[0], y: row[layer + 1], say: `from round ${row[0]} on: ${row[layer + 1]} ${what(row)}` }));
    return [...points, { ...points.at(-1), x: last, say: `round ${last}: ${points.at(-1).y} ${what()}` }];
  };
  const all = Array.from({ length: layers }, (_, layer) => layer);
  const series = all.map((layer) => {
    const points = steps(widths, layer, (row) => `filters${row ? removedAt(run, row[0], layer) : ""}`);
    return { name: named(layer), colour: colour(layer), marker: "o", size: 0.7, step: true, points };
  });
  if (live.length) series.push(...all.map((layer) => ({ name: named(layer), colour: colour(layer), dash: [3, 2], step: true, points: steps(live, layer, () => "live filters") })));
  const dashed = live.length ? "; dashed: live" : "";
  return { title: "Filters by round", heading: "h4", about: `One step line for each of ${layers} layers${live.length ? ", and a dashed one of its filters that fire on any of 2,000 training images" : ""}.`, x: { label: `round (${layers} layers${dashed}; point to name one)` }, y: { low: 0 }, series };
}

// What went from a layer in a round, and beyond which boundaries its norms lay.
function removedAt(run, round, layer) {
  const cut = run.plan?.shrinks.find((shrink) => shrink.round === round)?.layers[layer];
  if (!cut?.removed.length) return "";
  const named = cut.removed.slice(0, 12).join(", ") + (cut.removed.length > 12 ? ", …" : "");
  const bounds = cut.lower === undefined ? "" : `\nkept norms: ${+cut.lower.toPrecision(4)} to ${+cut.upper.toPrecision(4)}`;
  return `\nremoved: ${named}${bounds}`;
}

function planOf(run) {
  const part = make("section", { "aria-label": "Pruning plan", class: "plan" }, make("h3", {}, "Pruning plan"));
  if (!run.plan) return fill(part, {}, [make("p", {}, "None: this method prunes nothing.")]);
  const { facts, shrinks, mask, base } = run.plan;
  const said = Object.entries(facts).map(([name, value]) => (name === "stopped" ? (value ? `search stopped in round ${value.round} (${value.reason})` : "") : `${name} ${value}`));
  part.append(make("p", {}, `From widths ${base.join(" ")}; ${said.filter(Boolean).join(", ")}.`));
  if (mask.length) part.append(make("p", {}, `Single weights are masked: ${mask.map(([round, left]) => `${number(left)} left in round ${round}`).join(", ")}.`));
  if (!shrinks.length) return fill(part, {}, [make("p", {}, mask.length ? "The widths stay." : "No shrink.")]);
  part.append(scoresOf(shrinks), shrinkTable(shrinks));
  return part;
}

// One layer at one shrink: each filter's norm, the boundaries, and what fell outside of them.
function scoresOf(shrinks) {
  const host = make("div", { class: "scores" });
  if (!shrinks.some((shrink) => shrink.layers.some((layer) => layer.scores))) {
    return make("p", { class: "note" }, "This method keeps no score of each filter in its plan.");
  }
  const round = make("select", { name: "shrink" }, ...shrinks.map((s, i) => make("option", { value: i }, `round ${s.round}`)));
  const layer = make("select", { name: "layer" }, ...shrinks[0].layers.map((l, i) => make("option", { value: i }, l.layer)));
  const busiest = shrinks[0].layers.map((l) => l.removed.length);
  layer.value = String(busiest.indexOf(Math.max(...busiest)));
  const show = () => host.replaceChildren(scoreChart(shrinks[round.value], shrinks[round.value].layers[layer.value]));
  round.addEventListener("change", show);
  layer.addEventListener("change", show);
  const tools = make("div", { class: "tools" }, make("label", {}, "Shrink ", round), make("label", {}, "Layer ", layer));
  show();
  return make("div", {}, tools, host);
}

function scoreChart(shrink, layer) {
  const gone = new Set(layer.removed);
  const points = layer.scores.map((score, unit) => ({
    x: unit, y: score, marker: gone.has(unit) ? "X" : "o", colour: gone.has(unit) ? "var(--bad)" : "var(--link)",
    say: `${gone.has(unit) ? "removed" : "kept"}, norm ${+score.toPrecision(4)}`, unit,
  }));
  points.forEach((point) => { point.say = `filter ${point.unit}: ${point.say}`; });
  const rules = [["upper", "upper boundary"], ["mean", "mean"], ["lower", "lower boundary"]].filter(([name]) => layer[name] !== undefined && layer[name] !== null).map(([name, label]) => ({ y: layer[name], label }));
  return chart({
    title: `Norms of ${layer.layer}, round ${shrink.round}: ${layer.removed.length} of ${layer.width} removed`, heading: "h4", height: 240,
    about: `Dots are kept, crosses removed: ${layer.removed.join(", ") || "none"}.`, x: { label: "filter (● kept, ✕ removed)" }, y: {},
    series: [{ name: layer.layer, line: false, points, marker: "o" }], rules,
  });
}

function shrinkTable(shrinks) {
  const cell = (value) => make("td", { class: "n" }, value === undefined || value === null ? "–" : String(+value.toPrecision(4)));
  const titles = ["round", "layer", "before", "after", "mean", "std", "lower", "upper", "removed filters"];
  const rows = shrinks.flatMap((shrink) => shrink.layers.map((layer, i) => make("tr", {},
    make("td", {}, i === 0 ? String(shrink.round) : ""), make("th", { scope: "row" }, layer.layer), cell(layer.width), cell(layer.width - layer.removed.length),
    ...["mean", "std", "lower", "upper"].map((name) => cell(layer[name])), make("td", {}, layer.removed.join(", ") || "none"))));
  const head = make("tr", {}, ...titles.map((title, i) => make("th", { scope: "col", class: i > 1 && i < 8 ? "n" : null }, title)));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", {}, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Pruning plan, table" }, table),
    make("p", { class: "note" }, "A filter is numbered in the network as it was before that shrink."));
}

function filesOf(run) {
  const size = (bytes) => (bytes < 1e4 ? `${number(bytes)} bytes` : `${number(bytes / 1e3)} kB`);
  const items = run.files.map(([name, bytes]) => make("li", {}, make("a", { href: `${run.address}/${name}` }, name), ` ${size(bytes)}`));
  return make("section", { "aria-label": "Files" }, make("h3", {}, "Files"), make("p", {}, make("code", {}, run.folder)), make("ul", { class: "list" }, ...items));
}
