"""Front ends: resampling, log-mel spectrograms, Kaldi filter banks, level and silence."""
