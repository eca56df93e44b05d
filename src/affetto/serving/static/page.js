// What may be given, the asking, the live view, and what went wrong. Nothing is stored: it is gone with the page.

const inputs = { audio: null, image: null, words: null };
let limits = {};
let asked = null; // what aborts the question under way
let microphone = null; // what listens
let shown = null; // the last answer
let recording = null; // the URL of what the page can play

const KINDS = { audio: /\.(wav|flac|ogg|oga|opus|mp3|m4a|aac|webm|aiff?)$/i, image: /\.(jpe?g|png|webp)$/i, words: /\.(srt|vtt|textgrid|ctm)$/i, text: /\.(txt|md)$/i };
const READABLE = /\.(wav|flac|ogg|oga|opus|mp3)$/i; // by the server; others are decoded here
const WAVES = 30 * 2 ** 20; // bytes of a recording that the page still decodes, to show and play it
const VIEW = 15; // seconds that the live view shows

const say = (text) => (byId("status").textContent = text);
const key = () => byId("key").value.trim();

// --- what went wrong ---

// The server speaks of the fields of a form and says how programs send a key; here is what people see.
const FIELDS = { audio_file: "The recording:", image_file: "The picture:", words: "The words with times:", text: "The words:" };
const KEYS = {
  key_missing: "This server asks for a key. Type it at the top, then ask again.",
  key_wrong: "This is no key of this server. Type another at the top, then ask again.",
};

function tellProblem({ code, message, request_id, retryable }, again) {
  const meta = [new Date().toLocaleTimeString([], { timeStyle: "short" }), code, request_id && `request ${request_id}`].filter(Boolean);
  const item = element("div", {}, element("p", {}, KEYS[code] || message.replace(/^(\w+):/, (field, name) => FIELDS[name] || field)), element("p", { className: "quiet" }, meta.join(" · ")));
  const buttons = element("p", { className: "copies" });
  const leave = () => {
    item.remove();
    byId("problems").hidden = !byId("problems").children.length;
    byId("ask").focus();
  };
  if (retryable && again) buttons.append(element("button", { type: "button", onclick: () => { leave(); again(); } }, "Try again"));
  buttons.append(element("button", { type: "button", onclick: leave }, "Dismiss"));
  item.append(buttons);
  byId("problems").prepend(item);
  while (byId("problems").children.length > 3) byId("problems").lastChild.remove();
  byId("problems").hidden = false;
  say("");
  if (/^key_/.test(code)) askForKey();
}

function askForKey() {
  byId("locked").hidden = false;
  byId("key").focus();
}

// --- the server ---

const UNREACHABLE = { code: "server_unreachable", message: "The server does not answer. Is it still running, and are you still connected?", retryable: true };
const STRANGE = { code: "answer_unreadable", message: "Something between you and the server gave an answer that is none of its own. Try again in a moment.", retryable: true };

// The JSON that the server answers, or an error {code, message, request_id, retryable} thrown.
async function fetched(path, options = {}) {
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  const answer = await fetch(path, { ...options, headers }).catch((error) => { throw error.name === "AbortError" ? error : UNREACHABLE; });
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return body;
  throw body && body.code ? body : STRANGE;
}

async function readNotice() {
  const notice = await fetched("notice").catch(() => null);
  if (!notice) return;
  if (notice.complete) byId("told").textContent = notice.text;
  else byId("told").append(` It serves the purpose: ${notice.purpose}.`);
  if (notice.key_required) askForKey();
  else await readLabels();
}

async function readLabels() {
  const facts = await fetched("labels").catch(() => null);
  if (!facts) return;
  limits = facts.limits;
  facts.labels.forEach(numberOf);
  byId("index").hidden = !facts.index;
  if (facts.index) byId("indexed").textContent = `${facts.index.rows.toLocaleString()} stretches of sound, texts and pictures are searched.`;
  if (limits.text_characters) byId("text").maxLength = limits.text_characters;
  byId("model").textContent = [facts.model.name, facts.model.licence, facts.model.sha256.slice(0, 12)].filter(Boolean).join(" · ");
}

