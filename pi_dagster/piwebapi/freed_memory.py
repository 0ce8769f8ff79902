"""Memory that is free goes back to the system, so that a process does not grow with what it has read.

glibc's allocator gives a block back when it is freed only while such blocks are rare: after the first one it takes
blocks of that size, here the bodies of answers, from heaps of its own, in whose holes other blocks settle
(M_MMAP_THRESHOLD in mallopt(3), man7.org/linux/man-pages/man3/mallopt.3.html).
"""

from __future__ import annotations

import ctypes
import os
import sys

_LARGE_BLOCK_BYTES = 4 << 20
_M_MMAP_THRESHOLD = -3


def give_large_blocks_back() -> None:
    """Have blocks of 4 MiB and more given back when they are freed, where the allocator is glibc's.

    Whoever sets MALLOC_MMAP_THRESHOLD_ in the environment has decided otherwise.
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
