// What is said about a moment, and the hands and keys that move over the picture of `picture.js`.

// --- what is said about a moment ---

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function chip(label) {
  if (label === SILENT) return element("span", { className: "quiet" }, nameOf(label));
  const made = element("span", { className: "chip" }, nameOf(label));
  made.style.setProperty("--c", label >= 0 ? `var(--e${label})` : "var(--unsure)");
  return made;
}

// The step or span that holds a time; the very end of the recording belongs to the last.
function holding(items, sorted, time) {
  const item = items[lastBefore(sorted, Math.min(time, whole - 1e-6))];
  return item && time <= item[1] ? item : undefined;
}

const stepAt = (time) => holding(data.steps, starts.steps, time);
const spanAt = (time) => holding(data.spans, starts.spans, time);

function said(time) {
  const phrase = phrases.find((p) => p.start <= time && time < p.end);
  if (!phrase) return null;
  return element("q", {}, ...phrase.words.flatMap(([text, start, end, estimated], i) => {
    const word = estimated ? element("em", {}, text) : text;
    return [i ? " " : "", start <= time && time < end ? element("mark", {}, word) : word];
  }));
}

function showDetails() {
  const time = hover ?? at;
  const step = stepAt(time);
  const span = spanAt(time);
  const times = step ? `${clock(step[0])}–${clock(step[1])}` : clock(time);
  const head = element("p", { className: "head" }, element("b", {}, times), step ? chip(step[2]) : span ? chip(span[2]) : null);
  if (step && step[2] >= 0) head.append(element("span", {}, percent(step[4][step[2]])));
  if (step && step[3] !== null && step[2] !== SILENT) head.append(element("span", { className: "quiet" }, `speech ${Math.round(step[3] * 100)}%`));
  const left = element("div", {}, head, said(time));
  const verdicts = (step ? step[5] : []).map((verdict, view) => verdict && element("tr", {},
    Object.assign(element("th", {}, data.views[view]), { scope: "row" }), element("td", {}, chip(verdict[0])),
    element("td", {}, percent(verdict[1])),
    element("td", { className: "quiet" }, verdict[2] === null ? "" : `counts ${Math.round(verdict[2] * 100)}%`)));
  byId("details").replaceChildren(left, element("table", { ariaLabel: "Who said so" }, ...verdicts.filter(Boolean)));
}

function describe() {
  const step = stepAt(at), span = spanAt(at);
  const parts = [clock(at)];
  if (!step && span) parts.push(nameOf(span[2]));
  if (step) parts.push(nameOf(step[2]) + (step[2] >= 0 ? " " + percent(step[4][step[2]]) : ""));
  const quote = said(at);
  if (quote) parts.push(quote.textContent.trim());
  return parts.join(", ");
}

// --- moving ---

const audio = byId("audio");
let rows = []; // of the list of spans
let current = -1;
let told = null;
function moved() {
  byId("now").textContent = clock(at);
  const step = stepAt(at);
  if (step !== told || !audio || audio.paused) { // while it plays, a screen reader hears of each step once
    told = step;
    chart.setAttribute("aria-valuenow", at.toFixed(1));
    chart.setAttribute("aria-valuetext", describe());
  }
  const span = lastBefore(starts.spans, at);
  if (span !== current) {
    if (rows[current]) rows[current].removeAttribute("aria-current");
    current = span;
    if (rows[span]) {
      rows[span].setAttribute("aria-current", "true");
      const list = rows[span].parentElement; // scrolled itself, so that the page stays where it is
      if (audio && !audio.paused) list.scrollTop = rows[span].offsetTop - list.offsetTop - list.clientHeight / 3;
    }
  }
  showDetails();
  drawCursor();
}

function show(from, to) {
  const length = clamp(to - from, Math.min(SHORTEST, whole), whole);
  view.from = clamp(from, 0, whole - length);
  view.to = view.from + length;
  draw();
}

function zoom(factor, centre) {
  const seen = at >= view.from && at <= view.to;
  const pivot = centre ?? (seen ? at : (view.from + view.to) / 2);
  show(pivot - (pivot - view.from) / factor, pivot + (view.to - pivot) / factor);
}

function reveal() {
  const length = view.to - view.from;
  if (at < view.from || at > view.to) show(at - length * 0.1, at + length * 0.9);
}

function seek(time) {
  at = clamp(time, 0, whole);
  if (audio) audio.currentTime = at;
  reveal();
  moved();
}

