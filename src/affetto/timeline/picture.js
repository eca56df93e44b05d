// The picture of a timeline: rows of sound, emotions, words and probabilities over time, and its cursor.
// Times are seconds, places pixels of CSS. `page.js` follows in the same script and moves over it.
"use strict";
const byId = (id) => document.getElementById(id);
const section = byId("timeline");
const [chart, picture, cursor, overview] = ["chart", "picture", "cursor", "overview"].map(byId);
const SILENT = -1, UNSURE = -2;
const SHORTEST = 1; // seconds that the window shows at least
const GAP = 10, AXIS = 22, WAVE = 72, SPAN = 30, WORDS = 60;
const FONT = getComputedStyle(document.body).fontFamily;

let data, starts, phrases, peaks, whole; // what is shown
const view = { from: 0, to: 0 };
let at = 0; // the playhead
let hover = null;
let theme = {};
let box = {}; // where the rows of the picture are

// Take other numbers: those of `page.py`, but peaks may also be bytes already.
function take(given) {
  data = given;
  whole = Math.max(data.length, 0.5);
  starts = { steps: data.steps.map((s) => s[0]), spans: data.spans.map((s) => s[0]) };
  phrases = cutPhrases();
  const bytes = data.peaks && data.peaks.bytes;
  peaks = typeof bytes === "string" ? Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)) : bytes;
}

function cutPhrases() {
  let from = 0;
  return data.phrases.map((count) => {
    const words = data.words.slice(from, (from += count));
    return { words, start: words[0][1], end: Math.max(...words.map((w) => w[2])) };
  });
}

// --- time and place ---

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const scale = () => (box.width - box.left) / (view.to - view.from);
const placeOf = (time) => box.left + (time - view.from) * scale();
const timeAt = (place) => clamp(view.from + (place - box.left) / scale(), 0, whole);

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  const rest = String(Math.floor((tenths % 600) / 10)).padStart(2, "0") + (tenths % 10 ? "." + (tenths % 10) : "");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// The last of `sorted` that is not later than `time`, or -1.
function lastBefore(sorted, time) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= time) low = middle + 1; else high = middle;
  }
  return low - 1;
}

function* visible(items, sorted, from = view.from, to = view.to) {
  for (let i = Math.max(lastBefore(sorted, from), 0); i < items.length && items[i][0] < to; i++) {
    if (items[i][1] > from) yield items[i];
  }
}

const nameOf = (label) => (label === SILENT ? "nobody speaks" : label === UNSURE ? "unsure" : data.labels[label]);
const colourOf = (label) => theme.emotions[label] || theme.faint;
const percent = (thousandths) => `${Math.round(thousandths / 10)}%`;

// --- drawing ---

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  theme = Object.fromEntries(["card", "ink", "quiet", "line", "soft", "played"].map((n) => [n, value("--" + n)]));
  theme.emotions = data.labels.map((_, i) => value("--e" + i));
  theme.faint = mixed(theme.quiet, theme.card, 0.45);
  theme.pale = theme.emotions.map((colour) => mixed(colour, theme.card, 0.3));
}

const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

function mixed(colour, other, share) {
  const [a, b] = [channels(colour), channels(other)];
  return `rgb(${a.map((v, i) => Math.round(v * share + b[i] * (1 - share))).join(" ")})`;
}

