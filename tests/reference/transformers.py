"""ML-Decoder and Query2Label a second time, slow and plain: numpy, doubles, one picture, loops over heads.

Written from the formulas of the papers, Vaswani et al. (2017) and Carion et al. (DETR, 2020). ``weights`` are those
of a state dict of ours, as arrays.
"""

import math

import numpy as np


def linear(x, weights, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def layer_norm(x, weights, name, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return scaled * weights[f'{name}.weight'] + weights[f'{name}.bias']


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(query, key, value, weights, name, heads):
    """Multi-head attention of queries (K, d) on (N, d): what was read (K, d), and the mean of the heads' maps."""
    projections = np.split(weights[f'{name}.in_proj_weight'], 3)
    biases = np.split(weights[f'{name}.in_proj_bias'], 3)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), projections, biases, strict=True))
    width, read, maps = q.shape[-1] // heads, [], []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        maps.append(softmax(q[:, own] @ k[:, own].T / math.sqrt(width)))
        read.append(maps[-1] @ v[:, own])
    return linear(np.concatenate(read, axis=-1), weights, f'{name}.out_proj'), sum(maps) / heads


def attention_block(x, query, key, value, weights, name, heads):
    read, maps = attention(query, key, value, weights, f'{name}.attention', heads)
    return layer_norm(x + read, weights, f'{name}.norm'), maps


def feed_forward_block(x, weights, name):
    out = linear(np.maximum(linear(x, weights, f'{name}.widen'), 0), weights, f'{name}.narrow')
    return layer_norm(x + out, weights, f'{name}.norm')


def classify(h, weights, name, classes):
    """The logit of each class from the row, and column of that row's classifier, that the paper gives it."""
    weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
    size = math.ceil(classes / len(h))
    return np.array([h[c // size] @ weight[c // size, :, c % size] + bias[c] for c in range(classes)])


def ml_decoder(x, weights, heads, classes):
    """Logits (C,) and maps (C, h, w) of a map (D, h, w)."""
    tokens = x.reshape(len(x), -1).T
    memory = np.maximum(linear(tokens, weights, 'decoder.embed'), 0)
    query = layer_norm(2 * weights['decoder.queries'], weights, 'decoder.norm')
    found, maps = attention_block(query, query, memory, memory, weights, 'decoder.look', heads)
    found = feed_forward_block(found, weights, 'decoder.feed_forward')
    size = math.ceil(classes / len(query))
    maps = np.stack([maps[c // size].reshape(x.shape[1:]) for c in range(classes)])
    return classify(found, weights, 'decoder.classify', classes), maps


def sine_position(row, column, height, width, dims):
    """Of one cell, counted from 0, channel by channel."""
    half, out = dims // 2, []
    for place, count in ((row, height), (column, width)):
        for channel in range(half):
            angle = 2 * math.pi * (place + 1) / count / 10000 ** (2 * (channel // 2) / half)
            out.append(math.cos(angle) if channel % 2 else math.sin(angle))
    return out


def query2label(x, weights, heads, classes, encoders, decoders):
    """Logits (C,) and maps (C, h, w) of a map (D, h, w)."""
    _, height, width = x.shape
    memory = x.reshape(len(x), -1).T
    if 'transformer.project.weight' in weights:
        memory = linear(memory, weights, 'transformer.project')
    dims = memory.shape[-1]
    places = np.array([sine_position(i, j, height, width, dims) for i in range(height) for j in range(width)])
    for number in range(encoders):
        layer = f'transformer.encoder.{number}'
        placed = memory + places
        memory, _ = attention_block(memory, placed, placed, memory, weights, f'{layer}.look', heads)
        memory = feed_forward_block(memory, weights, f'{layer}.feed_forward')
    query = weights['transformer.queries']
    found = np.zeros_like(query)
    for number in range(decoders):
        layer = f'transformer.decoder.{number}'
        if f'{layer}.confer.norm.weight' in weights:
            asked = found + query
            found, _ = attention_block(found, asked, asked, found, weights, f'{layer}.confer', heads)
        asked, placed = found + query, memory + places
        found, maps = attention_block(found, asked, placed, memory, weights, f'{layer}.look', heads)
        found = feed_forward_block(found, weights, f'{layer}.feed_forward')
    found = layer_norm(found, weights, 'transformer.norm')
    return classify(found, weights, 'transformer.classify', classes), maps.reshape(classes, height, width)
