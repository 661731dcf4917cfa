"""RA-CNN's mathematics a second time: one picture, one channel and one pixel at a time, slow and plain.

Written from the equations of CVPR 2017 and from what the layers released with it compute, not from the modules under
test. A square is (a, b, l): centre and half the side, as fractions of the picture's width, height and side.
"""

import math

import cv2
import numpy as np
import torch


def h(u, k):
    """The logistic step that stands for u > 0."""
    return 1 / (1 + math.exp(-k * u)) if k * u > -700 else 0.0


def h_slope(u, k):
    return k * h(u, k) * (1 - h(u, k))


def corners(square, width, height):
    """x0, x1, y0, y1 in pixels, not clipped."""
    a, b, half = map(float, square)
    return (a - half) * width, (a + half) * width, (b - half) * height, (b + half) * height


def mask(x, y, square, width, height, k):
    """M at one point in pixels."""
    x0, x1, y0, y1 = corners(square, width, height)
    return (h(x - x0, k) - h(x - x1, k)) * (h(y - y0, k) - h(y - y1, k))


def mask_picture(square, width, height, k):
    """M on every pixel, (height, width)."""
    rows = [[mask(x, y, square, width, height, k) for x in range(width)] for y in range(height)]
    return torch.tensor(rows, dtype=torch.float64)


def mask_slopes(x, y, square, width, height, k):
    """Change of M with the centre's x, its y, half the width and half the height, all in pixels.

    Where the picture is square, the last two are one side and their slopes add up to dM / dt_l.
    """
    x0, x1, y0, y1 = corners(square, width, height)
    across, down = h(x - x0, k) - h(x - x1, k), h(y - y0, k) - h(y - y1, k)
    return (
        down * (-h_slope(x - x0, k) + h_slope(x - x1, k)),
        across * (-h_slope(y - y0, k) + h_slope(y - y1, k)),
        down * (h_slope(x - x0, k) + h_slope(x - x1, k)),
        across * (h_slope(y - y0, k) + h_slope(y - y1, k)),
    )


def boxcar_gradient(grad_crop, square, width, height, k=0.05, shrink=0.005, gain=1e-7):
    """What the released layer hands to (a, b, l) of one picture, given the loss's gradient (C, S, S) at the crop.

    The chain rule through t = fraction x pixels is taken; half the side stands for pixels of the width and of the
    height alike, so that the constant counts both, half each.
    """
    x0, x1, y0, y1 = corners(square, width, height)
    channels, rows, columns = grad_crop.shape
    total = np.zeros(3)
    for c in range(channels):
        peak = np.abs(grad_crop[c]).max()
        if peak == 0:
            continue
        for r in range(rows):
            for q in range(columns):
                g = abs(grad_crop[c, r, q]) / peak * gain
                x, y = x0 + (x1 - x0) * q / columns, y0 + (y1 - y0) * r / rows
                dx, dy, dw, dh = mask_slopes(x, y, square, width, height, k)
                total[0] += g * -dx * width
                total[1] += g * -dy * height
                total[2] += g * (-dw * width - dh * height + shrink * (width + height) / 2)
    return total


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def bounded_square(raw, least=1 / 6):
    """Always inside: the side first, then the centre over what room it leaves."""
    s_x, s_y, s_l = map(sigmoid, raw)
    half = least + s_l * (0.5 - least)
    return half + s_x * (1 - 2 * half), half + s_y * (1 - 2 * half), half


def clipped_square(raw, least):
    """Plain sigmoids, the half side not below ``least``; corners are cut at the border when the crop is taken."""
    s_x, s_y, s_l = map(sigmoid, raw)
    return s_x, s_y, max(s_l, least)


def shifted_square(raw, least):
    """Plain sigmoids, then moved inside."""
    s_x, s_y, s_l = map(sigmoid, raw)
    half = min(max(s_l, least), 0.5)
    return min(max(s_x, half), 1 - half), min(max(s_y, half), 1 - half), half


def clipped_corners(square):
    """(x0, y0, x1, y1) of the square's part on the picture, as fractions."""
    x0, x1, y0, y1 = corners(square, 1, 1)
    return max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)


