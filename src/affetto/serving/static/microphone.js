// A microphone whose sound goes to the server as it comes, and whose answers come back.

const socketUrl = () => new URL("stream", location.href).href.replace(/^http/, "ws");

// 16 kHz, which is what the model hears, where the browser can do it; else the rate of the microphone.
async function openMicrophone() {
  if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  try {
    for (const options of [{ sampleRate: 16000 }, {}]) {
      const context = new AudioContext(options);
      try {
        const source = context.createMediaStreamSource(stream);
        await context.audioWorklet.addModule("static/worklet.js");
        const collector = new AudioWorkletNode(context, "collector", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
        return { stream, context, source, collector };
      } catch (error) {
        await context.close();
        if (!options.sampleRate) throw error;
      }
    }
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    throw error;
  }
}

function toPcm(samples) {
  return Int16Array.from(samples, (sample) => Math.round(clamp(sample, -1, 1) * 32767));
}

// Listens until `stop()`, or until something ends it. `start` is sent first; `tell` hears of `ready`, of every
// piece of `sound`, of `segments`, and once of `final` or `error`, which are the last.
async function listen(start, tell) {
  const { stream, context, source, collector } = await openMicrophone();
  const socket = new WebSocket(socketUrl());
  let over = false, stopped = false;
  const finish = () => socket.send(JSON.stringify({ type: "finish" }));
  const hush = () => {
    stream.getTracks().forEach((track) => track.stop());
    if (context.state !== "closed") context.close();
  };
  const end = (kind, message) => {
    if (over) return;
    over = true;
    hush();
    socket.close();
    tell[kind](message);
  };
  const heard = {
    ready: (message) => {
      if (stopped) return finish();
      tell.ready(message, context.sampleRate);
      collector.port.onmessage = ({ data: samples }) => {
        const pcm = toPcm(samples);
        if (socket.readyState === WebSocket.OPEN) socket.send(pcm);
        tell.sound(pcm);
      };
      source.connect(collector);
    },
    segments: (message) => tell.segments(message.segments),
    final: (message) => end("final", message.prediction),
    error: (message) => end("error", message),
  };
  socket.onopen = () => socket.send(JSON.stringify({ type: "start", format: "s16le", rate: context.sampleRate, ...start }));
  socket.onmessage = ({ data: text }) => {
    const message = JSON.parse(text);
    if (!over && heard[message.type]) heard[message.type](message);
  };
  socket.onclose = () => end("error", LOST);
  stream.getAudioTracks()[0].onended = () => end("error", UNPLUGGED);
  return {
    stop: () => {
      stopped = true;
      const begun = collector.port.onmessage;
      collector.port.onmessage = null;
      hush();
      if (begun && socket.readyState === WebSocket.OPEN) finish();
    },
  };
}

const LOST = { code: "connection_lost", message: "The connection to the server broke off. What it said until then stays here; start again when you like.", retryable: true };
const UNPLUGGED = { code: "microphone_lost", message: "The microphone went away. Plug it in again, then start again.", retryable: true };
const REFUSED = {
  NotAllowedError: "This page may not use the microphone. Allow it in the browser’s address bar, then start again; or choose a recording.",
  NotFoundError: "There is no microphone. Plug one in, then start again; or choose a recording.",
  NotReadableError: "Another program is using the microphone. Close it, then start again; or choose a recording.",
  SecurityError: "A browser gives the microphone only to pages of its own machine, or over https. Open this page so, or choose a recording.",
};

const refusedMicrophone = (error) => ({
  code: "microphone_refused",
  message: REFUSED[error.name] || `The microphone could not be opened (${error.name}). Choose a recording instead.`,
  retryable: true,
});
