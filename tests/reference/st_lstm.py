"""ST-LSTM a second time: one image and one step at a time, from the equations of ICCV 2017, slow and plain.

Written from the formulas, not from the modules under test; only the names of the weights are theirs. Float64 tensors
throughout, so that autograd gives the gradients of what is written here.
"""

import math

import torch

SCALE_RANGE = (0.1, 1.0)


def interpolation_matrix(scale, shift, count, size, align_corners=False, padding_mode='zeros'):
    """(count, size): row i holds the weights of the cells between which sample i of one axis lies.

    An axis-aligned transform is separable, so that a region is ``rows @ map @ columns.T``.
    """
    rows, cells = [], torch.arange(size, dtype=torch.float64)
    for i in range(count):
        if not align_corners:
            u = (2 * i + 1) / count - 1
        else:
            u = 2 * i / (count - 1) - 1 if count > 1 else 0.0
        g = scale * u + shift
        position = (g + 1) / 2 * (size - 1) if align_corners else ((g + 1) * size - 1) / 2
        if padding_mode == 'reflection':
            low, high = (0, size - 1) if align_corners else (-0.5, size - 0.5)
            while not low <= position <= high:
                position = 2 * low - position if position < low else 2 * high - position
        if padding_mode != 'zeros':
            position = position.clamp(0, size - 1)
        rows.append((1 - (position - cells).abs()).clamp(min=0))
    return torch.stack(rows)


def region(feature_map, theta, size, **options):
    """One map (C, H, W) seen through theta = (s_x, s_y, t_x, t_y) at (h, w) samples."""
    s_x, s_y, t_x, t_y = theta
    rows = interpolation_matrix(s_y, t_y, size[0], feature_map.shape[1], **options)
    columns = interpolation_matrix(s_x, t_x, size[1], feature_map.shape[2], **options)
    return rows @ feature_map @ columns.T


def pooled_region(x, how, size=2):
    """Non-overlapping windows of one region (C, R, R)."""
    if how is None:
        return x
    windows = [
        [x[:, i : i + size, j : j + size].flatten(1) for j in range(0, x.shape[2] - size + 1, size)]
        for i in range(0, x.shape[1] - size + 1, size)
    ]
    reduce = (lambda w: w.max(1).values) if how == 'max' else (lambda w: w.mean(1))
    return torch.stack([torch.stack([reduce(w) for w in row], 1) for row in windows], 1)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def lstm(x, h, c, weights, tanh_out):
    """i, f, o gates and modulation m; c = f c + i m and h = o c, or o tanh(c)."""
    total = weights['input.weight'] @ x + weights['input.bias'] + weights['hidden.weight'] @ h
    hidden = len(h)
    i, f, m, o = (total[n * hidden : (n + 1) * hidden] for n in range(4))
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(m)
    return sigmoid(o) * (torch.tanh(c) if tanh_out else c), c


def anchor(k, num_regions, radius=0.5**0.5, start_angle=math.pi / 4, first='none'):
    """c^k of region k = 1..K, the centre for the first one."""
    if k == 1:
        return (0.0, 0.0)
    angle = start_angle + 2 * math.pi * (k - 2) / (num_regions - 1)
    return (radius * math.cos(angle), radius * math.sin(angle))


def transform(raw, k, num_regions, loc_param, scale_range=SCALE_RANGE, **anchors):
    """Theta of region k from the four outputs of the localisation layer."""
    s, t = raw[:2], raw[2:]
    if loc_param == 'residual_anchor':
        t = t + torch.tensor(anchor(k, num_regions, **anchors)).to(raw)  # anchors are stored in float32
    if loc_param == 'bounded':
        low, high = scale_range
        s = low + (high - low) * sigmoid(s)
        t = (1 - s) * torch.tanh(t)
    return torch.cat([s, t])