// --- what is given ---

function pick(kind, file) {
  const most = limits.body_bytes;
  if (file && most && file.size > most) {
    const [size, room] = [file.size, most].map((bytes) => `${Math.round(bytes / 2 ** 20)} MB`);
    return tellProblem({ code: "body_too_large", message: `${file.name} has ${size}, and this server takes ${room}. Give a shorter or a smaller one.` });
  }
  inputs[kind] = file;
  const chosen = byId(`${kind}picked`);
  chosen.replaceChildren();
  if (file) {
    const away = element("button", { type: "button", ariaLabel: `Remove ${file.name}`, onclick: () => { pick(kind, null); byId(kind === "words" ? "text" : `${kind}file`).focus(); } }, "×");
    chosen.append(element("span", { title: file.name }, file.name), away);
  } else if (kind !== "words") byId(`${kind}file`).value = "";
  if (kind === "image") showPicture(file);
}

function showPicture(file) {
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.hidden = !file;
  if (file) preview.src = URL.createObjectURL(file);
  else preview.removeAttribute("src");
  preview.alt = file ? `The picture ${file.name}` : "";
}

async function receive(files) {
  for (const file of files) {
    const kind = Object.keys(KINDS).find((name) => KINDS[name].test(file.name))
      || (/^audio\//.test(file.type) ? "audio" : /^image\//.test(file.type) ? "image" : /^text\//.test(file.type) ? "text" : null);
    if (kind === "text") byId("text").value = (await file.text()).trim();
    else if (kind) pick(kind, file);
    else tellProblem({ code: "file_unknown", message: `${file.name} is none of the kinds that are taken here. Give a recording (WAV, FLAC, OGG, MP3), a picture (JPEG, PNG, WebP), a text, or subtitles (SRT, VTT).` });
  }
}

// Samples at 16 kHz, where this browser can decode the file; else null.
async function decoded(file) {
  if (!file || file.size > WAVES) return null;
  try {
    const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(await file.arrayBuffer());
    const mixed = sound.getChannelData(0).slice();
    for (let channel = 1; channel < sound.numberOfChannels; channel++) sound.getChannelData(channel).forEach((sample, i) => (mixed[i] += sample));
    return mixed.map((sample) => sample / sound.numberOfChannels);
  } catch {
    return null; // the server may still read it, or says in words why not
  }
}

// --- asking ---

function isBusy() {
  if (asked) say("One moment: the answer to your last question is on its way.");
  if (microphone) say("Stop speaking first.");
  return Boolean(asked || microphone);
}

async function ask() {
  if (isBusy()) return;
  const text = byId("text").value.trim();
  if (!text && !inputs.audio && !inputs.image && !inputs.words) {
    say("Speak, write something, or choose a file first.");
    return byId("text").focus();
  }
  asked = new AbortController();
  byId("ask").setAttribute("aria-disabled", "true");
  say("Listening, reading and looking …");
  try {
    const samples = await decoded(inputs.audio);
    const wav = samples && toWav([toPcm(samples)], 16000);
    const audio = inputs.audio && wav && !READABLE.test(inputs.audio.name) ? new File([wav], inputs.audio.name.replace(/\.\w+$/, ".wav")) : inputs.audio;
    const parts = { audio_file: audio, image_file: inputs.image, words: inputs.words, text, timeline: audio ? "true" : "" };
    const body = new FormData();
    Object.entries(parts).forEach(([name, value]) => value && body.append(name, value));
    const answer = await fetched("predict", { method: "POST", body, signal: asked.signal });
    keep(wav);
    finish(answer, samples && loudness(samples, 16000), curl(parts));
  } catch (error) {
    if (error.name === "AbortError") say("");
    else if (error.code) tellProblem(error, ask);
    else throw error;
  } finally {
    asked = null;
    byId("ask").removeAttribute("aria-disabled");
  }
}

function keep(sound) {
  if (recording) URL.revokeObjectURL(recording);
  recording = sound && URL.createObjectURL(sound);
}

function finish(answer, peaks, command) {
  shown = answer;
  showAnswer(answer, "Overall");
  showTimeline(answer, peaks, recording);
  byId("curl").textContent = command;
  byId("elsewhere").hidden = false;
  const name = answer.emotion || (answer.reason === "no_speech" ? wording.nobody : wording.unsure);
  say(`${capital(name)}${answer.emotion ? `, ${share(answer.confidence)} confident` : ""}. Answered in ${answer.elapsed.toFixed(2)} s.`);
  byId("answer").focus({ preventScroll: true });
  byId("answer").scrollIntoView({ block: innerWidth > 760 ? "nearest" : "start" });
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(parts) {
  const lines = [`curl ${quoted(new URL("predict", location.href).href)}`];
  if (key()) lines.push('-H "Authorization: Bearer $AFFETTO_KEY"');
  for (const [name, value] of Object.entries(parts)) {
    if (value instanceof File) lines.push(`-F ${quoted(`${name}=@"${value.name.replace(/(["\\])/g, "\\$1")}"`)}`);
    else if (value) lines.push(`--form-string ${quoted(`${name}=${value}`)}`);
  }
  return lines.join(" \\\n  ");
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch { // browsers without a clipboard for this page: leave it marked, for the hand to copy
    getSelection().selectAllChildren(byId("curl"));
    say("Press Ctrl+C to copy what is marked.");
  }
  button.focus();
}