function follow() {
  if (audio.paused) return;
  at = Math.min(audio.currentTime, whole);
  reveal();
  moved();
  requestAnimationFrame(follow);
}

function toggle() {
  if (!audio) return;
  if (audio.paused) audio.play().catch(() => {}); else audio.pause();
}

function jump(direction) {
  const here = lastBefore(starts.spans, at + 1e-6);
  const target = data.spans[clamp(here + direction, 0, data.spans.length - 1)];
  if (target) seek(target[0]);
}

const keys = {
  " ": toggle,
  ArrowLeft: (event) => seek(at - (event.shiftKey ? 5 : 0.5)),
  ArrowRight: (event) => seek(at + (event.shiftKey ? 5 : 0.5)),
  PageDown: () => seek(at + (view.to - view.from)),
  PageUp: () => seek(at - (view.to - view.from)),
  Home: () => seek(0),
  End: () => seek(whole),
  "[": () => jump(-1),
  "]": () => jump(1),
  "+": () => zoom(1.6),
  "=": () => zoom(1.6),
  "-": () => zoom(1 / 1.6),
  0: () => show(0, whole),
};

function listenToHands() {
  let grip = null; // where a drag began, and what was shown then
  const placed = (event) => event.clientX - chart.getBoundingClientRect().left;
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    grip = { x: event.clientX, from: view.from, to: view.to, moved: false };
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    if (grip && Math.abs(event.clientX - grip.x) > 5) grip.moved = true;
    if (grip && grip.moved) {
      const shift = (grip.x - event.clientX) / scale();
      show(grip.from + shift, grip.to + shift);
    }
    hover = event.pointerType === "mouse" ? timeAt(placed(event)) : null;
    showDetails();
    drawCursor();
  });
  chart.addEventListener("pointerup", (event) => {
    if (grip && !grip.moved) seek(timeAt(placed(event)));
    grip = null;
  });
  chart.addEventListener("pointercancel", () => (grip = null));
  chart.addEventListener("pointerleave", () => {
    hover = null;
    showDetails();
    drawCursor();
  });
  chart.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 200), timeAt(placed(event)));
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) show(view.from + event.deltaX / scale(), view.to + event.deltaX / scale());
    else return;
    event.preventDefault();
  }, { passive: false });
  chart.addEventListener("keydown", (event) => {
    const action = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
  const glide = (event) => {
    if (!(event.buttons & 1)) return;
    const time = (event.offsetX / overview.clientWidth) * whole, half = (view.to - view.from) / 2;
    if (half * 2 < whole) show(time - half, time + half);
    if (event.type === "pointerdown") seek(clamp(time, 0, whole));
  };
  overview.addEventListener("pointerdown", glide);
  overview.addEventListener("pointermove", glide);
  byId("spans").addEventListener("click", (event) => {
    const row = event.target.closest("button") && event.target.closest("li");
    if (row) seek(data.spans[rows.indexOf(row)][0]);
  });
  byId("in").addEventListener("click", () => zoom(2));
  byId("out").addEventListener("click", () => zoom(0.5));
  byId("fit").addEventListener("click", () => show(0, whole));
  byId("play").addEventListener("click", toggle);
}

function listenToSound() {
  byId("play").hidden = byId("space").hidden = !audio;
  if (!audio) return;
  audio.controls = false;
  audio.hidden = true;
  const shown = () => {
    byId("play").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    byId("icon").setAttribute("d", audio.paused ? "M6 3l11 7-11 7z" : "M5 3h4v14H5zM11 3h4v14h-4z");
    if (!audio.paused) follow();
  };
  audio.addEventListener("play", shown);
  audio.addEventListener("pause", shown);
  audio.addEventListener("ended", () => seek(whole));
  audio.addEventListener("error", () => {
    byId("play").hidden = true;
    audio.replaceWith(element("p", { className: "quiet" }, "The recording could not be opened: it has to lie where it was when this page was made."));
  });
}

const redraw = () => { readTheme(); layout(); draw(); showDetails(); };

// Show these numbers, from their start.
function present(given) {
  take(given);
  rows = [...byId("spans").children];
  [at, hover, current, told] = [0, null, -1, null];
  [view.from, view.to] = [0, whole];
  section.hidden = false;
  byId("end").textContent = clock(whole);
  chart.setAttribute("aria-valuemax", whole.toFixed(1));
  redraw();
  moved();
}

if (byId("data")) present(JSON.parse(byId("data").textContent));
listenToHands();
listenToSound();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && redraw());
new ResizeObserver(() => data && chart.clientWidth !== box.width && redraw()).observe(section);
