"""How a language model too small for a tool-call syntax still calls tools: choose, fill in, tell."""