// --- speaking ---

function live() {
  const heard = { answered: [], chunks: [], peaks: [], rate: 16000, seconds: 0, told: null };
  return {
    heard,
    ready: (message, rate) => {
      message.labels.forEach(numberOf);
      heard.rate = rate;
      say(inputs.image || inputs.words ? "Listening. Files do not count while you speak." : "Listening. Speak.");
      followLive(heard);
    },
    sound: (pcm) => {
      heard.chunks.push(pcm);
      heard.seconds += pcm.length / heard.rate;
      const size = Math.round(heard.rate * BIN);
      for (let i = 0; i < pcm.length; i += size) heard.peaks.push(pcm.subarray(i, i + size).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
      byId("record").style.setProperty("--level", Math.min(1, 3 * Math.max(...heard.peaks.slice(-5)) / 32768));
      byId("listened").textContent = clock(Math.floor(heard.seconds));
      if (!matchMedia("(prefers-reduced-motion: reduce)").matches) followLive(heard);
      if (limits.stream_seconds && heard.seconds >= limits.stream_seconds) stop();
    },
    segments: (segments) => {
      heard.answered.push(...segments);
      followLive(heard);
      showNow(heard);
    },
    final: (answer) => {
      ended();
      keep(toWav(heard.chunks, heard.rate));
      const command = curl({ audio_file: new File([], "recording.wav"), text: heard.text, timeline: "true" });
      finish(answer, asPeaks(heard.peaks, BIN), command);
    },
    error: (problem) => {
      ended();
      tellProblem(problem, speak);
    },
  };
}

// The picture moves on: the sound is there at once, what it expresses some two seconds later.
function followLive(heard) {
  const blank = { probabilities: {}, modalities: {}, words: [] };
  take(numbers({ ...blank, duration: heard.seconds, segments: heard.answered, spans: merged(heard.answered) }, asPeaks(heard.peaks, BIN)));
  at = data.steps.length ? data.steps.at(-1)[1] - 0.01 : 0;
  view.to = Math.max(whole, VIEW);
  view.from = view.to - VIEW;
  section.hidden = false;
  redraw();
  byId("now").textContent = clock(Math.floor(heard.seconds));
}

function showNow(heard) {
  const step = heard.answered.at(-1);
  const spoken = heard.answered.findLast((one) => Object.keys(one.probabilities).length) || step;
  showAnswer({ ...spoken, live: true, confidence: spoken.probabilities[spoken.emotion] || 0, spans: [], segments: [], words: [], warnings: [] }, "Right now");
  byId("rightnow").replaceChildren(chip(placeIn(step)));
  // A screen reader hears of changes, not of every half second.
  if (nameOf(placeIn(step)) === heard.told) return;
  heard.told = nameOf(placeIn(step));
  say(capital(heard.told) + ".");
}

async function speak() {
  if (isBusy()) return;
  const tell = live();
  const text = (tell.heard.text = byId("text").value.trim());
  showListening(true);
  say("Asking for the microphone …");
  microphone = { stop: () => {} };
  try {
    microphone = await listen({ text: text || null, key: key() || null }, tell);
  } catch (error) {
    ended();
    tellProblem(refusedMicrophone(error), speak);
  }
}

function stop() {
  if (!microphone) return;
  say("Making up its mind …");
  microphone.stop();
}

function ended() {
  microphone = null;
  showListening(false);
}

function showListening(on) {
  document.documentElement.classList.toggle("live", on);
  byId("listening").hidden = !on;
  byId("listened").textContent = clock(0);
  byId("rightnow").replaceChildren();
  byId("recordname").textContent = on ? "Stop" : "Start speaking";
  for (const name of ["ask", "clear"]) {
    if (on) byId(name).setAttribute("aria-disabled", "true");
    else byId(name).removeAttribute("aria-disabled");
  }
  byId("record").style.setProperty("--level", 0);
  byId("recordicon").setAttribute("d", on ? STOP : START);
  for (const name of ["transcript", "elsewhere"]) byId(name).hidden = on || byId(name).hidden;
  if (on) byId("answer").hidden = section.hidden = true;
  audio.pause();
}

const START = byId("recordicon").getAttribute("d");
const STOP = "M7 9a2 2 0 0 1 2-2h6a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H9a2 2 0 0 1-2-2z";

// --- hands and keys ---

function clear() {
  if (microphone) return isBusy();
  if (asked) asked.abort();
  Object.keys(inputs).forEach((kind) => pick(kind, null));
  byId("text").value = "";
  keep(null);
  shown = null;
  audio.removeAttribute("src");
  byId("problems").replaceChildren();
  for (const name of ["answer", "timeline", "transcript", "elsewhere", "problems"]) byId(name).hidden = true;
  say("");
  byId("text").focus();
}

function listenToForm() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("text").addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && ask());
  byId("clear").addEventListener("click", clear);
  byId("record").addEventListener("click", () => (microphone ? stop() : speak()));
  byId("stop").addEventListener("click", stop);
  byId("key").addEventListener("change", readLabels);
  for (const kind of ["audio", "image"]) byId(`${kind}file`).addEventListener("change", (event) => event.target.files[0] && receive(event.target.files));
  document.querySelector(".samples").addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    byId("text").value = event.target.textContent;
    ask();
  });
  byId("copycurl").addEventListener("click", (event) => copy(byId("curl").textContent, event.target));
  byId("copyjson").addEventListener("click", (event) => copy(JSON.stringify(shown, null, 2), event.target));
}

function listenToDrops() {
  const holdsFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].some((type) => type === "Files" || type === "text/plain");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    byId("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => (byId("drop").hidden = !event.relatedTarget ? true : byId("drop").hidden));
  addEventListener("drop", (event) => {
    event.preventDefault();
    byId("drop").hidden = true;
    const text = event.dataTransfer.getData("text/plain");
    if (event.dataTransfer.files.length) receive(event.dataTransfer.files);
    else if (text) byId("text").value = text;
  });
  addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    receive(event.clipboardData.files);
  });
}

listenToForm();
listenToDrops();
readNotice();
