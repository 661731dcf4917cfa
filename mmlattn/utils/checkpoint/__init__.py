"""Opening what others saved: nothing in a file is run, and what is damaged is refused.

* ``loading``: mmengine's loader, weights only; every checkpoint that a tool or class of ours opens comes through it.
* ``safe_objects``: what else than tensors and plain values a file may hold.
* ``archives``: whether the bytes are those that were written.
* ``digests``: whether the weights are those that were saved.
* ``content``: structure, types and numbers.
* ``safetensors_files``: the format that has no place for code.
* ``weight_files``: files of other people's weights, for the converters; new files of ours.
"""
