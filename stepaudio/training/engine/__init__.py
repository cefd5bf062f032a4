"""The data engine: text in, a corpus of the teacher's speech out.

recipe → plan → teacher (two halves, edited between) → check → shards; `run` puts shards to workers.
"""
