"""What two tables are compared by, and how much they may differ by chance."""

import bisect
import collections
import math

from keras_stts.data.validation.table import MEASURED


class Comparison:
    """What the numbers and the words of two tables are compared by.

    Args:
        tables: Two `Table`s.
        max_drift: Float. Jensen-Shannon divergence (bits) of numbers.
        max_skew: Float. Difference of the shares of any word.

    Attributes:
        edges: Dict of feature to the ends of bins.
        counts: Two dicts of feature to counts in these bins, equal values of
            one video counted once.
        limits: Dict of feature to the most that it may differ: as given, or
            more where chance makes more.
    """

    def __init__(self, tables, max_drift, max_skew):
        self.edges, self.counts, self.limits = {}, ({}, {}), {}
        kinds = [table.kinds for table in tables]
        for feature in sorted(set(kinds[0]) & set(kinds[1])):
            values = [_finite(table.pairs(feature)) for table in tables]
            are_words = {kind[feature] == "bytes" for kind in kinds}
            if not all(values) or len(are_words) > 1:
                continue
            if all(_is_identifier(table, feature) for table in tables):
                continue
            sizes = list(map(len, values))
            if are_words.pop():
                counts = collections.Counter(values[0] + values[1])
                share = counts.most_common(1)[0][1] / sum(sizes)
                limit = max(max_skew, words_by_chance(share, *sizes))
            else:
                num_bins = self._count(feature, values)
                limit = max(max_drift, number_by_chance(num_bins, *sizes))
            self.limits[feature] = min(limit, 1.0)

    def _count(self, feature, values):
        edges = self.edges[feature] = bin_edges(values[0] + values[1])
        inner = edges[1:-1]
        for counts, those in zip(self.counts, values):
            found = collections.Counter(
                bisect.bisect_right(inner, value) for value in those
            )
            counts[feature] = [found[i] for i in range(len(inner) + 1)]
        return len(inner) + 1


def _finite(pairs):
    """Values of pairs, without the numbers that no bin can hold."""
    return [
        value
        for _, value in pairs
        if isinstance(value, str) or math.isfinite(value)
    ]


def _is_identifier(table, feature):
    """Whether a column holds whole numbers that no two videos share."""
    if feature in MEASURED or table.kinds[feature] != "int":
        return False
    values = [value for _, value in table.pairs(feature)]
    return len(set(values)) == len(values)


def bin_edges(values):
    """Ends of about ten bins, each with a tenth of the values or one value."""
    counts = sorted(collections.Counter(values).items())
    least, filled = len(values) / 10, 0
    edges = [counts[0][0]]
    for (value, count), (following, next_count) in zip(counts, counts[1:]):
        filled += count
        if filled >= least or next_count >= least:
            edges.append((value + following) / 2)
            filled = 0
    return [*edges, counts[-1][0]]


def number_by_chance(num_bins, first, second):
    """Jensen-Shannon divergence (bits) that samples of one source stay below.

    999 times in 1000, from the chi-squared distribution of the likelihood
    ratio: 8 ln 2 / (1 / first + 1 / second) times the divergence (the quantile
    by Wilson and Hilferty's formula).

    Args:
        num_bins: Int.
        first, second: Ints. Sizes of the samples.
    """
    if num_bins < 2:
        return 0.0
    part = 2 / (9 * (num_bins - 1))
    quantile = (num_bins - 1) * (1 - part + 3.09 * math.sqrt(part)) ** 3
    return quantile / (8 * math.log(2)) * (1 / first + 1 / second)


def words_by_chance(share, first, second):
    """Difference of shares that samples of one source stay below.

    Four standard deviations, as the largest of many shares is compared.

    Args:
        share: Float. That of the most frequent value in both.
        first, second: Ints. Sizes of the samples.
    """
    share = min(share, 0.5)
    return 4 * math.sqrt(share * (1 - share) * (1 / first + 1 / second))


def known_share(values, num_new):
    """Share of new values that must have been seen, or 0: any value may come.

    What was seen once tells how much is unseen (Good and Turing).

    Args:
        values: List of str.
        num_new: Int. How many are to be checked.
    """
    counts = collections.Counter(values)
    once = sum(count == 1 for count in counts.values())
    unseen = (once + 2 * math.sqrt(once)) / len(values)
    if unseen > 0.5:
        return 0.0
    noise = 3 * math.sqrt(unseen * (1 - unseen) / num_new)
    return max(0.0, 1 - unseen - noise)
