"""Arrays to arrays, pure functions: spectra, pitch, face crops, tokens."""