// Black or white, whichever reads better on a colour (WCAG's relative luminance).
function inkOn(colour) {
  const [r, g, b] = channels(colour).map((v) => (v / 255 <= 0.04045 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#0b0d10" : "#ffffff";
}

function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = height + "px";
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = `12px ${FONT}`;
  pen.textBaseline = "middle";
  return pen;
}

function layout() {
  const width = chart.clientWidth;
  let y = AXIS;
  const row = (height, wanted) => {
    const top = y;
    if (wanted) y += height + GAP;
    return wanted ? { top, height } : null;
  };
  // Without room for a column of names, they stand above their lanes.
  box = width > 640 ? { width, left: 88, lane: 30, name: 19, high: 24 } : { width, left: 0, lane: 38, name: 10, high: 17 };
  box.wave = row(WAVE, peaks);
  box.spans = row(SPAN, data.spans.length);
  box.words = row(WORDS, data.words.length);
  box.lanes = row(box.lane * data.labels.length, data.steps.length);
  box.height = y;
}

function draw() {
  const pen = fitted(picture, box.width, box.height);
  drawAxis(pen);
  pen.save();
  pen.beginPath();
  pen.rect(box.left, 0, box.width - box.left, box.height);
  pen.clip();
  if (box.wave) drawWave(pen, box.wave, box.left, box.width, view.from, view.to);
  if (box.spans) drawSpans(pen);
  if (box.words) drawWords(pen);
  pen.restore();
  if (box.lanes) drawLanes(pen);
  drawNames(pen);
  drawOverview();
  drawCursor();
  byId("fit").disabled = byId("out").disabled = view.to - view.from >= whole;
  byId("in").disabled = view.to - view.from <= Math.min(SHORTEST, whole);
}

function drawAxis(pen) {
  const room = 72 / scale(); // seconds that a label takes
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => s >= room) || 14400;
  pen.textAlign = "left";
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const x = Math.round(placeOf(time)) + 0.5;
    pen.fillStyle = theme.line;
    pen.fillRect(x - 0.5, 4, 1, box.height - GAP - 4);
    pen.fillStyle = theme.quiet;
    if (x + 40 < box.width) pen.fillText(clock(time), x + 8, 10);
  }
}

// Bars of 2 pixels, each as high as the loudest sample in it, in the colour of what was felt.
function drawWave(pen, row, left, right, from, to) {
  const second = (right - left) / (to - from);
  const middle = row.top + row.height / 2;
  for (let x = left; x < right; x += 3) {
    const time = from + (x - left) / second;
    const first = Math.floor(time / data.peaks.seconds);
    if (first >= peaks.length) break;
    const last = Math.max(Math.ceil((time + 3 / second) / data.peaks.seconds), first + 1);
    let peak = 0;
    for (let i = first; i < last && i < peaks.length; i++) peak = Math.max(peak, peaks[i]);
    const span = data.spans[lastBefore(starts.spans, time)];
    const height = Math.max((peak / 255) ** 0.7 * row.height, 1.5);
    pen.fillStyle = colourOf(span && time <= span[1] ? span[2] : SILENT);
    pen.fillRect(x, middle - height / 2, 2, height);
  }
}

function drawSpans(pen) {
  const { top, height } = box.spans;
  const shown = [...visible(data.spans, starts.spans)];
  if ((box.width - box.left) / shown.length < 4) return drawColumns(pen, box.left, box.width, top, height, view.from, view.to);
  for (const [start, end, label] of shown) {
    const x = placeOf(start), width = Math.max(placeOf(end) - x - 1.5, 1);
    if (label === SILENT) {
      pen.fillStyle = theme.line;
      pen.fillRect(x + 2, top + height / 2, Math.max(width - 3, 1), 1);
      continue;
    }
    pen.beginPath();
    pen.roundRect(x, top, width, height, Math.min(5, width / 2));
    pen.fillStyle = label === UNSURE ? theme.soft : colourOf(label);
    pen.fill();
    if (label === UNSURE) {
      pen.strokeStyle = theme.quiet;
      pen.setLineDash([3, 3]);
      pen.stroke();
      pen.setLineDash([]);
    }
    const seen = Math.max(x, box.left);
    pen.fillStyle = label === UNSURE ? theme.quiet : inkOn(colourOf(label));
    pen.font = `600 12px ${FONT}`;
    const text = cut(pen, nameOf(label), Math.min(x + width, box.width) - seen - 12);
    pen.fillText(text, seen + 6, top + height / 2 + 0.5);
    pen.font = `12px ${FONT}`;
  }
}

