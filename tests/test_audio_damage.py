"""Damaged files: a clip within the caps or one AudioError, never anything else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from audio_campaign import check
from audio_files import DIRECT, GUARDED, HOWS, Edit, damage, encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import size

edits = st.lists(
    st.builds(
        Edit,
        how=st.sampled_from(HOWS),
        place=st.floats(0, 1),
        amount=st.integers(1, 2000),
        value=st.integers(0, 2**32 - 1),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=size(100, 300), deadline=None)
@given(st.sampled_from(DIRECT), edits)
def test_damaged_files_in_this_process(kind, edits):
    check(damage(encoded(kind), edits))


@settings(max_examples=size(6, 12), deadline=None)
@given(st.sampled_from(GUARDED), edits)
def test_damaged_files_in_the_guarded_child(kind, edits):
    check(damage(encoded(kind), edits))


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS\0", b"caff", b".snd"])
)
def test_any_bytes(data, magic):
    check(magic + data)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_many_damaged_files_in_bounded_memory(seed):
    """In a process of its own, where a native crash or a leak would show."""
    script = Path(__file__).parent / "audio_campaign.py"
    count = size(300, 2000)
    done = subprocess.run(
        [sys.executable, str(script), str(count), str(seed)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["files"] == report["clip"] + report["error"] == count
    assert report["clip"] > count // 20
    assert report["error"] > count // 20
    # Caps of 64 MiB decoded, on top of an interpreter with its libraries.
    assert max(report["peak_rss_mib"].values()) < 400, report["peak_rss_mib"]
