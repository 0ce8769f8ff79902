"""Large blocks go back to the system when they are freed, however many there were before."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

KEPT_BLOCKS = """
import ctypes, sys

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks".split()] + [
        (name, ctypes.c_size_t) for name in "uordblks fordblks keepcost".split()
    ]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
if sys.argv[1] == "as it is here":
    from pi_dagster.piwebapi.freed_memory import give_large_blocks_back

    give_large_blocks_back()
for _ in range(2):
    before = mallinfo2().hblks
    block = bytes(8 << 20)
    is_mapped = mallinfo2().hblks > before
    del block
print("given back" if is_mapped else "kept")
"""


@pytest.mark.parametrize(("setting", "told"), [("as it is here", "given back"), ("as glibc has it", "kept")])
def test_a_block_is_given_back_although_one_of_its_size_was_before(setting: str, told: str) -> None:
    if not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("the allocator is not glibc's, or older than 2.33")
    done = subprocess.run([sys.executable, "-c", KEPT_BLOCKS, setting], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told
