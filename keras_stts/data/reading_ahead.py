"""Batches that are read ahead."""

import threading
import time

# The share of time spent waiting is averaged over about this many waits.
RECENT = 50


class Batches:
    """The batches of a plan, some of them made ahead.

    Args:
        start: Function of an item of the plan that starts to make its batch,
            and returns a function that waits for it.
        plan: List of items, one for each batch.
        ahead: Int. Number of batches that are made ahead.
    """

    def __init__(self, start, plan, ahead):
        self.start, self.plan, self.ahead = start, plan, ahead
        self.last_was_read = not plan
        self._started = {}
        self._lock = threading.Lock()

    def __len__(self):
        return len(self.plan)

    def __getitem__(self, index):
        with self._lock:
            last = min(index + self.ahead + 1, len(self.plan))
            for i in range(index, last):
                if i not in self._started:
                    self._started[i] = self.start(self.plan[i])
            found = self._started[index]
            # Keras looks at the first two before it begins.
            self._started = {
                i: wait for i, wait in self._started.items() if i >= index - 1
            }
        result = found()
        self.last_was_read |= index == len(self.plan) - 1
        return result


class Clock:
    """What share of the recent time was spent waiting."""

    def __init__(self):
        self.share = 0.0
        self._last = time.perf_counter()

    def wait_for(self, future):
        start = time.perf_counter()
        result = future.result()
        end = time.perf_counter()
        share = (end - start) / max(end - self._last, 1e-9)
        self.share += (share - self.share) / RECENT
        self._last = end
        return result
