// An answer of the server, shown: its cards, and its numbers for `picture.js`. Elements are made, never parsed from
// text, so that no transcript or file name can become part of the page.
const wording = JSON.parse(byId("wording").textContent);
const names = []; // of emotions, in the order of their numbers

const capital = (text) => text[0].toUpperCase() + text.slice(1);
const share = (part) => `${Math.round(part * 100)}%`;
const viewName = (view) => wording.views[view] || view;
const tinted = (made, label) => (made.style.setProperty("--c", label >= 0 ? `var(--e${label})` : "var(--unsure)"), made);

// The number of an emotion; a new one gets the next number, and its colour.
function numberOf(emotion) {
  if (!names.includes(emotion)) {
    const spare = `other${names.length % wording.others}`;
    document.documentElement.style.setProperty(`--e${names.length}`, `var(--${wording.colours.includes(emotion) ? emotion : spare})`);
    names.push(emotion);
  }
  return names.indexOf(emotion);
}

function placeIn(step) {
  if (step.emotion) return numberOf(step.emotion);
  return step.reason === "low_confidence" ? UNSURE : SILENT;
}

// A mixture that the vote did not listen to would only contradict it.
const unheard = (view, said) => view === "fused" && said.weight === 0;

function viewsOf(answer) {
  const found = new Set([answer, ...answer.segments].flatMap((part) => Object.keys(part.modalities)));
  const known = Object.keys(wording.views).filter((view) => found.has(view));
  return [...known, ...[...found].filter((view) => !known.includes(view))];
}

// --- numbers for the picture, as `timeline/page.py` makes them ---

function numbers(answer, peaks) {
  Object.keys(answer.probabilities).forEach(numberOf);
  const seen = viewsOf(answer);
  const cut = phrasesOf(answer);
  const last = [...answer.segments.slice(-1), ...answer.spans.slice(-1), ...answer.words].map((part) => part.end);
  return {
    length: Math.max(answer.duration || 0, ...last),
    labels: names,
    views: seen.map(viewName),
    steps: answer.segments.map((step) => stepNumbers(step, seen)),
    spans: answer.spans.map((span) => [span.start, span.end, placeIn(span), span.confidence]),
    words: cut.flat().map((word) => [word.text, word.start, word.end, word.estimated ? 1 : 0]),
    phrases: cut.map((words) => words.length),
    peaks,
  };
}

function stepNumbers(step, seen) {
  const said = Object.keys(step.probabilities).length > 0;
  return [step.start, step.end, placeIn(step), step.speech,
    said ? names.map((name) => Math.round(1000 * (step.probabilities[name] || 0))) : 0,
    seen.map((view) => {
      const verdict = step.modalities[view];
      if (!verdict || unheard(view, verdict)) return 0;
      return [numberOf(verdict.emotion), Math.round(1000 * verdict.probabilities[verdict.emotion]), verdict.weight];
    })];
}

const spanOf = (answer, word) => answer.spans.findLast((span) => span.start <= (word.start + word.end) / 2);

// Words that are said in one breath and one span, short enough to be read at a glance.
function phrasesOf(answer) {
  const phrases = [];
  let home = null, length = 0;
  for (const word of [...answer.words].sort((a, b) => a.start - b.start || a.end - b.end)) {
    const span = spanOf(answer, word), last = phrases.at(-1);
    length += word.text.length + 1;
    if (!last || span !== home || word.start - last.at(-1).end >= 0.6 || length > 70) {
      phrases.push([]);
      [home, length] = [span, word.text.length + 1];
    }
    phrases.at(-1).push(word);
  }
  return phrases;
}

// Steps of one emotion in a row, for as long as the server has not smoothed them to spans.
function merged(segments) {
  const spans = [];
  for (const step of segments) {
    const last = spans.at(-1);
    if (last && placeIn(last) === placeIn(step)) last.end = step.end;
    else spans.push({ ...step, confidence: step.probabilities[step.emotion] || 0, words: [] });
  }
  return spans;
}

// --- cards ---

function showAnswer(answer, heading) {
  take(numbers(answer, null));
  byId("heading").textContent = heading;
  byId("verdict").replaceChildren(...verdict(answer));
  showBars(answer);
  const rows = viewsOf({ ...answer, segments: [] }).filter((view) => !unheard(view, answer.modalities[view]));
  byId("whosaid").hidden = !rows.length;
  byId("views").replaceChildren(...rows.map((view) => opinion(view, answer.modalities[view])));
  byId("shares").replaceChildren(...timeShares(answer));
  byId("warnings").replaceChildren(...answer.warnings.map((code) => element("p", { className: "warning" }, wording.warnings[code] || code)));
  byId("answer").hidden = false;
}

function verdict({ emotion, confidence, reason }) {
  const name = emotion || (reason === "no_speech" ? wording.nobody : wording.unsure);
  const said = tinted(element("p", { className: "emotion" }, capital(name)), emotion ? numberOf(emotion) : UNSURE);
  if (emotion) return [said, element("p", { className: "because" }, element("b", {}, share(confidence)), " confident")];
  const because = reason === "no_speech" ? "" : wording.reasons[reason] || reason || "";
  return because ? [said, element("p", { className: "because" }, capital(because) + ".")] : [said];
}

