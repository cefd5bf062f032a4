"""Copy synthesis through WORLD: what a codec on WORLD frames cannot do better than."""

import time
from typing import Any

from stepaudio.audio import Audio
from stepaudio.evaluation.systems.base import Ability, Answer, Unable


class WorldSystem(Unable):
    """Analysis and resynthesis without any quantiser between them."""

    name = "world"
    abilities: frozenset[Ability] = frozenset({"resynthesise"})

    def describe(self) -> dict[str, Any]:
        """Return the name and the version of the vocoder."""
        return {"name": self.name, "weights": {}}

    def resynthesise(self, audio: Audio) -> Answer:
        """Analyse a clip into WORLD frames and synthesise them."""
        from stepaudio.decoder.world import analyse, synthesise

        started = time.perf_counter()
        copy = synthesise(analyse(audio))
        return Answer("", copy, timings={"total_s": time.perf_counter() - started})
