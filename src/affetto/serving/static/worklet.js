// In the thread of the sound: collects what comes (128 samples at a time) into tenths of a second.
class Collector extends AudioWorkletProcessor {
  constructor() {
    super();
    this.kept = new Float32Array(Math.round(sampleRate / 10));
    this.count = 0;
  }

  process([[samples]]) {
    for (let i = 0; samples && i < samples.length; ) {
      const part = samples.subarray(i, i + this.kept.length - this.count);
      this.kept.set(part, this.count);
      this.count += part.length;
      i += part.length;
      if (this.count < this.kept.length) break;
      this.port.postMessage(this.kept.slice());
      this.count = 0;
    }
    return true;
  }
}

registerProcessor("collector", Collector);