def outside_share(square):
    """Share of the square's area that is not on the picture."""
    x0, y0, x1, y1 = clipped_corners(square)
    return 1 - max(x1 - x0, 0) * max(y1 - y0, 0) / (2 * float(square[2])) ** 2


def composed_square(outer, inner):
    """The square of the picture that ``inner`` is, ``inner`` being a square of the crop at ``outer``."""
    (a, b, half), (a_in, b_in, half_in) = outer, inner
    return a - half + 2 * half * a_in, b - half + 2 * half * b_in, 2 * half * half_in


def interpolation_weights(low, high, count, cells):
    """(count, cells): weights of the cells in samples at the centres of ``count`` parts of [low, high], fractions.

    A sample outside reads the outermost cell. Differentiable in ``low`` and ``high``.
    """
    rows = []
    for i in range(count):
        position = (low + (high - low) * (i + 0.5) / count) * cells - 0.5
        position = torch.as_tensor(position, dtype=torch.float64).clamp(0, cells - 1)
        first = min(math.floor(position.detach()), cells - 2) if cells > 1 else 0
        fraction = position - first
        row = [torch.zeros((), dtype=torch.float64) for _ in range(cells)]
        row[first] = 1 - fraction
        if cells > 1:
            row[first + 1] = fraction
        rows.append(torch.stack(row))
    return torch.stack(rows)


def crop(picture, square, size, clip=False):
    """One picture (C, H, W) at one square, bilinear, half-pixel convention, zoomed to (h, w)."""
    a, b, half = square
    x0, y0, x1, y1 = a - half, b - half, a + half, b + half
    if clip:
        x0, y0, x1, y1 = (torch.as_tensor(edge).clamp(0, 1) for edge in (x0, y0, x1, y1))
    rows = interpolation_weights(y0, y1, size[0], picture.shape[1])
    columns = interpolation_weights(x0, x1, size[1], picture.shape[2])
    return rows @ picture @ columns.T


def integer_square(x0, y0, side, width, height):
    """The (a, b, l) that covers the pixels [x0, x0 + side) x [y0, ...) of a picture, in its shape."""
    return (x0 + side / 2) / width, (y0 + side * height / width / 2) / height, side / 2 / width


def cv2_crop(picture, x0, y0, x1, y1, size):
    """Pixels [x0, x1) x [y0, y1) of (C, H, W), resized by OpenCV to (h, w): the released forward pass."""
    pixels = np.ascontiguousarray(picture[:, y0:y1, x0:x1].transpose(1, 2, 0))
    resized = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*size, len(picture)).transpose(2, 0, 1)


def aligned_crop(picture, x0, y0, x1, y1, size):
    """The same pixels, outermost samples on the outermost pixels' centres."""
    part = picture[None, :, y0:y1, x0:x1]
    return torch.nn.functional.interpolate(part, size, mode='bilinear', align_corners=True)[0]


def true_class_probability(logits, target):
    """Softmax of one picture's logits, read at its class or averaged over a soft target."""
    powers = [math.exp(float(z) - float(max(logits))) for z in logits]
    probabilities = [p / sum(powers) for p in powers]
    if np.ndim(target) == 0:
        return probabilities[int(target)]
    return sum(p * float(t) for p, t in zip(probabilities, target, strict=True))


def rank_hinges(probabilities, margin=0.05):
    """Hinges of one picture over its scales, and the gradient of their sum at the finer probability of each."""
    hinges, gradient = [], [0.0] * len(probabilities)
    for s in range(len(probabilities) - 1):
        value = probabilities[s] - probabilities[s + 1] + margin
        hinges.append(max(0.0, value))
        if value > 0:
            gradient[s + 1] -= 1.0
    return hinges, gradient


def highest_response_square(feature_map, side=0.5):
    """The square of ``side`` of the picture whose cells of one map (D, h, w) respond most; the first of equals."""
    _, height, width = feature_map.shape
    tall, wide = math.ceil(side * height), math.ceil(side * width)
    best, place = -math.inf, None
    for i in range(height - tall + 1):
        for j in range(width - wide + 1):
            response = np.maximum(feature_map[:, i : i + tall, j : j + wide], 0).sum()
            if response > best:
                best, place = response, (i, j)
    i, j = place
    return (j + wide / 2) / width, (i + tall / 2) / height, side / 2
