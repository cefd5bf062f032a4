"""The voice chat page with a persona of its own: a starting point for your own demo."""

import stepaudio
from stepaudio.page import build
from stepaudio.voices import list_voices

if __name__ == "__main__":
    sa = stepaudio.load()
    build(sa, [voice.name for voice in list_voices()]).queue().launch()
