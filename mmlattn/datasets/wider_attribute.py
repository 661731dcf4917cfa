"""WIDER Attribute: people in pictures, each with attributes that are there, not there, or not specified."""

from collections.abc import Callable, Sequence
from typing import NoReturn

from mmengine.fileio import join_path
from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .annotation_files import (
    check_classes,
    check_images,
    check_labels,
    is_number,
    json_entries,
    load_json,
    refuse,
    some,
)
from .checked_settings import CheckedSettings

# The folders that hold the pictures of a split.
_FOLDERS = dict(train=('train',), val=('val',), trainval=('train', 'val'), test=('test',))


@DATASETS.register_module()
class WIDERAttribute(CheckedSettings, MultiLabelDataset):
    """WIDER Attribute (Li et al., ECCV 2016), whose json is checked while loading; a sample is one person.

    Each item has

    * ``img_path``, the whole picture, and ``crop_box`` (left, top, right, bottom) in pixels, which
      :class:`mmlattn.CropToBox` cuts out of it; ``img_id``, the file and the number of the person in it;
    * ``gt_label``, sorted indices of the attributes that the person has (1 in the file), maybe none;
    * ``gt_label_ignore``, likewise of those not specified (0 in the file). The others (-1) are absent.

    The classes are the attributes in the order of the file. docs/datasets.md has the folder tree.

    Args:
        data_root (str): The folder with ``Annotations`` and ``Image``.
        split (str): 'train', 'val', 'trainval' or 'test'; the first folder in a picture's path says where it belongs.
        ann_file (str, optional): The json; ``Annotations/wider_attribute_trainval.json`` or, for 'test',
            ``Annotations/wider_attribute_test.json`` by default.
        data_prefix (str): The folder with the pictures.
        metainfo (dict, optional): ``classes`` selects and orders attributes by name.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: Naming the entry and what to mend, for whatever is wrong in the json, for missing pictures, and in
            training for data without any label.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'trainval',
        ann_file: str | None = None,
        data_prefix: str = 'Image',
        **kwargs,
    ) -> None:
        check_choice('split', split, _FOLDERS)
        self.split = split
        part = 'test' if split == 'test' else 'trainval'
        super().__init__(
            ann_file=f'Annotations/wider_attribute_{part}.json' if ann_file is None else ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read and check the json; returns an item for each person of the split, in the order of the file."""
        content = load_json(self.ann_file, dict(images=list, attribute_id_map=dict))
        attributes = self._attributes(content['attribute_id_map'])
        known = {name: column for column, name in enumerate(attributes)}
        classes = check_classes(self._metainfo.get('classes') or attributes, self.ann_file, known=known)
        self._metainfo['classes'] = classes
        columns = [known[name] for name in classes]
        first: dict[str, int] = {}
        items, folders = [], set()
        for image, reject in json_entries(
            self.ann_file, 'images', content['images'], ('file_name', 'targets')
        ):
            name, targets = image['file_name'], image['targets']
            if not isinstance(name, str) or not isinstance(targets, list):
                reject(f'file_name must be a string and targets a list, got {name!r} and {targets!r}')
            if name in first:
                reject(f'{name} is already images[{first[name]}]')
            first[name] = len(first)
            folders.add(name.split('/')[0])
            people = [self._person(name, number, person, attributes) for number, person in enumerate(targets)]
            if name.split('/')[0] in _FOLDERS[self.split]:
                items += [self._item(person, columns) for person in people]
        if not items:
            raise UserError(
                f'{self.ann_file}: no person in a picture of split={self.split!r}, only in those of '
                f'{some(sorted(folders)) or "none"}: set split, or ann_file to the json of that split'
            )
        check_images(items, self.ann_file)
        check_labels(items, classes, self.ann_file, training=not self.test_mode)
        return items

    def _attributes(self, names: dict) -> tuple[str, ...]:
        order = [str(number) for number in range(len(names))]
        if names.keys() != set(order):
            refuse(
                self.ann_file, 'attribute_id_map', f'must name attributes "0", "1", ..., got {sorted(names)}'
            )
        return check_classes([names[key] for key in order], self.ann_file)

    def _person(self, name: str, number: int, person: object, attributes: Sequence[str]) -> dict:
        def reject(problem: str) -> NoReturn:
            refuse(self.ann_file, f'targets[{number}] of {name}', problem)

        if not isinstance(person, dict) or not person.keys() >= {'attribute', 'bbox'}:
            reject(f'must be an object with attribute and bbox, got {person!r}')
        values = person['attribute']
        if not isinstance(values, list) or len(values) != len(attributes):
            reject(f'attribute must have {len(attributes)} numbers, one for each attribute, got {values!r}')
        wrong = [value for value in values if type(value) is not int or value not in (1, 0, -1)]
        if wrong:
            reject(f'attribute must hold 1 (there), -1 (not there) or 0 (not specified), got {wrong[0]!r}')
        return dict(
            img_path=join_path(self.img_prefix, name) if self.img_prefix else name,
            img_id=f'{name}#{number}',
            crop_box=_corners(person['bbox'], reject),
            values=values,
        )

    def _item(self, person: dict, columns: Sequence[int]) -> dict:
        values = [person['values'][column] for column in columns]
        labels = dict(
            gt_label=[label for label, value in enumerate(values) if value == 1],
            gt_label_ignore=[label for label, value in enumerate(values) if value == 0],
        )
        return {key: value for key, value in person.items() if key != 'values'} | labels

    def extra_repr(self) -> list[str]:
        """Lines on the settings, for ``repr``."""
        return [*super().extra_repr(), f'Split: \t{self.split}']


def _corners(bbox: object, reject: Callable[[str], NoReturn]) -> tuple[float, float, float, float]:
    """The corners of a box (x, y, width, height) in pixels, which rounded must have an area."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        reject(f'bbox must be [x, y, width, height] in pixels, got {bbox!r}')
    x, y, width, height = bbox
    corners = (x, y, x + width, y + height)
    if round(corners[2]) <= round(corners[0]) or round(corners[3]) <= round(corners[1]):
        reject(f'bbox must be [x, y, width, height] in pixels with an area, got {bbox!r}')
    return corners