// The rows stay where they are while somebody speaks, so that only their bars move.
function showBars(answer) {
  const order = Object.keys(answer.probabilities);
  if (!answer.live) order.sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  const table = byId("bars");
  if (table.dataset.order !== order.join()) {
    table.dataset.order = order.join();
    table.replaceChildren(...order.map((name) => tinted(element("tr", {}, header(name),
      element("td", { className: "bar" }, element("i", {})), element("td", {})), numberOf(name))));
  }
  order.forEach((name, i) => {
    const row = table.rows[i], part = answer.probabilities[name];
    row.querySelector("i").style.width = `${100 * part}%`;
    row.lastChild.textContent = share(part);
  });
}

const header = (text) => element("th", { scope: "row" }, text);

// What one view says: its emotion, how much it counts, and all its probabilities as one bar.
function opinion(view, said) {
  const bar = element("div", { className: "shares", ariaHidden: "true" }, ...Object.entries(said.probabilities).map(([name, part]) => {
    const piece = tinted(element("i", { title: `${name} ${share(part)}` }), numberOf(name));
    piece.style.flexGrow = part;
    return piece;
  }));
  return element("div", { className: "opinion" },
    element("p", {}, element("span", {}, viewName(view)), " ", chip(numberOf(said.emotion)), " ", element("b", {}, share(said.probabilities[said.emotion])), " ",
      element("span", { className: "quiet" }, said.weight === null ? "" : `counts ${share(said.weight)}`)), bar);
}

function timeShares(answer) {
  const seconds = new Map();
  for (const span of answer.live ? [] : answer.spans) {
    const label = placeIn(span);
    if (label !== SILENT) seconds.set(label, (seconds.get(label) || 0) + span.end - span.start);
  }
  const total = [...seconds.values()].reduce((sum, part) => sum + part, 0);
  if (!total) return [];
  const ranked = [...seconds].sort((a, b) => b[1] - a[1]);
  const bar = element("div", { className: "shares", ariaHidden: "true" }, ...ranked.map(([label, part]) => {
    const piece = tinted(element("i", {}), label);
    piece.style.flexGrow = part / total;
    return piece;
  }));
  const legend = ranked.map(([label, part]) => element("li", {}, chip(label), " ", element("b", {}, share(part / total)), " ",
    element("span", { className: "quiet" }, clock(part))));
  return [element("h2", {}, "Time spoken with each emotion"), bar, element("ul", { className: "legend" }, ...legend)];
}

function showSpans(answer) {
  byId("spans").replaceChildren(...answer.spans.map((span) => {
    const label = placeIn(span);
    const said = answer.words.filter((word) => spanOf(answer, word) === span);
    const words = said.flatMap((word, i) => [i ? " " : "", word.estimated ? element("em", {}, word.text) : word.text]);
    return element("li", { className: label === SILENT ? "silent" : "" },
      element("button", { type: "button" }, `${clock(span.start)}–${clock(span.end)}`),
      element("span", { className: "label" }, chip(label), label >= 0 ? element("b", {}, share(span.confidence)) : ""),
      words.length ? element("q", {}, ...words) : null);
  }));
  byId("transcript").hidden = !answer.spans.length;
  byId("estimated").hidden = !answer.words.some((word) => word.estimated);
}

// The timeline and its list, where an answer has one; `peaks` and `source` are of its sound.
function showTimeline(answer, peaks, source) {
  section.hidden = !answer.segments.length;
  showSpans(answer);
  byId("play").hidden = byId("space").hidden = !source;
  if (source) audio.src = source;
  else audio.removeAttribute("src");
  if (!section.hidden) present(numbers(answer, peaks));
}

// --- sound ---

const BIN = 0.02; // seconds of sound to a stretch of the wave

// The loudest of each stretch, 255 for the loudest of all: samples as numbers or as 16-bit integers.
function loudness(samples, rate) {
  const size = Math.round(rate * BIN);
  const peaks = new Float32Array(Math.ceil(samples.length / size));
  for (let i = 0; i < samples.length; i++) peaks[Math.floor(i / size)] = Math.max(peaks[Math.floor(i / size)], Math.abs(samples[i]));
  return asPeaks(peaks, size / rate);
}

function asPeaks(values, seconds) {
  const loudest = values.reduce((most, value) => Math.max(most, value), 0) || 1;
  return { seconds, bytes: Uint8Array.from(values, (value) => Math.round((255 * value) / loudest)) };
}

// 16-bit samples as a WAV file, which every browser plays and every server reads.
function toWav(chunks, rate) {
  const bytes = 2 * chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  write(8, "WAVEfmt ");
  [[16, 16], [24, rate], [28, 2 * rate], [40, bytes]].forEach(([at, value]) => head.setUint32(at, value, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, value]) => head.setUint16(at, value, true));
  write(36, "data");
  return new Blob([head, ...chunks], { type: "audio/wav" });
}
