"""Who helps where one array is filled by several threads?"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads kept between calls: to start one takes as long as its work. They idle without the interpreter's lock."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a fork copies the pool but not its threads