// Where spans are narrower than pixels: the emotion that fills most of each column.
function drawColumns(pen, left, right, top, height, from, to) {
  const second = (right - left) / (to - from);
  let i = Math.max(lastBefore(starts.spans, from), 0);
  for (let x = Math.floor(left); x < right; x++) {
    const begin = from + (x - left) / second, end = begin + 1 / second;
    let best = SILENT, most = 0;
    const sums = {};
    while (i > 0 && data.spans[i][0] > begin) i--;
    for (; i < data.spans.length && data.spans[i][0] < end; i++) {
      const label = data.spans[i][2];
      sums[label] = (sums[label] || 0) + Math.min(data.spans[i][1], end) - Math.max(data.spans[i][0], begin);
      if (sums[label] > most) [best, most] = [label, sums[label]];
    }
    i = Math.max(i - 1, 0);
    if (best === SILENT) continue;
    pen.fillStyle = colourOf(best);
    pen.fillRect(x, top, 1, height);
  }
}

// As much of a text as fits; nothing where that would be less than three letters.
function cut(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 2 && pen.measureText(text.slice(0, length) + "…").width > room) length--;
  return length > 2 ? text.slice(0, length) + "…" : "";
}

// Phrases in boxes as wide as their time; single words once there is room for each; else only where they are.
function drawWords(pen) {
  const { top, height } = box.words;
  const single = scale() >= 130, least = single ? 8 : 54;
  const shown = phrases.filter((phrase) => phrase.end > view.from && phrase.start < view.to);
  const pieces = single ? shown.flatMap((p) => p.words.map((w) => ({ words: [w], start: w[1], end: w[2] }))) : shown;
  const readable = pieces.some((piece) => (piece.end - piece.start) * scale() > least);
  for (const { words, start, end } of pieces) {
    const x = placeOf(start), width = Math.max(placeOf(end) - x - 2, 1);
    pen.fillStyle = readable ? theme.soft : theme.line;
    pen.fillRect(x, top, width, readable ? height : 8);
    if (!readable) continue;
    pen.fillStyle = theme.quiet;
    pen.fillRect(x, top, Math.min(2, width), height);
    if (width > least) writeWords(pen, words, x + 6, top + 12, width - 8);
  }
  if (readable || !shown.length) return;
  pen.fillStyle = theme.quiet;
  pen.fillText("Zoom in to read the words", box.left + 8, top + 26);
}

function writeWords(pen, words, left, top, room) {
  let x = left, line = 0;
  for (const [i, [text, , , estimated]] of words.entries()) {
    pen.font = `${estimated ? "italic " : ""}13px ${FONT}`;
    const width = pen.measureText(text).width;
    if (x > left && x + width > left + room) [x, line] = [left, line + 1];
    const last = line === 2 && i + 1 < words.length && x + width + 50 > left + room;
    const shown = cut(pen, last ? text + " …" : text, left + room - x);
    pen.fillStyle = theme.ink;
    pen.fillText(shown, x, top + line * 18);
    if (estimated) {
      pen.fillStyle = theme.quiet;
      for (let dot = x; dot < x + Math.min(width, room); dot += 4) pen.fillRect(dot, top + line * 18 + 8, 2, 1);
    }
    if (last) break;
    x += width + 4;
  }
  pen.font = `12px ${FONT}`;
}

// A lane for each emotion: pale the most that it got, full what it got where it won, on average of the steps
// that share a column.
function drawLanes(pen) {
  const { top } = box.lanes;
  const left = Math.floor(box.left), columns = Math.ceil(box.width) - left;
  const steps = [...visible(data.steps, starts.steps)].filter((step) => step[4]).map((step) => {
    const first = clamp(Math.round(placeOf(step[0])) - left, 0, columns - 1);
    return { first, last: clamp(Math.round(placeOf(step[1])) - left, first + 1, columns), label: step[2], shares: step[4] };
  });
  const count = new Float32Array(columns);
  for (const { first, last } of steps) for (let x = first; x < last; x++) count[x]++;
  data.labels.forEach((_, label) => {
    const base = top + (label + 1) * box.lane - 3;
    const most = new Float32Array(columns), won = new Float32Array(columns);
    for (const { first, last, label: winner, shares } of steps) {
      const share = shares[label] / 1000;
      for (let x = first; x < last; x++) {
        if (share > most[x]) most[x] = share;
        if (winner === label) won[x] += share / count[x];
      }
    }
    pen.fillStyle = theme.line;
    pen.fillRect(left, base, columns, 1);
    drawRuns(pen, theme.pale[label], most, left, base);
    drawRuns(pen, theme.emotions[label], won, left, base);
  });
}

