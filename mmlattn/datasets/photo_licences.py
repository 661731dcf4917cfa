"""Licences of COCO's photographs: which may be shown, and the words that go with them.

COCO's annotations are free; its photographs are others' and stand under the terms under which they were on Flickr.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mmlattn.utils.errors import UserError

from .annotation_files import json_entries, load_json, refuse

#: COCO's ids of licences that let a changed picture be shown, also for money. Its others forbid one or the other.
SHOWABLE = {
    4: 'CC BY 2.0',
    5: 'CC BY-SA 2.0',
    7: 'no known copyright restrictions',
    8: 'work of the government of the United States',
}
_SHARE_ALIKE = 5


@dataclass(frozen=True)
class Photo:
    """A photograph that may be shown: its file, its page on Flickr, and the name and address of its licence."""

    file_name: str
    page: str
    licence: str
    licence_url: str
    share_alike: bool


def showable_photos(ann_file: str, licences: Collection[int] = tuple(SHOWABLE)) -> dict[int | str, Photo]:
    """The photographs of an ``instances`` json that stand under some licences, by image id, in the order of the file.

    Raises:
        UserError: For a licence that does not let changed pictures be shown, or a json that does not tell licences.
    """
    forbidden = sorted(set(licences) - set(SHOWABLE))
    if forbidden or not licences:
        raise UserError(
            f'licences must be some of {", ".join(map(str, SHOWABLE))}, got {sorted(licences)}: the others forbid '
            'changes or commercial use'
        )
    content = load_json(ann_file, dict(images=list, licenses=list))
    addresses = {
        entry['id']: entry['url']
        for entry, _ in json_entries(ann_file, 'licenses', content['licenses'], ('id', 'url'))
    }
    photos = {}
    for image, reject in json_entries(ann_file, 'images', content['images'], ('id', 'file_name')):
        if image.get('license') not in licences:
            continue
        licence = image['license']
        if licence not in addresses:
            reject(f'license {licence} is not among licenses')
        found = re.search(r'/(\d+)_[0-9a-f]+(_[a-z])?\.jpg$', str(image.get('flickr_url')))
        if found is None:
            reject(
                f'flickr_url {image.get("flickr_url")!r} does not tell the number of the photograph on Flickr'
            )
        photos[image['id']] = Photo(
            image['file_name'],
            f'https://www.flickr.com/photo.gne?id={found[1]}',
            SHOWABLE[licence],
            addresses[licence],
            licence == _SHARE_ALIKE,
        )
    if not photos:
        refuse(ann_file, 'images', f'none stands under one of the licences {sorted(licences)}')
    return photos


def attribution_text(shown: str, photos: Sequence[Photo], changes: str) -> str:
    """What must stand beside a picture of several photographs, in Markdown.

    Args:
        shown (str): File name of the picture.
        photos (Sequence[Photo]): From the top.
        changes (str): What was done to them.
    """
    rows = [
        f'| {number} | `{photo.file_name}` | [photo]({photo.page}) | [{photo.licence}]({photo.licence_url}) |'
        for number, photo in enumerate(photos, start=1)
    ]
    alike = next((photo for photo in photos if photo.share_alike), None)
    offer = alike and (
        f'[{alike.licence}]({alike.licence_url}) asks that what is made of its photographs stands under it too: '
        f'`{shown}` as a whole, with what is drawn into it, is offered under this licence.'
    )
    return '\n'.join(
        [
            f'# Photographs in {shown}',
            '',
            f'They are photographs of others, from COCO. Neither they nor `{shown}` stand under the licence of this '
            'project. COCO tells neither authors nor titles: each link leads to the page of the photograph on '
            'Flickr, which does.',
            '',
            '| row, from the top | file in COCO | on Flickr | licence |',
            '|---|---|---|---|',
            *rows,
            '',
            f'Changed: {changes}.',
            '',
            *([offer, ''] if offer else []),
            f'Whoever shows `{shown}` elsewhere has to name the photographs, their licences and the changes too, as '
            'this page does.',
            '',
        ]
    )


def first_photos(
    photos: Mapping[int | str, Photo], items: Sequence[dict], count: int, least: int, most: int
) -> list[int]:
    """Which items of a data set are shown: the first ``count`` wider than high that have so many labels.

    Args:
        photos (Mapping): Of :func:`showable_photos`.
        items (Sequence[dict]): Of ``COCOMultiLabel``.
        count (int): How many.
        least (int): Labels that each has at least.
        most (int): And at most.

    Raises:
        UserError: If there are fewer.
    """
    fitting = [
        number
        for number, item in enumerate(items)
        if item['img_id'] in photos
        and item['width'] > item['height']
        and least <= len(item['gt_label']) <= most
    ]
    if len(fitting) < count:
        raise UserError(
            f'{len(fitting)} photographs may be shown, are wider than high and have {least} to {most} labels; '
            f'{count} are asked for'
        )
    return fitting[:count]
