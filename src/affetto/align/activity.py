"""Where somebody speaks: a probability for every 10 ms, and the stretches of time it makes.

Two questions are asked of every frame, and their answers multiplied.

*Is there a sound?* How far its level (80 to 4000 Hz, 50 ms) stands above the noise floor, which is the lowest
level of the last 2 s and the next 0.5 s (minimum statistics, Martin 2001), and how far below the loudest.

*Is it a voice?* Four cues over the sounds of the second around the frame:

- harmonicity: the highest peak of the normalised autocorrelation between 60 and 500 Hz (Boersma 1993). Noise,
  clicks and drums have none;
- steadiness: how often pitch goes on as it went, its change within 0.05 semitones of the change before. Tones,
  chords, sirens and vibrato do; a larynx does not;
- change: how much the spectrum differs from a frame to the next. Speech has ten sounds a second;
- spread: how much the spectral entropy varies. Speech has vowels and hisses in turn.

Both are logistic functions. `benchmarks/activity.py` fits them on acted German, English and Polish speech with
noise of 5 to 30 dB and on synthetic sounds, and measures them on people and sounds that were not used:

FIGURES

It hears voices: shouts, laughter and singing count as speech; whispers mostly do not.
"""
