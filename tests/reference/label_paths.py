"""Label paths one by one, in plain Python: every ordered subset, its probability, and which constraints it meets.

Written from the definitions, not from the modules under test. Nothing here is searched, only listed.
"""

import itertools
import math


def path_log_prob(logits, path, num_classes, min_len=0, max_len=None):
    """Log P of a path of labels and the END behind it; ``logits(prefix)`` gives C + 1 numbers for a tuple of labels.

    END has probability 0 before ``min_len`` labels and 1 after ``max_len``.
    """
    end = num_classes
    max_len = num_classes if max_len is None else max_len
    total = 0.0
    for t, token in enumerate((*path, end)):
        if t == max_len:
            return total if token == end else -math.inf
        scores = logits(tuple(path[:t]))
        open_ids = [i for i in range(num_classes + 1) if i not in path[:t] and not (i == end and t < min_len)]
        if token not in open_ids:
            return -math.inf
        total += scores[token] - math.log(sum(math.exp(scores[i]) for i in open_ids))
    return total


def all_paths(logits, num_classes, min_len=0, max_len=None):
    """Every path within the limits with its log-probability."""
    most = num_classes if max_len is None else max_len
    found = {}
    for n in range(min_len, most + 1):
        for path in itertools.permutations(range(num_classes), n):
            found[path] = path_log_prob(logits, path, num_classes, min_len, max_len)
    return found


def meets(path, present=(), absent=(), exclusive=(), parents=None):
    """Whether the labels of a path, as a set, meet the constraints: pairs; a dict from labels to what they need."""
    labels = set(path)
    return (
        labels >= set(present)
        and not labels & set(absent)
        and not any(a in labels and b in labels for a, b in exclusive)
        and all(labels >= set(needed) for label, needed in (parents or {}).items() if label in labels)
    )


def marginals(paths, num_classes):
    """P(c among the labels) for a dict of paths and log-probabilities; 0 for none."""
    weights = {path: math.exp(log_prob) for path, log_prob in paths.items()}
    whole = sum(weights.values())
    return [
        sum(weight for path, weight in weights.items() if label in path) / whole if whole else 0.0
        for label in range(num_classes)
    ]


def greedy(logits, num_classes, min_len=0, max_len=None):
    """The most probable next id until it is END."""
    most = num_classes if max_len is None else max_len
    path = ()
    while len(path) < most:
        scores = logits(path)
        open_ids = [i for i in range(num_classes) if i not in path]
        if len(path) >= min_len:
            open_ids.append(num_classes)
        best = max(open_ids, key=lambda i: scores[i])
        if best == num_classes:
            break
        path += (best,)
    return path


def beam(logits, num_classes, width, end_mode, max_len=None):
    """The search of the paper, section 3.4, for one image with lists: the ``width`` best finished paths found.

    'compete': of all extensions, END among them, the best ``width`` are kept, and those that end are put aside.
    'always': the best ``width`` extensions by labels are kept, and every path is also put aside as if it ended.
    """
    most = num_classes if max_len is None else max_len

    def log_prob(prefix, token):
        open_ids = [i for i in range(num_classes + 1) if i not in prefix]
        scores = logits(prefix)
        return scores[token] - math.log(sum(math.exp(scores[i]) for i in open_ids))

    live, finished = {(): 0.0}, {}
    for _ in range(most):
        extended = {
            (*path, i): total + log_prob(path, i)
            for path, total in live.items()
            for i in range(num_classes + 1)
            if i not in path and (i < num_classes or end_mode == 'compete')
        }
        if end_mode == 'always':
            finished |= {path: total + log_prob(path, num_classes) for path, total in live.items()}
        kept = sorted(extended, key=extended.get, reverse=True)[:width]
        finished |= {path[:-1]: extended[path] for path in kept if path[-1] == num_classes}
        live = {path: extended[path] for path in kept if path[-1] != num_classes}
    finished |= live
    return {path: finished[path] for path in sorted(finished, key=finished.get, reverse=True)[:width]}