function drawRuns(pen, colour, shares, left, base) {
  pen.fillStyle = colour;
  for (let from = 0, to = 1; from < shares.length; from = to, to++) {
    while (to < shares.length && shares[to] === shares[from]) to++;
    const height = shares[from] * box.high;
    if (height) pen.fillRect(left + from, base - height, to - from, height);
  }
}

function drawNames(pen) {
  pen.textAlign = "left";
  pen.fillStyle = theme.quiet;
  if (box.left) {
    if (box.wave) pen.fillText("Sound", 0, box.wave.top + WAVE / 2);
    if (box.spans) pen.fillText("Emotion", 0, box.spans.top + SPAN / 2);
    if (box.words) pen.fillText("Words", 0, box.words.top + WORDS / 2);
  }
  if (!box.lanes) return;
  data.labels.forEach((label, i) => {
    const y = box.lanes.top + i * box.lane + box.name;
    pen.fillStyle = theme.emotions[i];
    pen.fillRect(0, y - 4, 8, 8);
    pen.fillStyle = theme.ink;
    pen.fillText(box.left ? cut(pen, label, box.left - 16) : label, 13, y + 0.5);
  });
}

function drawOverview() {
  overview.hidden = whole <= 30;
  if (overview.hidden) return;
  const width = chart.clientWidth, second = width / whole;
  const pen = fitted(overview, width, 34);
  pen.fillStyle = theme.soft;
  pen.fillRect(0, 0, width, 34);
  if (peaks) drawWave(pen, { top: 2, height: 30 }, 0, width, 0, whole);
  else drawColumns(pen, 0, width, 4, 26, 0, whole);
  if (view.to - view.from < whole) {
    const [from, to] = [view.from * second, view.to * second];
    pen.globalAlpha = 0.72;
    pen.fillStyle = theme.card;
    pen.fillRect(0, 0, from, 34);
    pen.fillRect(to, 0, width - to, 34);
    pen.globalAlpha = 1;
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 2;
    pen.strokeRect(clamp(from, 1, width - 5), 1, Math.max(Math.min(to, width - 1) - Math.max(from, 1), 4), 32);
  }
}

function drawCursor() {
  const pen = fitted(cursor, box.width, box.height);
  const x = placeOf(at);
  if (x > box.left) {
    pen.fillStyle = theme.played;
    pen.fillRect(box.left, AXIS - 4, Math.min(x, box.width) - box.left, box.height - GAP - AXIS + 4);
  }
  if (hover !== null) {
    const place = placeOf(hover), text = clock(hover);
    const width = pen.measureText(text).width + 12;
    const left = clamp(place - width / 2, 0, box.width - width);
    pen.fillStyle = theme.quiet;
    pen.fillRect(place - 0.5, AXIS - 4, 1, box.height - GAP - AXIS + 4);
    pen.beginPath();
    pen.roundRect(left, 0, width, 20, 5);
    pen.fill();
    pen.fillStyle = theme.card;
    pen.fillText(text, left + 6, 10.5);
  }
  if (x >= box.left - 1 && x <= box.width + 1) {
    const place = clamp(x, box.left + 1, box.width - 1);
    pen.fillStyle = theme.ink;
    pen.fillRect(place - 1, AXIS - 6, 2, box.height - GAP - AXIS + 6);
    pen.beginPath();
    pen.moveTo(place - 6, AXIS - 12);
    pen.lineTo(place + 6, AXIS - 12);
    pen.lineTo(place, AXIS - 3);
    pen.fill();
  }
}
