"""Label files in the formats people have: one reader and one writer for each, and one table that all of them become.

`records.py` has the table, `detection.py` tells formats apart, `assembly.py` checks what a reader found. One file for
each family of formats has its reader and its writer.
"""

from .formats import FORMATS, read_label_file, write_label_file
from .records import ABSENT, PRESENT, UNKNOWN, LabelBoxes, LabelColumns, LabelRecord, LabelTable

__all__ = [
    'ABSENT', 'FORMATS', 'PRESENT', 'UNKNOWN', 'LabelBoxes', 'LabelColumns', 'LabelRecord', 'LabelTable',
    'read_label_file', 'write_label_file',
]  # fmt: skip
