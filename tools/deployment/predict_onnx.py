"""Predict by an exported ONNX file alone: an example to copy from, with numpy, pillow and onnxruntime.

python tools/deployment/predict_onnx.py model.onnx PICTURE...      all else is read from the file
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def neighbours(count, size):
    """Which two of ``count`` pixels each of ``size`` new ones lies between, and their weights of 2048."""
    place = ((np.arange(size) + 0.5) * (count / size) - 0.5).clip(0, count - 1).astype(np.float32)
    low = place.astype(int)
    weights = (np.rint(w * 2048).astype(np.int64)[:, None] for w in (1 - place + low, place - low))
    return low, np.minimum(low + 1, count - 1), *weights


def resize(image, size, how):
    """As OpenCV resizes 8-bit pixels bilinearly, without smoothing and to the last bit; or as Pillow."""
    if how['backend'] == 'pillow':
        small = Image.fromarray(image.squeeze()).resize(size, getattr(Image, how['interpolation'].upper()))
        return np.atleast_3d(small)
    assert how['interpolation'] == 'bilinear', f'this example does not know {how["interpolation"]} resizing'
    (top, bottom, a, b), (left, right, c, d) = map(neighbours, image.shape[:2], size[::-1])
    rows = image[:, left] * c + image[:, right] * d >> 4
    return ((a[:, None] * rows[top] >> 16) + (b[:, None] * rows[bottom] >> 16) + 2 >> 2).astype(np.uint8)


def prepare(path, meta):
    """A picture as the file takes it."""
    image = Image.open(path)
    image = ImageOps.exif_transpose(image) if meta['picture']['oriented_by_exif'] else image
    image = np.atleast_3d(image.convert('RGB' if meta['input']['channels'] == 3 else 'L'))
    assert meta['picture']['steps'] is not None, meta['picture']['problem']
    for step in meta['picture']['steps']:
        (height, width), length = image.shape[:2], step.get('length')
        if step['do'] == 'center_crop':
            x, y = (max(0, round((have - step[n]) / 2)) for have, n in ((width, 'width'), (height, 'height')))
            image = image[y : y + step['height'], x : x + step['width']]
        elif step['do'] == 'resize':
            image = resize(image, (step['width'], step['height']), step)
        elif step.get('edge') in ('width', 'short' if width < height else 'long'):
            image = resize(image, (length, int(length * height / width)), step)
        else:
            assert step['do'] == 'resize_edge', f'this example does not know {step}'
            image = resize(image, (int(length * width / height), length), step)
    if not meta['input']['normalised_in_graph']:
        image = image[..., ::-1] if meta['input']['order'] == 'BGR' else image
        image = (image.astype(np.float32) - np.float32(meta['mean'])) / np.float32(meta['std'])
    return np.ascontiguousarray(image if meta['input']['layout'] == 'nhwc' else image.transpose(2, 0, 1))


def decide(outputs, rule):
    """Probabilities (C,) and labels, the best first; those of a path in its order."""
    scores, known = outputs['scores'][0], rule['calibration']
    probabilities = p = scores.astype(np.float64).clip(np.finfo(np.float32).tiny, 1 - 2.0**-24)
    if known is not None and known['activation'] == 'softmax':
        probabilities = p ** known['scale'] / (p ** known['scale']).sum()
    elif known is not None:
        probabilities = 1 / (1 + np.exp(-(known['scale'] * np.log(p / (1 - p)) + known['shift'])))
    if rule['rule'] == 'path':
        return probabilities, [label for label in outputs['label_path'][0] if label >= 0]
    values = probabilities.astype(np.float32) if known and rule['reads'] == 'probabilities' else scores
    ranked = np.argsort(-values, kind='stable')[: 1 if rule['rule'] == 'best' else rule['topk']]
    limits = [np.inf if t is None else t for t in rule['thresholds'] or [-np.inf] * len(values)]
    return probabilities, [label for label in ranked if values[label] >= np.float32(limits[label])]


if __name__ == '__main__':
    session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
    meta = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    names = [output['name'] for output in meta['outputs']]
    for path in sys.argv[2:]:
        found = dict(zip(names, session.run(names, {'image': prepare(path, meta)[None]}), strict=True))
        values, labels = decide(found, meta['decision'])
        print(path, *(f'{meta["classes"][label]} {values[label]:.4f}' for label in labels), sep='\t')
