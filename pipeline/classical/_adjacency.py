"""The graph of regions that touch, and regions merged in it."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components


def neighbours(regions: np.ndarray) -> np.ndarray:
    """(2, E) int64: the pairs of regions that share a side of a pixel, the lower number first, sorted.

    Examples
    --------
    >>> neighbours(np.array([[0, 0, 1], [2, 2, 1]])).tolist()
    [[0, 0, 1], [1, 2, 2]]
    """
    pairs = []
    for one, two in ((regions[:, :-1], regions[:, 1:]), (regions[:-1], regions[1:])):
        meet = one != two
        pairs.append((one[meet], two[meet]))
    return _distinct(*(np.concatenate(ends) for ends in zip(*pairs, strict=True)), count=int(regions.max()) + 1)


def merged(regions: np.ndarray, means: np.ndarray, pixels: np.ndarray, *, threshold: float, min_size: int = 1) -> np.ndarray:
    """Neighbours merged while their means differ by `threshold` at most, then small regions by what they are most like.

    In each round the pairs that are each other's most similar neighbour merge, together with the regions whose most similar
    neighbour is one of the two, and get the mean of their pixels. So the order is nearly that of the most similar pair first.

    Parameters
    ----------
    regions : (H, W) integers 0..R - 1, each with a pixel
    means : (D, R) float, such as the mean colour
    pixels : (R,) number of pixels
    threshold : Euclidean distance between means
    min_size : px, a region with fewer merges with its most similar neighbour at any distance

    Returns
    -------
    (H, W) int32, 0..S - 1
    """
    graph = _Graph(neighbours(regions), np.array(means, np.float64), np.array(pixels, np.float64))
    graph.merge(graph.edges[:, graph.distances() == 0])
    while (pairs := graph.closest_pairs(threshold)).size:
        graph.merge(pairs)
    while (pairs := graph.small_to_closest(min_size)).size:
        graph.merge(pairs)
    return graph.numbers.astype(np.int32)[regions]


class _Graph:
    """Regions with their neighbours, means and pixels; `numbers` says to which one each of the first regions has come."""

    def __init__(self, edges: np.ndarray, means: np.ndarray, pixels: np.ndarray):
        self.edges, self.means, self.pixels = edges, means, pixels
        self.numbers = np.arange(len(pixels))

    def distances(self) -> np.ndarray:
        """(E,) of each edge: between the means."""
        first, second = self.edges
        return np.sqrt(sum((channel[first] - channel[second]) ** 2 for channel in self.means))

    def closest_pairs(self, threshold: float) -> np.ndarray:
        """(2, P): regions no further apart than `threshold`: each other's closest, and those whose closest is one of these."""
        distances = self.distances()
        near = distances <= threshold
        edges = self.edges[:, near]
        first_wants, second_wants = _closest(edges, distances[near], len(self.pixels))
        is_mutual = first_wants & second_wants
        takes = np.zeros(len(self.pixels), bool)
        takes[edges[:, is_mutual]] = True
        return edges[:, is_mutual | (first_wants & takes[edges[1]]) | (second_wants & takes[edges[0]])]

    def small_to_closest(self, min_size: int) -> np.ndarray:
        """(2, P): each region of fewer than `min_size` px and the closest of its neighbours."""
        small = self.pixels[self.edges] < min_size  # (2, E)
        wants = np.stack(_closest(self.edges, self.distances(), len(self.pixels)))
        return self.edges[:, (small & wants).any(axis=0)]

    def merge(self, pairs: np.ndarray) -> None:
        """Make one region of all that the pairs connect."""
        size = len(self.pixels)
        joined = sparse.csr_matrix((np.ones(pairs.shape[1], bool), pairs), shape=(size, size))
        count, number = connected_components(joined, directed=False)
        pixels = np.bincount(number, self.pixels, minlength=count)
        self.means = np.stack([np.bincount(number, self.pixels * one, minlength=count) / pixels for one in self.means])
        self.pixels, self.numbers = pixels, number[self.numbers]
        first, second = number[self.edges]
        apart = first != second
        self.edges = _distinct(first[apart], second[apart], count=count)


def _closest(edges: np.ndarray, distances: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two of (E,) bool: whether the edge is the shortest one of its first, and of its second region."""
    first, second = edges
    # equals in a shuffled order (Knuth's multiplicative hash): a long chain of them would merge one by one
    shuffle = ((first * count + second) * 2654435761 % (1 << 32)) / (1 << 32)
    order = (distances + 1e-6) * (1 + 1e-9 * shuffle)
    shortest = np.full(count, np.inf)
    np.minimum.at(shortest, first, order)
    np.minimum.at(shortest, second, order)
    return order == shortest[first], order == shortest[second]


def _distinct(first: np.ndarray, second: np.ndarray, *, count: int) -> np.ndarray:
    """(2, E) int64: the different pairs of numbers below `count`, the lower number first, sorted."""
    keys = np.sort(np.minimum(first, second).astype(np.int64) * count + np.maximum(first, second))
    keys = keys[np.diff(keys, prepend=-1) > 0]  # NumPy's `unique` takes three times as long
    return np.stack(np.divmod(keys, count))
