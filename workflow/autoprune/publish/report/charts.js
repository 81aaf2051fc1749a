// Line and dot charts as SVG: drawn at the width there is, read by pointer or arrow keys.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

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
  const text = value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  return text.replace("-", "−");
}

function short(value) {
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${+(value / size).toPrecision(3)}${letter}`;
  }
  return `${+value.toPrecision(3)}`.replace("-", "−");
}

const percent = (value) => `${+(100 * value).toFixed(1)} %`.replace("-", "−");

// Round numbers that span low to high, about as many as asked for.
function ticks(low, high, count, log) {
  if (log && high / low > 6) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const lead of high / low < 30 ? [1, 2, 5] : high / low < 1000 ? [1, 3] : [1]) {
        const value = lead * 10 ** power;
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((lead) => lead * power >= rough);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high + 1e-9 * step; place++) found.push(place * step);
  return found;
}

// The shapes of matplotlib's markers, around 0, 0.
const SHAPES = {
  o: "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0Z", s: "M-3-3h6v6h-6Z", "^": "M0-4l4 7h-8Z", D: "M0-4l4 4-4 4-4-4Z",
  v: "M0 4l4-7h-8Z", P: "M-1.3-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7Z",
  X: "M-3.6-2l1.6-1.6 2 2 2-2 1.6 1.6-2 2 2 2-1.6 1.6-2-2-2 2-1.6-1.6 2-2Z", "<": "M-4 0l7-4v8Z", ">": "M4 0l-7-4v8Z",
  p: "M0-4l3.8 2.8-1.5 4.4h-4.6l-1.5-4.4Z", h: "M0-4l3.5 2v4l-3.5 2-3.5-2v-4Z",
  "*": "M0-4.4l1.2 3 3.2.2-2.5 2 .8 3.2-2.7-1.8-2.7 1.8.8-3.2-2.5-2 3.2-.2Z",
};

function swatch(look) {
  const image = draw("svg", { class: "swatch", width: 30, height: 12, viewBox: "0 0 30 12", "aria-hidden": "true" });
  if (look.line !== false) {
    image.append(draw("line", { x1: 0, x2: 30, y1: 6, y2: 6, stroke: look.colour, "stroke-width": 1.8, "stroke-dasharray": look.dash.join(" ") }));
  }
  if (look.marker) image.append(draw("path", { d: SHAPES[look.marker], transform: "translate(15 6)", fill: look.colour }));
  return image;
}

// spec: title, about (said to screen readers), x and y {label, format, log, low, high}, series [{name,
// colour, dash, marker, points [{x, y, say}], line, step, band [{x, low, high}], markers, size}],
// rules [{y or x, label}], bars [{from, to, y, say, css}].
function chart(spec) {
  const tip = make("output", { class: "tip" });
  const plot = draw("svg", { role: "group", tabindex: 0, "aria-roledescription": "chart", "aria-label": `${spec.title}. ${spec.about}` });
  const host = make("figure", { class: `chart ${spec.css ?? ""}` }, make(spec.heading ?? "h3", {}, spec.title), plot, tip);
  const state = { spots: [], at: null };
  const redraw = () => drawChart(spec, plot, state, Math.max(host.clientWidth, 240));
  new ResizeObserver(redraw).observe(host);
  listen(plot, tip, state);
  return host;
}

// A picture with the values that its SVG carries; read like a chart.
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
  listen(plot, tip, state);
}

function listen(plot, tip, state) {
  const read = (place) => showSpot(plot, tip, state, place);
  plot.addEventListener("pointermove", (event) => read(nearest(plot, state, event)));
  plot.addEventListener("pointerdown", (event) => read(nearest(plot, state, event)));
  plot.addEventListener("pointerleave", () => read(null));
  plot.addEventListener("blur", () => read(null));
  plot.addEventListener("keydown", (event) => {
    const to = step(state, event.key);
    if (to === undefined) return;
    event.preventDefault();
    read(to);
  });
}

function range(spec, name) {
  const axis = spec[name];
  const values = [];
  for (const series of spec.series) {
    for (const point of series.points) values.push(point[name]);
    if (name === "y") for (const band of series.band ?? []) values.push(band.low, band.high);
  }
  for (const rule of spec.rules ?? []) if (rule[name] !== undefined) values.push(rule[name]);
  for (const bar of spec.bars ?? []) values.push(...(name === "x" ? [bar.from, bar.to] : [bar.y]));
  let low = axis.low ?? Math.min(...values);
  let high = axis.high ?? Math.max(...values);
  if (axis.log) return [low / 1.15, high * 1.15];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const room = name === "y" ? 0.06 * (high - low) : 0.02 * (high - low);
  return [axis.low ?? low - room, axis.high ?? high + room];
}

function drawChart(spec, plot, state, width) {
  const height = spec.height ?? 230;
  const box = { left: 50, right: width - 12, top: 10, bottom: height - 36 };
  const [xs, ys] = [range(spec, "x"), range(spec, "y")];
  const place = (axis, [low, high], from, to) => (value) =>
    axis.log ? from + ((to - from) * Math.log(value / low)) / Math.log(high / low) : from + ((to - from) * (value - low)) / (high - low);
  const x = place(spec.x, xs, box.left, box.right);
  const y = place(spec.y, ys, box.bottom, box.top);
  plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
  plot.setAttribute("height", height);
  plot.replaceChildren();
  state.spots = [];
  state.at = null;
  for (const value of ticks(...ys, 5, spec.y.log)) {
    plot.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
    plot.append(draw("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, (spec.y.format ?? short)(value)));
  }
  for (const value of ticks(...xs, Math.min(8, width / 70), spec.x.log)) {
    plot.append(draw("line", { class: "base", x1: x(value), x2: x(value), y1: box.bottom, y2: box.bottom + 4 }));
    plot.append(draw("text", { x: x(value), y: box.bottom + 16, "text-anchor": "middle" }, (spec.x.format ?? short)(value)));
  }
  plot.append(draw("line", { class: "base", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  plot.append(draw("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, spec.x.label));
  for (const bar of spec.bars ?? []) {
    const shape = { x: x(bar.from), y: y(bar.y), width: Math.max(x(bar.to) - x(bar.from) - 1, 1), height: box.bottom - y(bar.y) };
    plot.append(draw("rect", { class: `bar ${bar.css ?? ""}`, ...shape }));
    state.spots.push({ x: shape.x + shape.width / 2, y: shape.y, series: -1, say: bar.say });
  }
  spec.series.forEach((series, place) => drawSeries(plot, state, series, place, x, y));
  for (const rule of spec.rules ?? []) {
    const line = rule.y === undefined ? { x1: x(rule.x), x2: x(rule.x), y1: box.top, y2: box.bottom } : { x1: box.left, x2: box.right, y1: y(rule.y), y2: y(rule.y) };
    const at = rule.y === undefined ? { x: line.x1 + 3, y: box.top + 9 } : { x: box.right, y: line.y1 - 4, "text-anchor": "end" };
    plot.append(draw("line", { class: "rule", ...line }), draw("text", at, rule.label ?? ""));
  }
}

function drawSeries(plot, state, series, place, x, y) {
  const at = series.points.map((point) => [x(point.x), y(point.y)]);
  if (series.band?.length > 1) {
    const there = series.band.map((b) => `${x(b.x)} ${y(b.high)}`);
    const back = series.band.map((b) => `${x(b.x)} ${y(b.low)}`).reverse();
    plot.append(draw("path", { class: "band", d: `M${[...there, ...back].join("L")}Z`, fill: series.colour }));
  }
  if (series.line !== false && at.length) {
    const path = at.map(([px, py], i) => (i === 0 ? `M${px} ${py}` : series.step ? `H${px}V${py}` : `L${px} ${py}`)).join("");
    plot.append(draw("path", { class: "curve", d: path, stroke: series.colour, "stroke-dasharray": (series.dash ?? []).join(" ") }));
  }
  series.points.forEach((point, i) => {
    if (point.marker ?? series.marker) {
      const shape = { d: SHAPES[point.marker ?? series.marker], fill: point.colour ?? series.colour, opacity: point.faint ? 0.4 : 1 };
      plot.append(draw("path", { ...shape, transform: `translate(${at[i]}) scale(${series.size ?? 1})` }));
    }
    state.spots.push({ x: at[i][0], y: at[i][1], series: place, say: `${series.name}\n${point.say}` });
  });
}

function nearest(plot, state, event) {
  const area = plot.getBoundingClientRect();
  const [px, py] = [event.clientX - area.left, event.clientY - area.top];
  let best = null, least = 60 ** 2;
  state.spots.forEach((spot, place) => {
    const away = (far, size) => Math.max(Math.abs(far) - (size ?? 0) / 2, 0);
    const far = away(spot.x - px, spot.w) ** 2 + away(spot.y - py, spot.h) ** 2;
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
  const mine = state.spots.flatMap((spot, place) => (spot.series === here.series ? [place] : []));
  const place = mine.indexOf(state.at);
  if (key === "Home") return mine[0];
  if (key === "End") return mine.at(-1);
  if (key === "ArrowLeft") return mine[Math.max(place - 1, 0)];
  if (key === "ArrowRight") return mine[Math.min(place + 1, mine.length - 1)];
  const order = [...new Set(state.spots.map((spot) => spot.series))];
  const other = order[(order.indexOf(here.series) + (key === "ArrowDown" ? 1 : order.length - 1)) % order.length];
  let best = state.at, least = Infinity;
  state.spots.forEach((spot, i) => {
    if (spot.series === other && Math.abs(spot.x - here.x) < least) [best, least] = [i, Math.abs(spot.x - here.x)];
  });
  return best;
}

function showSpot(plot, tip, state, place) {
  if (place === state.at) return;
  state.at = place;
  plot.querySelector(".spot")?.remove();
  const spot = place === null ? null : state.spots[place];
  tip.textContent = spot ? spot.say : "";
  if (!spot) return;
  plot.append(
    spot.w
      ? draw("rect", { class: "spot", x: spot.x - spot.w / 2, y: spot.y - spot.h / 2, width: spot.w, height: spot.h })
      : draw("circle", { class: "spot", cx: spot.x, cy: spot.y, r: 6 }),
  );
  const [area, host] = [plot, tip.offsetParent].map((node) => node.getBoundingClientRect());
  const room = plot.clientWidth - tip.offsetWidth;
  tip.style.left = `${area.left - host.left + Math.max(0, Math.min(spot.x + 12, room))}px`;
  const above = spot.y > 90 && spot.y - 14 > tip.offsetHeight;
  tip.style.top = `${area.top - host.top + spot.y + (above ? -14 - tip.offsetHeight : 14)}px`;
}
