"""The speech decoder: flow matching from codes to mel, and a vocoder from mel to sound."""
