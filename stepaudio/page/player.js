// Plays a reply while it arrives: 16-bit mono PCM from speech/TICKET, piece after piece through Web Audio.
window.stepaudio = {
  context: null, // made at the first reply: browsers want a click before sound
  playing: [],
  turn: 0,
  seconds: 0, // how much sound of the current reply has been scheduled
  level: 0, // its loudest sample, 0 to 1
  complete: false, // whether the current reply has arrived to its end

  stop() {
    this.turn += 1;
    this.playing.forEach((source) => source.stop());
    this.playing = [];
  },

  async play(ticket) {
    this.stop();
    const turn = this.turn;
    this.context ??= new AudioContext();
    await this.context.resume();
    [this.seconds, this.level, this.complete] = [0, 0, false];
    const response = await fetch(`speech/${ticket}`);
    if (!response.ok) return;
    const rate = Number(response.headers.get("X-Sample-Rate"));
    const reader = response.body.getReader();
    let rest = new Uint8Array(0);
    let at = 0; // when the next piece has to start, on the context's clock
    for (;;) {
      const { done, value } = await reader.read();
      if (turn !== this.turn) return reader.cancel();
      if (done) break;
      const bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      const whole = bytes.length - (bytes.length % 2);
      rest = bytes.slice(whole);
      if (whole) at = this.schedule(new Int16Array(bytes.buffer.slice(0, whole)), rate, at);
    }
    this.complete = true;
  },

  schedule(pcm, rate, at) {
    const buffer = this.context.createBuffer(1, pcm.length, rate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < pcm.length; i++) {
      samples[i] = pcm[i] / 32768;
      this.level = Math.max(this.level, Math.abs(samples[i]));
    }
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    const start = Math.max(at, this.context.currentTime + 0.02);
    source.start(start);
    this.playing.push(source);
    source.onended = () => { this.playing = this.playing.filter((other) => other !== source); };
    this.seconds += buffer.duration;
    return start + buffer.duration;
  },
};