class Reference:
    """Neck and head over a flat dict of weights, each step's equations in the paper's order.

    Args:
        weights (dict[str, Tensor]): ``embed.*``, ``cell.*``, ``z.*``, ``loc.*`` and ``fc.*``.
    """

    def __init__(self, weights, **options):
        self.weights = {
            name: value.detach().clone().double().requires_grad_() for name, value in weights.items()
        }
        self.options = (
            dict(
                num_steps=5, region_size=14, region_pool='max', region_embed='fc',
                cell_out='identity', loc_param='direct', scale_range=SCALE_RANGE, anchor={}, align_corners=False,
                include_global=False,
            )
            | options
        )  # fmt: skip

    def linear(self, name, x):
        return self.weights[f'{name}.weight'] @ x + self.weights[f'{name}.bias']

    def embed(self, f):
        if self.options['region_embed'] == 'gap':
            return f.mean((1, 2))
        if self.options['region_embed'] == 'conv':
            out = torch.nn.functional.conv2d(
                f[None], self.weights['embed.weight'], self.weights['embed.bias'], padding=1
            )
            return out[0].clamp(min=0).mean((1, 2))
        return self.linear('embed', f.reshape(-1)).clamp(min=0)

    def image(self, feature_map):
        """Z (K, D) with z_0 first if it counts, and theta (K, 4), of one image."""
        o = self.options
        size = (o['region_size'],) * 2
        cell = {name[5:]: value for name, value in self.weights.items() if name.startswith('cell.')}
        h = c = feature_map.new_zeros(cell['hidden.weight'].shape[1])
        theta = feature_map.new_tensor([1.0, 1.0, 0.0, 0.0])
        zs, thetas = [], []
        for k in range(o['num_steps'] + 1):
            f = region(feature_map, theta, size, align_corners=o['align_corners'])
            x = self.embed(pooled_region(f, o['region_pool']))
            h, c = lstm(x, h, c, cell, o['cell_out'] == 'tanh')
            z = self.linear('z', h).clamp(min=0)
            if k > 0:
                thetas.append(theta)
            if k > 0 or o['include_global']:
                zs.append(z)
            if k < o['num_steps']:
                raw = self.linear('loc', z)
                theta = transform(raw, k + 1, o['num_steps'], o['loc_param'], o['scale_range'], **o['anchor'])
        return torch.stack(zs), torch.stack(thetas)

    def neck(self, feature_maps):
        zs, thetas = zip(*(self.image(f) for f in feature_maps.double()), strict=True)
        return torch.stack(zs), torch.stack(thetas)

    def head(self, step_feats):
        return torch.stack([torch.stack([self.linear('fc', z) for z in zs]) for zs in step_feats])


def fuse(scores, how):
    """One class's scores of K steps (a list of tensors) to one score."""
    if how == 'max':
        best = scores[0]
        for s in scores[1:]:
            best = s if s > best else best
        return best
    if how == 'mean':
        return sum(scores) / len(scores)
    if how == 'lse':
        return torch.log(sum(torch.exp(s) for s in scores) / len(scores))
    none = 1
    for s in scores:
        none = none * (1 - sigmoid(s))
    return torch.log((1 - none) / none)


def fused(scores, how):
    """(B, K, C) to (B, C)."""
    return torch.stack(
        [torch.stack([fuse(list(image[:, c]), how) for c in range(image.shape[1])]) for image in scores]
    )


def softmax_l2(scores, target):
    """Mean over the labelled rows of the squared distance between softmax and labels of equal weight."""
    total, labelled = scores.sum() * 0, 0
    for s, y in zip(scores, target, strict=True):
        if y.sum() == 0:
            continue
        labelled += 1
        e = torch.exp(s - s.max().detach())
        for p, share in zip(e / e.sum(), y / y.sum(), strict=True):
            total = total + (p - share) ** 2
    return total / max(labelled, 1)


def iou(a, b):
    """Of two regions (s_x, s_y, t_x, t_y) with sides |s|."""
    inter = union = 1
    for axis in (0, 1):
        low = torch.maximum(a[2 + axis] - a[axis].abs(), b[2 + axis] - b[axis].abs())
        high = torch.minimum(a[2 + axis] + a[axis].abs(), b[2 + axis] + b[axis].abs())
        inter = inter * (high - low).clamp(min=0)
    union = 4 * (a[0] * a[1]).abs() + 4 * (b[0] * b[1]).abs() - inter
    return inter / union if union > 0 else inter


def constraints(theta, alpha=0.5, beta=0.1, first='none', **circle):
    """The unweighted terms of each step of one image, theta (K, 4): dict of lists; an absent anchor gives 0."""
    terms = dict(scale=[], positive=[], anchor=[], overlap=[])
    count = len(theta)
    for k, (s_x, s_y, t_x, t_y) in enumerate(theta, start=1):
        zero = s_x * 0
        terms['scale'].append(sum(torch.maximum(s.abs() - alpha, zero) ** 2 for s in (s_x, s_y)))
        terms['positive'].append(sum(torch.maximum(beta - s, zero) for s in (s_x, s_y)))
        c_x, c_y = anchor(k, count, **circle)
        pull = ((t_x - c_x) ** 2 + (t_y - c_y) ** 2) / 2
        terms['anchor'].append(pull if k > 1 or first == 'center' else zero)
        others = [iou(theta[k - 1], other) for j, other in enumerate(theta, start=1) if j != k]
        terms['overlap'].append(sum(others, zero) / max(len(others), 1))
    return terms
